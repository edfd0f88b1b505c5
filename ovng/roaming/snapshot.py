"""What the machine's network looks like at one instant, as far as it matters to a node.

The one question that counts is how a datagram to the Switch would leave now. It is answered by the kernel's own route
look-up (a `Way`), with all its tables and rules, not guessed from a list of interfaces. Interfaces and default routes
stand beside it to tell *why* a way changed, and whether another look-up of the Switch's name could help.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Any

from ovng.fields import Frozen, replace
from ovng.ids import IPAddress


class Interface(Frozen):
    """One network interface, never the tunnel's own."""

    name: str
    up: bool
    """Administratively."""
    carrier: bool
    """Something is at the other end, and it may be used: operational state `up` or `unknown` (RFC 2863)."""
    addresses: frozenset[IPAddress] = frozenset()
    """To send from: global scope, past duplicate address detection, `preferred`."""

    @property
    def usable(self) -> bool:
        """Packets can leave through it."""
        return self.up and self.carrier

    @property
    def versions(self) -> frozenset[int]:
        """Of IP, that it has an address of."""
        return frozenset(address.version for address in self.addresses)


class DefaultRoute(Frozen):
    """A route to everywhere."""

    family: int
    """4 or 6."""
    interface: int
    """Index."""
    gateway: IPAddress | None
    metric: int
    table: int = 254
    """That of `main` unless said otherwise."""


class Way(Frozen):
    """How a datagram to one destination leaves: what the kernel would do now."""

    interface: int
    """Index."""
    source: IPAddress
    gateway: IPAddress | None = None
    """None on the destination's own link."""
    metric: int = 0
    """Of the route, lower is better; told in `ways_by_interface` only."""


_EMPTY: Mapping[Any, Any] = MappingProxyType({})


class LinkSnapshot(Frozen):
    """All of it. Two snapshots compare equal when nothing changed."""

    interfaces: Mapping[int, Interface] = _EMPTY
    """By index."""
    default_routes: frozenset[DefaultRoute] = frozenset()
    ways: Mapping[IPAddress, Way] = _EMPTY
    """By destination; one that cannot be reached, or only through the tunnel itself, is absent."""
    ways_by_interface: Mapping[tuple[int, IPAddress], Way] = _EMPTY
    """How it would leave by this interface (index), if it had to; never loopback or a tunnel of ovng."""


def preferred(addresses: Mapping[IPAddress, bool]) -> frozenset[IPAddress]:
    """Without the deprecated IPv6 addresses (those with True) where there is another (RFC 6724, rule 3)."""
    fresh = frozenset(address for address, deprecated in addresses.items() if address.version == 4 or not deprecated)
    return fresh if any(address.version == 6 for address in fresh) else frozenset(addresses)


def without(snapshot: LinkSnapshot, fallen: Set[int]) -> LinkSnapshot:
    """What is left when these interfaces (indices) carry nothing any more, before anybody has looked again."""
    return LinkSnapshot(
        {
            index: replace(interface, carrier=False) if index in fallen else interface
            for index, interface in snapshot.interfaces.items()
        },
        frozenset(route for route in snapshot.default_routes if route.interface not in fallen),
        {destination: way for destination, way in snapshot.ways.items() if way.interface not in fallen},
        {key: way for key, way in snapshot.ways_by_interface.items() if key[0] not in fallen},
    )
