"""What watches the machine's network: netlink where it can be had, looking again and again where not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from ovng.clock import Now
from ovng.errors import SystemProblem
from ovng.ids import IPAddress
from ovng.io.netlink import Watcher
from ovng.roaming.snapshot import LinkSnapshot


class NetworkWatcher(Protocol):
    """`netlink.Watcher` says what the methods do."""

    counters: Counter[str]

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def set_destinations(self, destinations: Iterable[IPAddress]) -> None: ...

    def resync(self) -> None: ...

    def receive(self, now: Now) -> None: ...

    def deadline(self) -> float | None: ...

    def take(self, now: Now) -> LinkSnapshot | None: ...


class Watching(NamedTuple):
    """A watcher, which one it is, and why it is not a better one."""

    watcher: NetworkWatcher
    name: str
    reason: str = ""


def watch_network(own: str, mark: int = 0, *, lean: bool = False) -> Watching:
    """The best that this machine has; `lean` without pyroute2. Raises SystemProblem with all reasons where there is
    none."""
    try:
        return Watching(Watcher(own, mark, lean=lean), "netlink")
    except (SystemProblem, ImportError) as error:
        refused = str(error)
    from ovng.io.poll import INTERVAL, PollingWatcher  # of no use to most

    try:
        return Watching(PollingWatcher(own, mark), f"polling with netifaces every {INTERVAL:g} s", refused)
    except SystemProblem as error:
        raise SystemProblem(f"{refused}; {error}") from None
