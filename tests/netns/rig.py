"""The arrangement most tests want: a star of real `ovng` processes around one Switch, each on a host of its own.

a ──┐                 Node number i has two networks it can be in, both ending at the Switch's host:
b ──┼── switch          198.18.i.2 by 198.18.i.1   and   198.19.i.2 by 198.19.i.1      (RFC 2544)
c ──┘                   fd18:i::2 by fd18:i::1     and   fd19:i::2 by fd19:i::1
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ovng.demo.deployment import SOURCE, Member, Network, Status
from ovng.demo.net import Host, Net, Process, wait_until

SWITCH_V4, SWITCH_V6 = "192.0.2.1", "2001:db8::1"
PORT = 5140
FAMILY = "ovng-test"


class Rig:
    """A net with a Switch that runs and nodes that may."""

    def __init__(self, net: Net, names: Sequence[str], outer: int, settings: Mapping[str, str]) -> None:
        self.net, self.outer, self.settings = net, outer, settings
        self.hub = net.host("switch")
        self.hub.add_address("lo", f"{SWITCH_V4}/32", f"{SWITCH_V6}/128")
        endpoint = f"[{SWITCH_V6}]:{PORT}" if outer == 6 else f"{SWITCH_V4}:{PORT}"
        self.network = Network(net, "home", prefixes=["10.77.0.0/16", "fd77::/64"], switch=[endpoint])
        self.switch = self.network.switch(self.hub, settings.get("switch", ""))
        self.hosts: dict[str, Host] = {}
        self.nodes: dict[str, Member] = {}
        self._home: dict[str, int] = {}
        for name in names:
            self.add(name)

    def host(self, name: str) -> Host:
        """A new host at the end of its own cable to the Switch."""
        number = len(self.hosts) + 1
        host = self.hosts[name] = self.net.host(name)
        self.net.join(self.hub, host)
        for network in (0, 1):
            self.hub.add_address(name, *(f"{gateway}/{length}" for gateway, length in _gateways(number, network)))
        self._home[name] = 0
        self._place(name)
        return host

    def add(self, name: str, *options: str) -> Member:
        """A new node on a new host, not started."""
        self.nodes[name] = self.network.node(self.host(name), name, *options, settings=self.settings.get(name, ""))
        return self.nodes[name]

    def __getitem__(self, name: str) -> Member:
        return self.nodes[name]

    # -- Running

    def start(self, *names: str) -> None:
        """Start the Switch when it does not run, and nodes (all when none is named); they are attached then."""
        if self.switch.process is None:
            self.switch.start()
            self.switch.wait("Switch that serves", kind="switch")
        for name in names or tuple(self.nodes):
            self.nodes[name].start()
        for name in names or tuple(self.nodes):
            self.nodes[name].wait("attachment", attached=True)

    def move(self, name: str) -> None:
        """To its other network, break before make."""
        self._home[name] ^= 1
        self._place(name)

    def _place(self, name: str) -> None:
        number = list(self.hosts).index(name) + 1
        gateways = _gateways(number, self._home[name])
        addresses = [f"{gateway[:-1]}2/{length}" for gateway, length in gateways]
        self.hosts[name].readdress("switch", addresses, [gateway for gateway, _ in gateways])

    def address(self, name: str) -> str:
        """The node's outer address of now, of the family in use."""
        number = list(self.hosts).index(name) + 1
        gateway = _gateways(number, self._home[name])[self.outer == 6][0]
        return f"{gateway[:-1]}2"

    # -- What is so now

    def table(self) -> dict[str, dict[str, Any]]:
        """What the Switch knows: node ID → its entry."""
        return {entry["id"]: entry for entry in self.switch.status()["nodes"]}

    def locators(self) -> dict[str, str]:
        """Node ID → where the Switch sends to it."""
        return {node: entry["active"] for node, entry in self.table().items()}

    def sessions(self) -> dict[tuple[str, str], str]:
        """(node name, peer ID) → session ID, over all nodes that run."""
        running = [node for node in self.nodes.values() if node.process is not None]
        return {(node.name, peer): session for node in running for peer, session in node.sessions().items()}

    def meet(self, a: str, b: str, seconds: int = 10) -> None:
        """One ping from `a` to `b`, which makes a session where there is none."""
        ping(self.hosts[a], self.nodes[b].addresses[0], seconds=seconds)


