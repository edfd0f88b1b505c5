"""Watches the machine's network through netlink, and hands on what `roaming` compares: snapshots.

A notification is not believed, only taken as a hint what to look at again: links, addresses, default routes. So order,
loss and bursts of notifications cannot make the picture wrong; loss that the kernel admits (ENOBUFS) makes all of it
stale. At each look the kernel is asked how a datagram to each of the Switch's addresses would leave, by itself and by
each interface: rules and routes of all tables are in the answer.

One notification is believed: that a link is gone, or down. What it carried must leave by another one at once, and a
look takes some milliseconds: so the snapshot before, without that link, comes first, and then the look.

Bursts are coalesced: the first hint is followed at once, the next ones together `SETTLE` seconds later, so that a
move is seen without delay. Where a look takes long they become fewer: half a second of CPU may come together, a fifth
of a core is never exceeded for long. Between a hint and the look that follows it nobody listens: what a storm brings
more than the kernel keeps for us is lost, and told as such.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import select
import socket
import struct
from collections import Counter
from collections.abc import Iterable

from ovng import clock
from ovng.clock import Now
from ovng.errors import SystemProblem
from ovng.fields import replace
from ovng.ids import IPAddress
from ovng.io import rtnetlink as rt
from ovng.io.rtnetlink import Message, Raw, RouteQuery, RouteSocket
from ovng.roaming.snapshot import DefaultRoute, Interface, LinkSnapshot, Way, preferred, without

log = logging.getLogger(__name__)

SETTLE = 0.005  # seconds: a new address and its route are told one after the other
LOOKING_SHARE = 0.2  # of a core
LOOKING_CREDIT = 0.5  # seconds of CPU that looking may take at once
TUNNEL_ALIAS = "ovng"
"""ifalias of every tunnel's interface: how one of another profile is told from an uplink."""
ROUTE_PROTOCOL = 111
"""rtm_protocol of every route that ovng makes (rtnetlink(7)): how what a killed service left is recognised. Nobody's in
iproute2's list (etc/iproute2/rt_protos)."""

_GROUPS = (
    rt.GROUP_LINK
    | rt.GROUP_V4_ADDRESS
    | rt.GROUP_V4_ROUTE
    | rt.GROUP_V4_RULE
    | rt.GROUP_V6_ADDRESS
    | rt.GROUP_V6_ROUTE
    | rt.GROUP_V6_RULE
    | rt.GROUP_NEXTHOP
)
_RECEIVES = 256  # datagrams read in one go; the driver calls again
_UNICAST, _LOCAL = 1, 2  # rtm_type
_SCOPE_UNIVERSE, _SCOPE_SITE = 0, 200
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: tell the route that matches, not what would be done (Linux 4.13)
_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING = 0x1, 0x8, 0x40
_IFA_OPTIMISTIC, _IFA_DADFAILED, _IFA_DEPRECATED, _IFA_TENTATIVE = 0x04, 0x08, 0x20, 0x40

_LINKS, _ADDRESSES, _DEFAULTS, _WAYS = "links", "addresses", "default routes", "ways"  # these at each look
_EVERYTHING = frozenset({_LINKS, _ADDRESSES, _DEFAULTS})


