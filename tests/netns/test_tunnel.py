"""Traffic of every kind through the tunnel: IPv4 and IPv6 inside and outside, a LAN behind a node, and ip_forward."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer

import pytest

from ovng.clock import now
from ovng.demo.deployment import configure
from ovng.demo.net import Host, wait_until
from ovng.errors import SystemProblem
from tests.netns.rig import BOX, BOX6, Iperf, Rig, deployed, ping, say

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture(scope="module", params=[4, 6], ids=["outer-v4", "outer-v6"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with deployed(outer=request.param, routes=True, bob="forward: true") as made:
        yield made


@pytest.mark.parametrize("family", [4, 6])
def test_ping(rig: Rig, family: int) -> None:
    address = rig.bob.addresses[0 if family == 4 else 1]
    forwarded = rig.counter("forwarded")
    words = ping(rig.alice, address, count=5)
    assert " 0% packet loss" in words
    (peer,) = rig.bob.status()["peers"]
    assert peer["id"] == rig.alice.id and peer["rx_packets"] >= 5 and peer["tx_packets"] >= 5
    assert rig.counter("forwarded") >= forwarded + 10, "the packets took another way than the Switch"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("direction", ["there", "back"])
def test_iperf(rig: Rig, family: int, direction: str) -> None:
    ping(rig.alice, rig.bob.addresses[0])
    received, sent = ("rx_bytes", "tx_bytes") if direction == "there" else ("tx_bytes", "rx_bytes")
    before = rig.bob.status()["peers"][0]
    end = Iperf(rig.alice, rig.bob, 1, *(["-R"] if direction == "back" else []), family=family).finish()["end"]
    after = rig.bob.status()["peers"][0]
    assert end["sum_received"]["bytes"] > 10 * MIB
    assert after[received] - before[received] >= end["sum_received"]["bytes"]
    assert after[sent] > before[sent]
    say(f"iperf3 {direction}, v{family} in v{rig.outer}: {end['sum_received']['bits_per_second'] / 1e9:.2f} Gbit/s")


@pytest.mark.parametrize("family", [4, 6])
def test_a_box_behind_a_node_fetches_a_file(rig: Rig, family: int) -> None:
    fetch(rig, family, (200 if family == rig.outer == 4 else 20) * MIB)


@pytest.mark.long
def test_a_box_behind_a_node_fetches_a_large_file(rig: Rig) -> None:
    fetch(rig, 4, 1024 * MIB)


def fetch(rig: Rig, family: int, size: int) -> None:
    """The box behind bob gets a file from a web server on alice, which has it from nowhere but the tunnel."""
    wait_until(lambda: rig.alice.status()["routes"]["taken"], "alice's routes to the LAN")
    address = rig.alice.addresses[0 if family == 4 else 1]
    path = rig.net.directory / f"file-{family}-{size}"
    digest = random_file(path, size)
    with web_server(rig.alice.host, address, path):
        received = rig.bob.status()["traffic"]
        started = now().mono
        url = f"http://[{address}]:8000/" if family == 6 else f"http://{address}:8000/"
        words = rig.box.run("sh", "-c", f"curl -sS --fail {url} | sha256sum", timeout=300)
        seconds = now().mono - started
    path.unlink()
    assert words.split()[0] == digest
    after = rig.bob.status()["traffic"]
    assert sum(after.values()) - sum(received.values()) > size, "the file took another way than the tunnel"
    say(f"curl of {size // MIB} MiB behind bob, v{family} in v{rig.outer}: {size * 8 / seconds / 1e9:.2f} Gbit/s")


@contextmanager
def web_server(host: Host, address: str, path: Path) -> Iterator[None]:
    """Whatever is asked for on port 8000 of a host's address, the answer is this file."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            with path.open("rb") as file:
                self.connection.sendfile(file)

        def log_message(self, *_: object) -> None:
            pass

    class Server(TCPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        allow_reuse_address = True

    with host.inside():
        server = Server((address, 8000), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def random_file(path: Path, size: int) -> str:
    """A file that no compression and no mix-up survives; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // MIB):
            block = os.urandom(MIB)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def test_a_routing_node_and_ip_forward() -> None:
    """Off, it says so by name and the LAN is out of reach; `forward: true` sets it, and puts it back at the end."""
    with deployed(routes=True) as rig:
        rig.meet()
        warnings = rig.bob.status()["warnings"]
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            assert any(key in line and "forward: true" in line for line in warnings), warnings
            assert rig.bob.process and key in rig.bob.process.output, "not in the log"
        assert forwarding(rig.bob.host) == ["0", "0"], "was set without being asked to"
        wait_until(lambda: rig.alice.status()["routes"]["taken"], "alice's routes to the LAN")
        with pytest.raises(SystemProblem):
            ping(rig.alice, BOX, seconds=1)

        configure(rig.bob.profile, forward="true")
        assert rig.bob.stop() == 0
        rig.bob.start()
        rig.bob.wait("attachment", attached=True)
        assert forwarding(rig.bob.host) == ["1", "1"]
        assert not any("forward" in line for line in rig.bob.status()["warnings"])
        ping(rig.alice, BOX)
        ping(rig.alice, BOX6)
        assert rig.bob.stop() == 0
        assert forwarding(rig.bob.host) == ["0", "0"], "not put back"


def forwarding(host: Host) -> list[str]:
    """The host's two settings."""
    return host.run("sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding").split()
