"""The acceptance tests' deployment: one Switch and two nodes, each on a network of its own, and a box behind bob.

         alice ───────── switch ───────── bob ───── box
    198.51.100.2 .1                .1 203.0.113.2      192.168.8.10
    2001:db8:a::2                  2001:db8:b::2      fd08::10
    later .101.2     192.0.2.1      later .114.2
                     2001:db8::1

All of it is real: namespaces, cables, and `ovng` processes as a user starts them. What a test wants to know it asks the
far side: the Switch's status, the other node's, a capture.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ovng.clock import now
from ovng.demo.deployment import Member, Network, Status, configure
from ovng.demo.net import Batch, Host, Net, Process, wait_until
from ovng.errors import SystemProblem
from ovng.ids import Locator

PORT = 5140
SWITCH = {4: f"192.0.2.1:{PORT}", 6: f"[2001:db8::1]:{PORT}"}
HOME, AWAY = 0, 1
ALICE = (["198.51.100.2/24", "2001:db8:a::2/64"], ["198.51.101.2/24", "2001:db8:a1::2/64"])
BOB = (["203.0.113.2/24", "2001:db8:b::2/64"], ["203.0.114.2/24", "2001:db8:b1::2/64"])
LAN, LAN6 = "192.168.8.0/24", "fd08::/64"
BOX, BOX6 = "192.168.8.10", "fd08::10"


@dataclass
class Rig:
    """A deployment in use."""

    net: Net
    network: Network
    outer: int
    switch: Member
    alice: Member
    bob: Member
    box: Host
    places: dict[str, int] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Member, Member]:
        """Alice and bob."""
        return self.alice, self.bob

    def start(self) -> None:
        """Start everyone; returns when both nodes are attached."""
        self.switch.start()
        self.switch.wait("Switch that serves", kind="switch")
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait(f"attachment of {node.name}", attached=True)

    def meet(self) -> dict[str, str]:
        """Let alice reach bob; alice's sessions."""
        ping(self.alice, self.bob.addresses[0])
        return self.alice.sessions()

    def table(self) -> dict[str, dict[str, Any]]:
        """The Switch's table: node ID → what it says of it."""
        return {entry["id"]: entry for entry in self.switch.status()["nodes"]}

    def locator(self, node: Member) -> Locator:
        """Where the Switch reaches a node that is attached and not moving."""
        (locator,) = self.table()[node.id]["locators"]
        host, _, port = locator.rpartition(":")
        return Locator.of(host.strip("[]"), int(port))

    def counter(self, name: str) -> int:
        """One of the Switch's counters."""
        return int(self.switch.status()["counters"].get(name, 0))

    def addresses(self, node: Member, place: int) -> list[str]:
        """The outer addresses of alice or bob there, with prefix length."""
        return of_family((ALICE if node is self.alice else BOB)[place], self.outer)

    def where(self, node: Member) -> str:
        """Its outer address, without prefix length."""
        return self.addresses(node, self.places.get(node.name, HOME))[0].split("/")[0]

    def readdress(self, node: Member) -> Callable[[], None]:
        """Prepare a move of alice or bob to its other network; the call does it, within a millisecond or two."""
        place = 1 - self.places.get(node.name, HOME)
        addresses = self.addresses(node, place)
        lines = ["address flush dev switch scope global"]
        lines += [f"address add {address} dev switch nodad" for address in addresses]
        lines += [f"route replace {default(address)} via {gateway(address)}" for address in addresses]
        change = Batch(node.host, lines)

        def move() -> None:
            change()
            self.places[node.name] = place

        return move

    def seen_at(self, node: Member, seconds: float = 5.0) -> None:
        """Wait until the Switch has the node, confirmed, where it is now."""
        address = self.where(node)

        def there() -> bool:
            entry = self.table().get(node.id, {})
            return entry.get("state") == "attached" and any(host_of(one) == address for one in entry["locators"])

        wait_until(there, f"{node.name} at {address} in the Switch's table", seconds)


