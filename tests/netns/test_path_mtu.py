"""A handover to an uplink whose router swallows what is above 1280 bytes, fragments, and ICMP (S11, and worse)."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest

from ovng.clock import now
from ovng.demo.deployment import Member
from ovng.demo.net import Host, wait_until
from tests.netns.rig import Rig, say
from tests.netns.uplinks import two_uplinks

pytestmark = pytest.mark.root

WIDE, NARROW = 1472, 1280  # what TUN's 1400 bytes need under IPv4, and what the narrow router passes
IP_MTU_DISCOVER, PMTUDISC_DO = 10, 2
RULES = f"""table inet narrow {{
  counter fragments {{ }}
  chain see {{ type filter hook prerouting priority -450; ip frag-off & 0x3fff != 0 counter name fragments drop; }}
  chain pass {{ type filter hook forward priority 0; meta length > {NARROW} drop; meta l4proto icmp drop; }}
}}
"""


class Bulk:
    """As much TCP from one node to another as passes; when it came."""

    def __init__(self, source: Member, target: Member, family: int) -> None:
        index, kind = (0, socket.AF_INET) if family == 4 else (1, socket.AF_INET6)
        with target.host.inside():
            listener = socket.create_server((target.addresses[index], 0), family=kind)
        with source.host.inside():
            self._out = socket.create_connection(listener.getsockname()[:2], timeout=10)
        self._in, _ = listener.accept()
        listener.close()
        for end in (self._out, self._in):
            end.settimeout(5)
        self.arrivals: list[float] = []
        self.bytes = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stop.wait(0.005):  # 100 Mbit/s at most
                self._out.sendall(bytes(60_000))
        with contextlib.suppress(OSError):
            self._out.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._in.recv(1 << 17):
                self.arrivals.append(now().mono)
                self.bytes += len(data)

    def stall(self, since: float) -> float:
        """The longest time without a byte, seconds."""
        times = [since, *(at for at in self.arrivals if at > since)]
        return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))

    def __enter__(self) -> Bulk:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._out.close()
        self._in.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    """The second uplink is narrow. No device hands on what is still to be segmented: a router would see one packet."""
    with two_uplinks() as made:
        for host, device in ((made.alice.host, "lte"), (made.switch.host, "lte")):
            host.ip("link", "set", "dev", device, "gso_max_segs", "1")
        router(made).nft(RULES)
        restart_measurement(made)
        yield made


def router(rig: Rig) -> Host:
    return next(host for host in rig.net.hosts if host.name == "lte")


def restart_measurement(rig: Rig) -> None:
    """The path was measured before it became narrow: another address makes it another path."""
    rig.alice.host.ip("address", "delete", "10.2.0.2/24", "dev", "lte")
    rig.alice.host.ip("address", "add", "10.2.0.3/24", "dev", "lte")
    rig.alice.host.ip("route", "replace", "default", "via", "10.2.0.1", "dev", "lte", "metric", "200")
    wait_until(lambda: NARROW - 8 <= (mtu(rig, 1) or 0) <= NARROW, "measured narrow path", 20)
    wait_until(lambda: mtu(rig, 0) == WIDE, "measured wide path", 20)


def mtu(rig: Rig, slot: int) -> int | None:
    found: int | None = next((path["mtu"] for path in rig.alice.status()["paths"] if path["path"] == slot), None)
    return found


def fits(node: Member) -> int:
    (peer,) = node.status()["peers"]
    return int(peer["mtu"])


def fragments(rig: Rig) -> int:
    listed = json.loads(router(rig).run("nft", "-j", "list", "counters"))["nftables"]
    return next(int(entry["counter"]["packets"]) for entry in listed if "counter" in entry)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("upwards", [True, False])
def test_tcp_goes_on_and_needs_no_fragment(rig: Rig, family: int, upwards: bool) -> None:
    ends = rig.nodes if upwards else rig.nodes[::-1]
    with Bulk(*ends, family) as bulk:
        wait_until(lambda: bulk.bytes > 3_000_000, "stream")
        at = now().mono
        rig.alice.host.ip("link", "set", "dev", "wifi", "down")
        wait_until(lambda: now().mono > at + 2.5, "end")
        seen, passed = fragments(rig), bulk.bytes
        wait_until(lambda: bulk.bytes > passed + 3_000_000, "stream on the narrow path", 20)
        assert fragments(rig) == seen, "nothing is fragmented any more"
    say(f"narrower uplink, TCP {'up' if upwards else 'down'}, IPv{family}: stall {bulk.stall(at) * 1000:.0f} ms")
    assert bulk.stall(at) < 1.0
    assert fits(rig.alice) == fits(rig.bob) <= NARROW - 72


def test_an_application_that_forbids_fragments_is_told(rig: Rig) -> None:
    with rig.alice.host.inside():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
        sender.connect((rig.bob.addresses[0], 9))
        sender.send(bytes(1300))
        at = now().mono
        rig.alice.host.ip("link", "set", "dev", "wifi", "down")

        def refused() -> bool:
            try:
                sender.send(bytes(1300))
            except OSError as error:
                return error.errno == errno.EMSGSIZE
            return False

        wait_until(refused, "EMSGSIZE", 10)
        say(f"narrower uplink, UDP with DF: told {1000 * (now().mono - at):.0f} ms after")
        assert sender.getsockopt(socket.IPPROTO_IP, 14) == fits(rig.alice)  # IP_MTU
        assert rig.alice.status()["traffic"]["oversize"] > 0


def test_a_connection_that_begins_on_a_narrow_path_announces_what_fits(rig: Rig) -> None:
    rig.alice.host.ip("link", "set", "dev", "wifi", "down")
    wait_until(lambda: fits(rig.bob) <= NARROW - 72, "narrow way from bob", 10)
    for family, headers in ((4, 40), (6, 60)):
        with Bulk(rig.bob, rig.alice, family) as bulk:
            wait_until(lambda: bulk.bytes > 100_000, "stream", 10)
            segment = bulk._out.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            assert segment <= fits(rig.bob) - headers
