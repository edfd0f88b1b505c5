"""Watches the machine's network without netlink's notifications: by looking again every `INTERVAL` seconds.

The fallback of `io/netlink`, with the same face; a change is seen late, by up to that time. Interfaces and addresses
come from netifaces (the optional extra `ovng[poll]`), their state from ioctl and /proc (netdevice(7), proc(5)). How a
datagram would leave is seen from the source address that the kernel gives a UDP socket which is connected, perhaps
bound to an interface; next hop and metric are those of the route in /proc that fits. For IPv4 those are the routes of
table `main`, and of a route with several next hops the first.
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ovng.clock import Now
from ovng.errors import SystemProblem
from ovng.ids import IPAddress, Prefix
from ovng.io.netlink import TUNNEL_ALIAS, is_deprecated, passed_detection
from ovng.roaming.snapshot import DefaultRoute, Interface, LinkSnapshot, Way, preferred

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds
_NET, _SYS = Path("/proc/thread-self/net"), Path("/sys/class/net")
_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING = 0x1, 0x8, 0x40
_RTF_UP, _RTF_REJECT = 0x1, 0x200
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_PORT = 9  # discard; nothing is sent


class _Route(NamedTuple):
    prefix: Prefix
    interface: str
    """Empty: nothing may go there."""
    gateway: IPAddress | None
    metric: int


class PollingWatcher:
    """As `netlink.Watcher`; its file descriptor is never readable, `deadline` is what brings it to life."""

    def __init__(self, own: str, mark: int = 0) -> None:
        """As `netlink.Watcher`. Raises SystemProblem where netifaces is not installed or cannot see the network."""
        self._own, self._mark = own, mark
        self._destinations: tuple[IPAddress, ...] = ()
        self._looked = float("-inf")  # mono
        self._last: LinkSnapshot | None = None
        self.counters: Counter[str] = Counter()
        """looks, failed."""
        try:
            self._netifaces = _import_netifaces()
            self._look()
        except ImportError:
            raise SystemProblem("netifaces is not installed: pip install 'ovng[poll]'") from None
        except OSError as error:
            raise SystemProblem(f"the network cannot be looked at: {error.strerror}") from None
        self._fd = os.eventfd(0, os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Never readable."""
        return self._fd

    def close(self) -> None:
        """Forget it."""
        os.close(self._fd)

    def set_destinations(self, destinations: Iterable[IPAddress]) -> None:
        """The Switch's addresses: those whose way is asked for from now on."""
        wanted = tuple(dict.fromkeys(destinations))
        if wanted != self._destinations:
            self._destinations = wanted
            self.resync()

    def resync(self) -> None:
        """Look again now: after a sleep of the machine."""
        self._looked = float("-inf")

    def receive(self, now: Now) -> None:
        """Nothing comes."""

    def deadline(self) -> float | None:
        """When `take` has something to do: monotonic seconds."""
        return self._looked + INTERVAL

    def take(self, now: Now) -> LinkSnapshot | None:
        """Look again if it is time to. A snapshot when it differs from the last one taken."""
        if now.mono < self._looked + INTERVAL:
            return None
        self._looked = now.mono
        self.counters["looks"] += 1
        try:
            snapshot = self._look()
        except (OSError, ValueError) as error:  # ValueError: netifaces, of an interface that has just gone
            self.counters["failed"] += 1
            if self.counters["failed"] == 1:
                log.warning("the network could not be looked at, trying again: %s", error)
            return None
        if snapshot == self._last:
            return None
        self._last = snapshot
        return snapshot

    # -- Looking

    def _look(self) -> LinkSnapshot:
        flags = _flags(self._netifaces.interfaces())
        flags.pop(self._own, None)
        indexes = {name: socket.if_nametoindex(name) for name in flags}
        six = _ipv6_flags()
        interfaces = {
            index: Interface(
                name,
                bool(flags[name] & _IFF_UP),
                bool(flags[name] & _IFF_RUNNING),
                preferred(self._addresses(name, six)),
            )
            for name, index in indexes.items()
        }
        routes = _routes()
        defaults = frozenset(
            DefaultRoute(route.prefix.version, indexes[route.interface], route.gateway, route.metric)
            for route in routes
            if route.prefix.prefixlen == 0 and route.interface in indexes
        )
        outer = {
            index: name
            for name, index in indexes.items()
            if interfaces[index].usable and not flags[name] & _IFF_LOOPBACK and not _is_tunnel(name)
        }
        here = {address for entry in interfaces.values() for address in entry.addresses}
        ways: dict[IPAddress, Way] = {}
        by_interface: dict[tuple[int, IPAddress], Way] = {}
        for destination in self._destinations:
            if (way := self._way(destination, interfaces, routes)) is not None:
                ways[destination] = way
            for index, name in outer.items():
                best = _best(route for route in routes if route.interface in (name, "") and destination in route.prefix)
                if best is None or not best.interface or destination in here:
                    continue  # IPv4 would take it for on-link
                if (source := self._source(destination, name)) is not None:
                    by_interface[index, destination] = Way(index, source, best.gateway, best.metric)
        return LinkSnapshot(interfaces, defaults, ways, by_interface)

    def _addresses(self, name: str, six: dict[tuple[str, IPAddress], int]) -> dict[IPAddress, bool]:
        found = {}
        told = self._netifaces.ifaddresses(name)
        for family in _FAMILIES.values():
            for entry in told.get(family, ()):
                address = ipaddress.ip_address(entry["addr"].partition("%")[0])
                flags = six.get((name, address), 0)
                if not address.is_loopback and not address.is_link_local and passed_detection(flags):
                    found[address] = is_deprecated(flags)
        return found

    def _way(self, destination: IPAddress, interfaces: dict[int, Interface], routes: list[_Route]) -> Way | None:
        """By the interface that has the source address; where several have it, by the best route of these."""
        source = self._source(destination)
        holders = {entry.name: index for index, entry in interfaces.items() if source in entry.addresses}
        if source is None or not holders:
            return None
        best = _best(route for route in routes if route.interface in holders and destination in route.prefix)
        if best is None:  # of another table
            return Way(next(iter(holders.values())), source)
        return Way(holders[best.interface], source, best.gateway)

    def _source(self, destination: IPAddress, interface: str = "") -> IPAddress | None:
        """What the kernel would send from; None when it would not send, or nothing could come back."""
        with socket.socket(_FAMILIES[destination.version], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                if interface:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(interface))
                if self._mark:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self._mark)
                sock.connect((str(destination), _PORT))
            except OSError:
                return None
            source = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
        if source.is_loopback or source.is_link_local != destination.is_link_local:
            return None
        return source


