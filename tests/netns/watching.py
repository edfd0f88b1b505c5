"""A watcher of the network with what the service does around it, on a host of its own."""

from __future__ import annotations

import ipaddress
import selectors
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ovng import clock
from ovng.demo.net import Net
from ovng.io.watch import NetworkWatcher
from ovng.roaming.snapshot import LinkSnapshot

SWITCH = ipaddress.ip_address("203.0.113.9")
SWITCH6 = ipaddress.ip_address("2001:db8:f::9")
PATIENCE = 30.0


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def run(line: str) -> str:
    return ip(*line.split())


@contextmanager
def fresh_host() -> Iterator[None]:
    """Move this thread, and what it starts, onto a new host, and back."""
    with Net("ovng-netlink") as net, net.host("here").inside():
        yield


def uplink(name: str, *addresses: str) -> None:
    """An interface with carrier: a veth whose other end is up."""
    run(f"link add {name} type veth peer name {name}-far")
    run(f"link set {name}-far up")
    run(f"link set {name} up")
    for address in addresses:
        run(f"address add {address} dev {name} {'nodad' if ':' in address else ''}")


class Watch:
    """A watcher, and the newest snapshot."""

    def __init__(self, watcher: NetworkWatcher) -> None:
        self.watcher = watcher
        self.watcher.set_destinations([SWITCH, SWITCH6])
        self.snapshot = self.take() or LinkSnapshot()

    def take(self) -> LinkSnapshot | None:
        return self.watcher.take(clock.now())

    def until(self, wanted: Callable[[LinkSnapshot], bool]) -> list[LinkSnapshot]:
        """Watch until a snapshot is as wanted. All snapshots seen on the way."""
        seen, end = [], clock.now().mono + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.watcher, selectors.EVENT_READ)
            while not wanted(self.snapshot):
                assert clock.now().mono < end, f"never as wanted: {self.snapshot}"
                deadline = self.watcher.deadline()
                selector.select(0.5 if deadline is None else max(0.0, deadline - clock.now().mono))
                self.watcher.receive(clock.now())
                if snapshot := self.take():
                    self.snapshot = snapshot
                    seen.append(snapshot)
        return seen

    def quiet(self) -> list[LinkSnapshot]:
        """Take all that has come until now; a marker that we make ourselves is the end."""
        run("link add marker type bridge")
        seen = self.until(lambda snapshot: "marker" in names(snapshot))
        run("link del marker")
        self.until(lambda snapshot: "marker" not in names(snapshot))
        return seen


def names(snapshot: LinkSnapshot) -> set[str]:
    return {entry.name for entry in snapshot.interfaces.values()}


def index(name: str) -> int:
    return int(ip("-o", "link", "show", name).split(":")[0])