class Watcher:
    """The driver calls `receive` when `fileno` is readable, and `take` at `deadline` or whenever it runs anyway."""

    def __init__(self, own: str, mark: int = 0, *, lean: bool = False) -> None:
        """`own` is the tunnel's interface, which is left out; `mark` (0: none) the firewall mark of what takes a way;
        `lean`: without pyroute2.

        Raises SystemProblem where there is no netlink.
        """
        try:
            self._notices, self._requests = RouteSocket(_GROUPS, lean=lean), RouteSocket(lean=lean)
            self._heard = select.epoll()
            self._heard.register(self._notices, select.EPOLLIN)
        except OSError as error:
            raise SystemProblem(f"the network cannot be watched (netlink: {error.strerror})") from None
        self._own, self._own_index, self._mark = own, 0, mark
        self._destinations: tuple[IPAddress, ...] = ()
        self._stale: set[str] = set(_EVERYTHING)
        self._fallen: set[int] = set()  # links said to be gone or down since the last look
        self._hinted = True  # something may have changed since the last look
        self._overrun = False  # the kernel drops without a further word, until all that it kept has been read
        self._looked, self._pause = float("-inf"), SETTLE  # mono, seconds
        self._credit, self._credited = LOOKING_CREDIT, float("-inf")  # seconds of looking, mono
        self._interfaces: dict[int, Interface] = {}  # without addresses
        self._loopback: set[int] = set()
        self._tunnels: set[int] = set()  # of ovng, our own too
        self._addresses: dict[int, dict[IPAddress, bool]] = {}  # deprecated?
        self._defaults: frozenset[DefaultRoute] = frozenset()
        self._queries: dict[tuple[IPAddress, int, int], RouteQuery] = {}  # of ways
        self._last: LinkSnapshot | None = None
        self.counters: Counter[str] = Counter()
        """looks, hints, lost, unknown, truncated, failed."""

    def fileno(self) -> int:
        """Readable when there is something for `receive`."""
        return self._heard.fileno()

    def close(self) -> None:
        """Close the sockets."""
        self._heard.close()
        self._notices.close()
        self._requests.close()

    def set_destinations(self, destinations: Iterable[IPAddress]) -> None:
        """The Switch's addresses: those whose way is asked for from now on."""
        wanted = tuple(dict.fromkeys(destinations))
        if wanted != self._destinations:
            self._destinations, self._hinted, self._looked = wanted, True, float("-inf")
            self._queries.clear()

    def resync(self) -> None:
        """Believe nothing any more: after a sleep of the machine."""
        self._doubt()
        self._looked = float("-inf")

    def receive(self, now: Now) -> None:
        """Read the notifications that have come, and hear of no more before the next look."""
        self._read()
        if self._hinted and now.mono < self._looked + self._pause:
            self._heard.modify(self._notices, 0)

    def _doubt(self) -> None:
        self._stale |= _EVERYTHING
        self._hinted = True

    def _read(self) -> None:
        for _ in range(_RECEIVES):
            try:
                raws = self._notices.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise SystemProblem(f"the network cannot be watched (netlink: {error.strerror})") from None
                self.counters["lost"] += 1
                self._overrun = True
                self._doubt()
                continue
            if not raws:
                if self._overrun:
                    self._overrun = False
                    self._doubt()
                return
            for raw in raws:
                self._take_hint(raw)

    def deadline(self) -> float | None:
        """When `take` has something to do: monotonic seconds, None for not until the next notification."""
        return self._looked + self._pause if self._hinted else None

    def take(self, now: Now) -> LinkSnapshot | None:
        """Look again if it is time to. A snapshot when it differs from the last one taken."""
        if self._fallen and self._last is not None:
            fallen, self._fallen = self._fallen, set()
            snapshot = without(self._last, fallen)
            if snapshot != self._last:
                self._last = snapshot
                return snapshot
        if not self._hinted or now.mono < self._looked + self._pause:
            return None
        began = clock.spent()
        self._read()
        self._fallen = set()
        self._hinted, self._looked = False, now.mono
        self.counters["looks"] += 1
        torn = self._requests.torn
        try:
            snapshot = self._look()
        except Exception as error:  # the kernel refuses, or pyroute2 stumbles over what a newer kernel says
            self.counters["failed"] += 1
            if self.counters["failed"] == 1:
                log.warning("the network could not be looked at, trying again: %s", error)
            self._doubt()
            self._looked = now.mono + 1.0
            return None
        finally:
            self._pause = self._pause_after(clock.spent() - began, now)
            self._heard.modify(self._notices, select.EPOLLIN)
        if self._requests.torn != torn or self._overrun:
            self._doubt()
        if snapshot == self._last:
            return None
        self._last = snapshot
        return snapshot

    def _pause_after(self, cost: float, now: Now) -> float:
        """Seconds from now until looking has not taken more than its share, after a look that cost so much CPU.

        By the time that it took, a storm on a busy machine would make us blind for many seconds.
        """
        earned = LOOKING_SHARE * (now.mono - self._credited)
        self._credit, self._credited = min(LOOKING_CREDIT, self._credit + earned) - cost, now.mono
        return max(SETTLE, -self._credit / LOOKING_SHARE)

    # -- Hints

    def _take_hint(self, raw: Raw) -> None:
        try:
            stale = self._made_stale(raw)
        except struct.error:
            stale = None
        if stale is None:
            self.counters["truncated" if raw.kind == 0 or raw.kind in _KNOWN else "unknown"] += 1
            self._stale |= _EVERYTHING if raw.kind == 0 else set()
            self._hinted |= raw.kind == 0
        elif stale:
            self.counters["hints"] += 1
            self._stale |= stale
            self._hinted = True

    def _made_stale(self, raw: Raw) -> set[str] | None:
        """What a notification makes us look at again; empty when it is the tunnel's own, None when it is unknown."""
        if raw.kind in rt.LINK_KINDS:
            return self._link_made_stale(*raw.body(rt.IFINFO), gone=raw.kind == rt.RTM_DELLINK)
        if raw.kind in rt.ADDRESS_KINDS:
            return set() if raw.body(rt.IFADDR)[4] == self._own_index else {_ADDRESSES}
        if raw.kind in rt.ROUTE_KINDS:
            family, length, _, _, _, protocol, _, _ = raw.body(rt.ROUTE)
            if protocol == ROUTE_PROTOCOL or family not in rt.VERSIONS:
                return set()
            return {_DEFAULTS} if length == 0 else {_WAYS}
        if raw.kind in rt.RULE_KINDS:
            return {_WAYS}
        if raw.kind in rt.NEXTHOP_KINDS:
            return {_DEFAULTS}
        return None

    def _link_made_stale(self, family: int, _: int, index: int, flags: int, *, gone: bool) -> set[str]:
        if index == self._own_index:
            return set()
        if not gone and flags & _IFF_UP and flags & _IFF_RUNNING:
            self._fallen.discard(index)
        elif family == socket.AF_UNSPEC:  # of another family: it leaves a bridge
            self._fallen.add(index)
        return {_LINKS}

    # -- Looking

    def _look(self) -> LinkSnapshot:
        stale, self._stale = self._stale, set()
        if _LINKS in stale:
            self._look_at_links()
        if _ADDRESSES in stale or _LINKS in stale:  # a link that goes takes addresses with it, not always with a word
            self._look_at_addresses()
        if _DEFAULTS in stale or _LINKS in stale:
            self._look_at_default_routes()
        interfaces = {
            index: replace(entry, addresses=preferred(self._addresses.get(index, {})))
            for index, entry in self._interfaces.items()
        }
        ways = {destination: self._way(destination) for destination in self._destinations}
        by_interface = {
            (index, destination): self._way_through(index, destination)
            for index, entry in interfaces.items()
            for destination in self._destinations
            if entry.usable and index not in self._loopback | self._tunnels and destination.version in entry.versions
        }
        return LinkSnapshot(
            interfaces,
            self._defaults,
            {destination: way for destination, way in ways.items() if way is not None},
            {key: way for key, way in by_interface.items() if way is not None},
        )

    def _look_at_links(self) -> None:
        self._interfaces, self._own_index, self._loopback, self._tunnels = {}, 0, set(), set()
        for link in self._requests.dump(rt.RTM_GETLINK):
            index, name, flags = link["index"], link.get_attr("IFLA_IFNAME"), link["flags"]
            if name == self._own:
                self._own_index = index
                self._tunnels.add(index)
            else:
                self._interfaces[index] = Interface(name, bool(flags & _IFF_UP), bool(flags & _IFF_RUNNING))
                if flags & _IFF_LOOPBACK:
                    self._loopback.add(index)
                elif link.get_attr("IFLA_IFALIAS") == TUNNEL_ALIAS:
                    self._tunnels.add(index)
        there = {0, *self._interfaces}
        self._queries = {key: query for key, query in self._queries.items() if key[1] in there}

    def _look_at_addresses(self) -> None:
        self._addresses = {}
        for entry in self._requests.dump(rt.RTM_GETADDR):
            if entry["index"] in self._interfaces and is_usable(entry):
                self._addresses.setdefault(entry["index"], {})[address_of(entry)] = is_deprecated(_address_flags(entry))

    def _look_at_default_routes(self) -> None:
        found = set()
        for route in self._requests.dump_routes(_is_default_route):
            version, table = rt.VERSIONS[route["family"]], route.get_attr("RTA_TABLE") or route["table"]
            metric = route.get_attr("RTA_PRIORITY") or 0
            hops = [(hop["oif"], hop) for hop in route.get_attr("RTA_MULTIPATH") or ()]
            for interface, hop in hops or [(route.get_attr("RTA_OIF"), route)]:
                if interface in self._interfaces:
                    found.add(DefaultRoute(version, interface, _gateway(hop), metric, table))
        self._defaults = frozenset(found)

    def _way_through(self, index: int, destination: IPAddress) -> Way | None:
        """By this interface. Where it has no route, IPv4 guesses that the destination is on-link: not a way."""
        route = self._ask_route(destination, index, _FIB_MATCH)
        way = None if route is None else self._way(destination, index)
        if route is None or way is None or way.interface != index:
            return None
        return replace(way, metric=route.get_attr("RTA_PRIORITY") or 0)

    def _ask_route(self, destination: IPAddress, index: int, flags: int = 0) -> Message | None:
        key = destination, index, flags
        query = self._queries.get(key) or self._queries.setdefault(key, self._route_query(*key))
        try:
            return query.ask()
        except OSError as error:
            if error.errno in _UNREACHABLE:
                return None
            raise

    def _route_query(self, destination: IPAddress, index: int, flags: int) -> RouteQuery:
        attributes: list[tuple[str, object]] = [("RTA_DST", str(destination))]
        attributes += [("RTA_OIF", index)] if index else []
        attributes += [("RTA_MARK", self._mark)] if self._mark else []
        message = self._requests.message(
            rt.RTM_GETROUTE,
            family=rt.FAMILIES[destination.version],
            dst_len=destination.max_prefixlen,
            flags=flags,
            attrs=attributes,
        )
        return RouteQuery(self._requests, message)

    def _way(self, destination: IPAddress, index: int = 0) -> Way | None:
        """`index` 0: by whatever interface the kernel prefers."""
        route = self._ask_route(destination, index)
        if route is None:
            return None
        interface, source = route.get_attr("RTA_OIF"), route.get_attr("RTA_PREFSRC")
        if route["type"] not in (_UNICAST, _LOCAL) or not interface or not source or interface in self._tunnels:
            return None
        address = ipaddress.ip_address(source)
        if route["type"] == _UNICAST and (address.is_loopback or address.is_link_local != destination.is_link_local):
            return None  # IPv6 without a global address (yet): no answer would find its way back
        return Way(interface, address, _gateway(route))