def _import_netifaces() -> Any:
    import netifaces

    return netifaces


def _flags(names: Iterable[str]) -> dict[str, int]:
    """Of each interface that is still there."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        for name in names:
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH22x", os.fsencode(name)[:15], 0))
            except OSError:
                continue
            found[name] = struct.unpack_from("=H", answer, 16)[0]
    return found


def _is_tunnel(name: str) -> bool:
    try:
        return (_SYS / name / "ifalias").read_bytes().rstrip(b"\0\n") == TUNNEL_ALIAS.encode()
    except OSError:
        return False


def _best(routes: Iterable[_Route]) -> _Route | None:
    """Longest prefix, then lowest metric, as the kernel has it."""
    return min(routes, key=lambda route: (-route.prefix.prefixlen, route.metric), default=None)


def _lines(name: str) -> list[list[str]]:
    """None of it where the kernel does not speak this version of IP."""
    try:
        return [line.split() for line in (_NET / name).read_text(encoding="ascii").splitlines()]
    except FileNotFoundError:
        return []


def _ipv6_flags() -> dict[tuple[str, IPAddress], int]:
    """ifa_flags by interface and address."""
    return {(words[5], _six(words[0])): int(words[4], 16) for words in _lines("if_inet6") if len(words) == 6}


def _routes() -> list[_Route]:
    """Of both families."""
    found = []
    for words in _lines("route")[1:]:
        interface, destination, gateway, flags, _, _, metric, mask = words[:8]
        if int(flags, 16) & _RTF_UP:
            prefix = ipaddress.ip_network(f"{_four(destination)}/{_four(mask)}", strict=False)
            leaves = "" if int(flags, 16) & _RTF_REJECT else interface
            found.append(_Route(prefix, leaves, _hop(_four(gateway)), int(metric)))
    for words in _lines("ipv6_route"):
        destination, length, _, _, gateway, metric, _, _, flags, interface = words[:10]
        if int(flags, 16) & _RTF_UP:
            prefix = ipaddress.ip_network((_six(destination), int(length, 16)), strict=False)
            leaves = "" if int(flags, 16) & _RTF_REJECT else interface
            found.append(_Route(prefix, leaves, _hop(_six(gateway)), int(metric, 16)))
    return found


def _four(text: str) -> IPAddress:
    """In the byte order of this machine."""
    return ipaddress.IPv4Address(struct.pack("=I", int(text, 16)))


def _six(text: str) -> IPAddress:
    return ipaddress.IPv6Address(bytes.fromhex(text))


def _hop(gateway: IPAddress) -> IPAddress | None:
    return None if gateway.is_unspecified else gateway
