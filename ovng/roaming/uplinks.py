"""Which interfaces are uplinks: those through which the Switch can be reached now, best first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ovng.ids import IPAddress
from ovng.limits import MAX_PATHS
from ovng.roaming.snapshot import LinkSnapshot, Way

PRIORITY_MAX = 255


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """What the profile says about interfaces whose name matches `interface` (shell pattern); the first match counts."""

    interface: str
    priority: int | None = None
    """0 … 255, 0 = best; None: by the metric of the routes."""
    metered: bool = False
    """Costs money: used when nothing else is there."""
    use: bool = True


@dataclass(frozen=True, slots=True)
class Uplink:
    """One way out. Two compare equal when nothing about them changed."""

    name: str
    index: int
    ways: Mapping[IPAddress, Way] = field(hash=False)
    """To each of the Switch's addresses that it reaches."""
    priority: int = 0
    metered: bool = False


def choose_uplinks(
    snapshot: LinkSnapshot, switch: Iterable[IPAddress], settings: Sequence[UplinkSettings] = ()
) -> tuple[Uplink, ...]:
    """At most four, the best first: not metered, then the profile's priority, the lower route metric, the name.

    Loopback is none, and `snapshot` leaves the tunnel itself out. Where no interface serves but the kernel knows a way
    (a Switch on this machine), that is the only uplink, and has no name.
    """
    wanted = tuple(switch)
    found: list[tuple[bool, int, int, str, Uplink]] = []
    for index, interface in snapshot.interfaces.items():
        ways = {ip: way for ip in wanted if (way := snapshot.ways_by_interface.get((index, ip))) is not None}
        setting = next((entry for entry in settings if fnmatchcase(interface.name, entry.interface)), None)
        if not interface.usable or interface.name == "lo" or not ways or (setting is not None and not setting.use):
            continue
        metered = setting is not None and setting.metered
        metric = min(way.metric for way in ways.values())
        priority = PRIORITY_MAX if setting is None or setting.priority is None else setting.priority
        uplink = Uplink(interface.name, index, ways, priority, metered)
        found.append((metered, priority, metric, interface.name, uplink))
    if not found and (ways := {ip: snapshot.ways[ip] for ip in wanted if ip in snapshot.ways}):
        return (Uplink("", 0, ways),)
    found.sort(key=lambda entry: entry[:4])
    return tuple(
        Uplink(uplink.name, uplink.index, uplink.ways, _place(uplink, place), uplink.metered)
        for place, (*_, uplink) in enumerate(found[:MAX_PATHS])
    )


def _place(uplink: Uplink, place: int) -> int:
    """Without a priority of its own: behind those that have one, in the order of the metrics."""
    return uplink.priority if uplink.priority != PRIORITY_MAX else PRIORITY_MAX - MAX_PATHS + place