_KNOWN = (*rt.LINK_KINDS, *rt.ADDRESS_KINDS, *rt.ROUTE_KINDS, *rt.RULE_KINDS, *rt.NEXTHOP_KINDS)
_UNREACHABLE = (
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EACCES,
    errno.EINVAL,
    errno.EADDRNOTAVAIL,
    errno.ENODATA,
    errno.ENODEV,
)
"""No route, or one of type unreachable, prohibit, blackhole; no source for it; no such interface any more."""


def _is_default_route(raw: Raw) -> bool:
    family, length, _, _, _, protocol, _, kind = raw.body(rt.ROUTE)
    return length == 0 and family in rt.VERSIONS and kind == _UNICAST and protocol != ROUTE_PROTOCOL


def _gateway(route: Message) -> IPAddress | None:
    """The next hop; one of the other family is in RTA_VIA (RFC 5549)."""
    gateway = route.get_attr("RTA_GATEWAY")
    if gateway is None:
        via = route.get_attr("RTA_VIA")
        gateway = via.get("addr") if isinstance(via, dict) else None
    return ipaddress.ip_address(gateway) if gateway else None


def is_usable(entry: Message) -> bool:
    """Whether an address may be a source: global scope, and not waiting for or failed at duplicate detection."""
    return entry["scope"] in (_SCOPE_UNIVERSE, _SCOPE_SITE) and passed_detection(_address_flags(entry))


def passed_detection(flags: int) -> bool:
    """By its ifa_flags: not tentative (an optimistic one may be used, RFC 4429), and nobody else's."""
    waits = flags & _IFA_TENTATIVE and not flags & _IFA_OPTIMISTIC
    return not waits and not flags & _IFA_DADFAILED


def is_deprecated(flags: int) -> bool:
    """By its ifa_flags: its preferred lifetime is over (RFC 4862)."""
    return bool(flags & _IFA_DEPRECATED)


def _address_flags(entry: Message) -> int:
    flags = entry.get_attr("IFA_FLAGS")
    return int(entry["flags"] if flags is None else flags)


def address_of(entry: Message) -> IPAddress:
    """The local address; IFA_ADDRESS is the far end where there is one."""
    return ipaddress.ip_address(entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS"))