def of_family(addresses: list[str], family: int) -> list[str]:
    """Those of IPv4 or of IPv6."""
    return [address for address in addresses if (":" in address) == (family == 6)]


def default(address: str) -> str:
    """The default route of an address's family."""
    return "::/0" if ":" in address else "0.0.0.0/0"


def gateway(address: str) -> str:
    """The Switch's address on the network of `address`."""
    return re.sub(r"2/\d+$", "1", address)


def host_of(locator: str) -> str:
    """The address in HOST:PORT."""
    return locator.rpartition(":")[0].strip("[]")


@contextmanager
def deployed(
    *, outer: int = 4, switch: str = "", alice: str = "", bob: str = "", routes: bool = False, start: bool = True
) -> Iterator[Rig]:
    """A deployment; `outer` is the only IP version that its cables carry. The words are lines added to the profiles.
    With `routes`, bob's certificate has the LAN behind it."""
    with Net("accept") as net:
        hub, at_alice, at_bob, box = map(net.host, ("switch", "alice", "bob", "box"))
        hub.add_address("lo", "192.0.2.1/32" if outer == 4 else "2001:db8::1/128")
        for host, places in ((at_alice, ALICE), (at_bob, BOB)):
            ours = [of_family(place, outer)[0] for place in places]
            hub_side = [f"{gateway(address)}/{address.split('/')[1]}" for address in ours]
            net.join(hub, host, hub_side, [ours[HOME]])
            host.default_via(gateway(ours[HOME]))
        net.join(at_bob, box, ["192.168.8.1/24", "fd08::1/64"], [f"{BOX}/24", f"{BOX6}/64"])
        box.default_via("192.168.8.1", "fd08::1")
        network = Network(net, "acme", prefixes=["10.77.0.0/16", "fd77::/64"], switch=[SWITCH[outer]])
        served = ["--route", LAN, "--route", LAN6] if routes else []
        rig = Rig(
            net,
            network,
            outer,
            network.switch(hub, switch),
            network.node(at_alice, "alice", settings=alice),
            network.node(at_bob, "bob", *served, settings=bob),
            box,
        )
        configure(rig.switch.profile, listen=f'["{SWITCH[outer]}"]')  # its machine has other addresses too
        if start:
            rig.start()
        yield rig


@contextmanager
def deployed_among_strangers() -> Iterator[Rig]:
    """As `deployed`, and somebody who has no profile can reach the Switch from the host `stranger`. The nodes met."""
    with deployed() as made:
        stranger = made.net.host("stranger")
        made.net.join(made.switch.host, stranger, ["198.51.107.1/24"], ["198.51.107.2/24"])
        stranger.default_via("198.51.107.1")
        made.meet()
        yield made


# -- Traffic


def ping(node: Member | Host, address: str, count: int = 1, seconds: float = 10.0) -> str:
    """Ping until all of `count` come back; `ping`'s words. A packet that meets a session's end or start may be lost.

    Raises SystemProblem when there is no way within `seconds`."""
    host = node.host if isinstance(node, Member) else node
    deadline = now().mono + seconds
    while True:
        try:
            return host.run("ping", "-n", "-c", str(count), "-i", "0.05", "-W", "1", address)
        except SystemProblem:
            if now().mono > deadline:
                raise


class Iperf:
    """One iperf3 test from `client` to `server`, under way: for so long, or of so much (as "500M") within that time."""

    def __init__(
        self, client: Member, server: Member, seconds: float, *options: str, family: int = 4, amount: str = ""
    ) -> None:
        address = server.addresses[0 if family == 4 else 1]
        self._server = server.host.start("iperf3-server", "iperf3", "-s", "-1", "--forceflush")
        wait_until(lambda: "listening" in self._server.output, "iperf3 server")
        end = ["-n", amount] if amount else ["-t", f"{seconds:g}"]
        self._client = client.host.start(
            "iperf3", "iperf3", "-c", address, *end, "-i", "0.1", "-J", "-C", "cubic", *options
        )
        self._seconds = seconds

    def finish(self) -> dict[str, Any]:
        """Its JSON report. Raises SystemProblem when it failed."""
        text = self._client.finish(self._seconds + 30)
        self._server.finish()
        report: dict[str, Any] = json.loads(text[text.index("{") :])
        return report

    @property
    def running(self) -> bool:
        return self._client.status is None