def _gateways(number: int, network: int) -> list[tuple[str, int]]:
    return [(f"198.{18 + network}.{number}.1", 24), (f"fd{18 + network}:{number}::1", 64)]


@contextmanager
def star(*names: str, outer: int = 4, settings: Mapping[str, str] | None = None, start: bool = True) -> Iterator[Rig]:
    """A rig with these nodes, attached; `outer` is the IP version under the tunnel, `settings` lines for profiles."""
    with Net(FAMILY) as net:
        rig = Rig(net, names, outer, settings or {})
        if start:
            rig.start()
        yield rig


# -- Traffic


def ping(host: Host, address: str, *, count: int = 1, interval: float = 0.2, seconds: int = 10) -> float:
    """The average round trip in milliseconds; every answer must come. Raises SystemProblem."""
    words = ["ping", "-n", "-c", str(count), "-i", str(interval), "-W", str(seconds), address]
    output = host.run(*words, timeout=count * interval + seconds + 10)
    assert f"{count} received" in output, output
    found = re.search(r"= [\d.]+/([\d.]+)/", output)
    assert found, output
    return float(found[1])


class Iperf:
    """One iperf3 run over TCP with cubic, from `client` to `server`."""

    def __init__(self, server: Host, client: Host, address: str, seconds: float, *options: str) -> None:
        self._server = server.start("iperf3", "iperf3", "-s", "-1", "--forceflush")
        wait_until(lambda: "listening" in self._server.output, "iperf3 server")
        words = ["iperf3", "-J", "-C", "cubic", "-c", address, "-t", str(seconds), *options]
        self._client = client.start("iperf3", *words)

    @property
    def running(self) -> bool:
        return self._client.status is None

    def result(self, seconds: float = 60.0) -> dict[str, Any]:
        """The `end` part of its report."""
        report = json.loads(self._client.finish(seconds))
        self._server.wait()
        assert "error" not in report, report["error"]
        end: dict[str, Any] = report["end"]
        return {**end, "intervals": report["intervals"]}


def iperf(server: Host, client: Host, address: str, seconds: float = 2.0, *options: str) -> float:
    """Gbit/s that arrived."""
    received = Iperf(server, client, address, seconds, *options).result(seconds + 30)["sum_received"]
    return float(received["bits_per_second"]) / 1e9


class Probe:
    """Numbered UDP packets at a steady rate from one host to another, and what became of each."""

    def __init__(self, source: Host, sink: Host, address: str, *, rate: int = 500, port: int = 7100) -> None:
        environment = {"PYTHONPATH": SOURCE}
        module = [sys.executable, "-m", "tests.netns.probe"]
        self._sink = sink.start("probe", *module, "receive", address, str(port), env=environment)
        wait_until(lambda: "listening" in self._sink.output, "probe sink")
        self._source = source.start("probe", *module, "send", address, str(port), str(rate), env=environment)

    def stop(self) -> dict[str, Any]:
        """{sent, received, lost, twice, reordered, longest_gap_ms}; waits for what is under way."""
        self._source.stop()
        sent = json.loads(self._source.output.splitlines()[-1])["sent"]
        self._sink.stop()
        result: dict[str, Any] = json.loads(self._sink.output.splitlines()[-1])
        return {**result, "sent": sent, "lost": sent - result["received"]}


# -- Processes


def resident_kib(process: Process) -> int:
    """Memory in use by a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return int(found[1])


def patched(folder: Path, code: str) -> list[str]:
    """A command that runs `ovng` after executing `code` in the same process; put it in `Member.start(wrapper=…)`."""
    path = folder / f"patch{len(list(folder.glob('patch*.py')))}.py"
    path.write_text(f"import sys\n{code}\nfrom ovng.cli.main import main\nsys.exit(main())\n")
    return [sys.executable, str(path)]


def eventually(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """As `wait_until`, where only the truth counts."""
    wait_until(lambda: bool(condition()), what, seconds)


__all__ = [
    "FAMILY", "PORT", "SWITCH_V4", "SWITCH_V6", "Iperf", "Member", "Probe", "Rig", "Status",
    "eventually", "iperf", "patched", "ping", "resident_kib", "star",
]  # fmt: skip
