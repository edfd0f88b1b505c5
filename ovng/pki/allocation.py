"""Which inner addresses and routes a member may have: inside the network, and nobody else's. Pure rules.

All functions raise ConfigError with a line for the user.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from ovng.errors import ConfigError
from ovng.ids import IPAddress, Prefix
from ovng.pki.folder import Member


def check_network_prefixes(prefixes: Sequence[Prefix]) -> None:
    """A network's own prefixes: apart from each other, with room for two hosts."""
    for i, prefix in enumerate(prefixes):
        if _host_range(prefix)[1] - _host_range(prefix)[0] < 1:
            raise ConfigError(f"{prefix} has no room for two nodes", key="--prefix")
        for other in prefixes[:i]:
            if overlap(prefix, other):
                raise ConfigError(f"{prefix} overlaps {other}", key="--prefix")


def next_addresses(prefixes: Sequence[Prefix], members: Iterable[Member]) -> tuple[IPAddress, ...]:
    """The lowest free host address of every prefix."""
    used = {address for member in members for address in member.addresses}
    return tuple(_next_free(prefix, used) for prefix in prefixes)


def _next_free(prefix: Prefix, used: set[IPAddress]) -> IPAddress:
    first, last = _host_range(prefix)
    for number in range(first, last + 1):
        address = type(prefix.network_address)(number)
        if address not in used:
            return address
    raise ConfigError(f"every address of {prefix} is taken: revoke what is no longer used, see `ovng ca list`")


def _host_range(prefix: Prefix) -> tuple[int, int]:
    """First and last host: not IPv4's network and broadcast, not IPv6's subnet-router anycast (RFC 4291, 2.6.1)."""
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    return first + 1, last - 1 if prefix.version == 4 else last


def check_addresses(addresses: Sequence[IPAddress], prefixes: Sequence[Prefix], members: Iterable[Member]) -> None:
    """Given addresses: host addresses inside the network, each once, nobody's."""
    owner = {address: member for member in members for address in member.addresses}
    for i, address in enumerate(addresses):
        home = next((prefix for prefix in prefixes if address.version == prefix.version and address in prefix), None)
        if home is None:
            raise ConfigError(f"{address} is outside the network ({_join(prefixes)})", key="--address")
        first, last = _host_range(home)
        if not first <= int(address) <= last:
            raise ConfigError(f"{address} names the network {home} itself, not a node", key="--address")
        if address in addresses[:i]:
            raise ConfigError(f"{address} is there twice", key="--address")
        if address in owner:
            raise ConfigError(f"{address} is {owner[address].name}'s", key="--address")


def check_routes(
    routes: Sequence[Prefix], cluster: str | None, prefixes: Sequence[Prefix], members: Sequence[Member]
) -> None:
    """Given routes: outside the network, apart from each other and from others', except those of the same cluster."""
    for i, route in enumerate(routes):
        for prefix in prefixes:
            if overlap(route, prefix):
                raise ConfigError(f"{route} overlaps the network's own {prefix}", key="--route")
        for other in routes[:i]:
            if overlap(route, other):
                raise ConfigError(f"{route} overlaps {other}", key="--route")
        for member in members:
            for other in member.routes:
                if overlap(route, other) and (cluster is None or member.cluster != cluster):
                    raise ConfigError(
                        f"{route} overlaps {other}, which {member.name} serves: only a --cluster shares routes",
                        key="--route",
                    )


def exit_routes(prefixes: Sequence[Prefix]) -> tuple[Prefix, ...]:
    """The default routes of an exit: of each family that the network has."""
    versions = sorted({prefix.version for prefix in prefixes})
    return tuple(ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0") for version in versions)


def overlap(one: Prefix, other: Prefix) -> bool:
    """True if they share an address. A default route overlaps only another one's place, never a prefix."""
    if one.version != other.version or one.prefixlen == 0 or other.prefixlen == 0:
        return False  # longest prefix first: a default route takes nothing from anybody
    return one.network_address in other or other.network_address in one


def _join(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