class Stream:
    """Numbered UDP datagrams from one host to another at a steady pace, sent and counted by two threads of ours."""

    def __init__(
        self, source: Member, target: Member, rate: float, *, family: int = 4, text: bytes = bytes(92)
    ) -> None:
        index = 0 if family == 4 else 1
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        with target.host.inside():
            self._in = socket.socket(kind, socket.SOCK_DGRAM)
            self._in.setsockopt(socket.SOL_SOCKET, 33, 1 << 23)  # SO_RCVBUFFORCE
            self._in.bind((target.addresses[index], 0))
        with source.host.inside():
            self._out = socket.socket(kind, socket.SOCK_DGRAM)
        self._out.connect((target.addresses[index], self._in.getsockname()[1]))
        self._in.settimeout(0.05)
        self._rate, self._text = rate, text
        self._stop, self._done = threading.Event(), threading.Event()
        self.sent = self.refused = 0
        self.refusal = ""
        """What the application was told last."""
        self.arrivals: dict[int, float] = {}
        """Number → when it came, in monotonic seconds."""
        self.duplicates = 0
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        start = now().mono
        while not self._stop.wait(max(0.0, start + self.sent / self._rate - now().mono)):
            try:
                self._out.send(self.sent.to_bytes(8, "big") + self._text)
            except OSError as error:  # "unreachable", told by the tunnel while there is none
                self.refused += 1
                self.refusal = str(error)
            self.sent += 1

    def _receive(self) -> None:
        while not self._done.is_set():
            try:
                data = self._in.recv(2048)
            except TimeoutError:
                continue
            number = int.from_bytes(data[:8], "big")
            self.duplicates += number in self.arrivals
            self.arrivals[number] = now().mono

    @property
    def count(self) -> int:
        """Arrived so far."""
        return len(self.arrivals)

    def later(self, since: float) -> int:
        """How many came after an instant."""
        return sum(1 for at in list(self.arrivals.values()) if at > since)

    def first(self, since: float) -> float:
        """When the first one after an instant came."""
        return min(at for at in list(self.arrivals.values()) if at > since)

    def lost(self) -> int:
        """Sent and not arrived; of a stream that has stopped."""
        return self.sent - self.count

    def gaps(self) -> list[tuple[int, int]]:
        """First and last number of each run that is missing."""
        known = sorted(self.arrivals)
        return [(a + 1, b - 1) for a, b in pairwise([-1, *known, self.sent]) if b - a > 1]

    def longest_silence(self, since: float = 0.0) -> float:
        """Seconds between two arrivals, at most, of which the later came after `since`."""
        times = sorted(self.arrivals.values())
        return max((b - a for a, b in pairwise(times) if b > since), default=0.0)

    def stop(self) -> None:
        """Stop sending; wait up to two seconds for what is on its way."""
        self._stop.set()
        self._threads[0].join()
        deadline = now().mono + 2.0
        while self.count < self.sent and now().mono < deadline:
            self._done.wait(0.01)
        self._done.set()
        self._threads[1].join()
        self._in.close()
        self._out.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._done.is_set():
            self.stop()


# -- What a test wants to know


def conversation(status: Status) -> list[tuple[Any, ...]]:
    """What of a node's sessions and attachment no stranger and no move may change."""
    peers = [(peer["id"], peer["session"], peer["generation"], peer["cipher"]) for peer in status["peers"]]
    return [*sorted(peers), (status["switch"]["tls_count"], status["switch"]["boot"], status["switch"]["grant"])]


def rss(process: Process) -> int:
    """Resident bytes of a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


def say(text: str) -> None:
    """A figure for whoever runs pytest with -s, and for the report."""
    sys.stderr.write(f"\n    {text}")
