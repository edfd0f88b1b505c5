"""Which interfaces are uplinks: those by which the Switch can be reached now, best first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from ovng.config.mobility import PRIORITY_MAX, UplinkSettings
from ovng.fields import Frozen, replace
from ovng.ids import IPAddress
from ovng.limits import MAX_PATHS
from ovng.roaming.snapshot import LinkSnapshot, Way

DEFAULT_PRIORITY = 128
"""Of the uplink with the lowest route metric among those to which the profile gives no priority; the next has 129."""


class Uplink(Frozen):
    """One way out. Two compare equal when nothing about them changed."""

    name: str
    index: int
    ways: Mapping[IPAddress, Way]
    """To each of the Switch's addresses that it reaches; in the order of the question."""
    priority: int = DEFAULT_PRIORITY
    """0 (best) … 255."""
    metered: bool = False

    def __hash__(self) -> int:
        return hash((self.name, self.index, self.priority, self.metered))

    @property
    def versions(self) -> frozenset[int]:
        """Of IP, by which it reaches the Switch."""
        return frozenset(address.version for address in self.ways)

    @property
    def network(self) -> str:
        """Names the network behind it, for what is remembered of its NAT; two networks rarely have the same name."""
        ways = {f"{way.source}@{way.gateway}" for way in self.ways.values()}
        return " ".join((self.name, *sorted(ways)))

    @property
    def hops(self) -> Mapping[IPAddress, Way]:
        """The ways without their metrics: what a datagram sees of them."""
        return {address: replace(way, metric=0) for address, way in self.ways.items()}

    @property
    def metric(self) -> int:
        """The lowest of its routes."""
        return min(way.metric for way in self.ways.values())


def choose_uplinks(
    snapshot: LinkSnapshot, switch: Iterable[IPAddress], settings: Sequence[UplinkSettings] = ()
) -> tuple[Uplink, ...]:
    """At most four, best first: not metered, then by priority, then by name.

    Of `settings` the first whose pattern matches an interface's name counts. Those without a priority there come in the
    order of their route metrics. Where no interface serves but the kernel knows a way (a Switch on this machine, an
    interface without an address of its own), that is the only uplink, and has no name.
    """
    wanted = tuple(switch)
    usable = {
        index: setting
        for index, interface in snapshot.interfaces.items()
        if interface.usable and (setting := _setting(interface.name, settings)).use
    }
    found: list[tuple[Uplink, UplinkSettings]] = []
    for index, setting in usable.items():
        if ways := {ip: way for ip in wanted if (way := snapshot.ways_by_interface.get((index, ip))) is not None}:
            found.append((Uplink(snapshot.interfaces[index].name, index, ways), setting))
    if not found:
        ways = {ip: way for ip in wanted if (way := snapshot.ways.get(ip)) is not None and way.interface in usable}
        settled = all(way.source.is_loopback or way.source in _sources(snapshot) for way in ways.values())
        return (Uplink("", 0, ways),) if ways and settled else ()
    found.sort(key=lambda entry: (entry[0].metric, entry[0].name))
    unranked = iter(range(DEFAULT_PRIORITY, DEFAULT_PRIORITY + len(found)))
    uplinks = [
        Uplink(
            uplink.name,
            uplink.index,
            uplink.ways,
            min(next(unranked), PRIORITY_MAX) if setting.priority is None else setting.priority,
            setting.metered,
        )
        for uplink, setting in found
    ]
    return tuple(sorted(uplinks, key=lambda entry: (entry.metered, entry.priority, entry.name))[:MAX_PATHS])


def _sources(snapshot: LinkSnapshot) -> set[IPAddress]:
    """Addresses that were there when the ways were asked for: a newer one will be told with the next snapshot."""
    return {address for interface in snapshot.interfaces.values() for address in interface.addresses}


def _setting(name: str, settings: Sequence[UplinkSettings]) -> UplinkSettings:
    return next((entry for entry in settings if fnmatchcase(name, entry.interface)), _NO_SETTING)


_NO_SETTING = UplinkSettings("*")
