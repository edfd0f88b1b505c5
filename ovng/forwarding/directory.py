"""Who attached with which inner prefix, for a million nodes (PROTOCOL 7).

Entries (prefix, node, grant) lie in `holdings`, one per address family; the longest match is one look-up per prefix
length in use.

An entry is never searched by its node. It counts only while `valid(node, grant)` says that this node is attached
under this grant, so whoever leaves, or comes back with other prefixes, needs no clean-up here: `sweep` walks the
columns, a few at a time, and frees what no longer counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from ovng.forwarding.holdings import Holdings, Key, key_of
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.limits import HOLDERS_MAX, ROUTES_MAX
from ovng.wire.private import Route

_KEY_SIZE_4 = 5

Valid = Callable[[int, int], bool]


class Directory:
    """`network`: prefixes whose single addresses are members, not routes. `valid`: see above."""

    def __init__(self, network: Sequence[Prefix], valid: Valid) -> None:
        self._network = tuple(network)
        self._valid = valid
        self._holdings = {version: Holdings(version) for version in (4, 6)}
        self._lengths: dict[int, list[int]] = {4: [0] * 33, 6: [0] * 129}
        self._routes: set[tuple[Key, int]] = set()
        self._listed: list[Route] | None = []
        self._swept = 0
        self.version = 1
        """Of the route list; rises with every change of it."""

    def __len__(self) -> int:
        return sum(map(len, self._holdings.values()))

    def add(self, prefix: Prefix, node: int, grant: int) -> bool:
        """Note that `node` attached with `prefix` under `grant`; True if it did not hold it before."""
        key, holdings = key_of(prefix), self._holdings[prefix.version]
        for entry in holdings.find(key):
            holder, held_under = holdings.holder(entry)
            if holder == node:
                held = self._valid(node, held_under)
                holdings.hold(entry, node, grant)
                return not held
        holdings.add(key, node, grant)
        self._lengths[prefix.version][prefix.prefixlen] += 1
        if self._is_route(prefix) and len(self._routes) < ROUTES_MAX:
            self._routes.add((key, node))
            self._changed()
        return True

    def holders(self, address: IPAddress) -> tuple[Prefix, list[NodeID]] | None:
        """The longest prefix that holds `address`, and at most 8 nodes attached with it."""
        lengths, holdings = self._lengths[address.version], self._holdings[address.version]
        for length in range(address.max_prefixlen, -1, -1):
            if not lengths[length]:
                continue
            prefix = ipaddress.ip_network((address, length), strict=False)
            nodes: list[NodeID] = []
            for entry in holdings.find(key_of(prefix)):
                node, grant = holdings.holder(entry)
                if self._valid(node, grant):
                    nodes.append(NodeID(node))
                    if len(nodes) == HOLDERS_MAX:
                        break
            if nodes:
                return prefix, nodes
        return None

    def routes(self) -> list[Route]:
        """Prefixes that are no member's own address, in a fixed order; at most 65,535."""
        if self._listed is None:
            in_order = sorted(self._routes, key=lambda route: (len(route[0]), route))  # IPv4 first
            self._listed = [Route(_prefix(key), NodeID(node)) for key, node in in_order]
        return self._listed

    def sweep(self, count: int) -> list[Prefix]:
        """Look at the next `count` entries and free those that no longer count; the prefixes that lost a holder."""
        lost: list[Prefix] = []
        first, second = self._holdings.values()
        total = first.size + second.size
        for _ in range(min(count, total)):
            self._swept = (self._swept + 1) % total
            holdings, entry = (first, self._swept) if self._swept < first.size else (second, self._swept - first.size)
            key = holdings.key(entry)
            if key is not None and not self._valid(*holdings.holder(entry)):
                lost.append(self._drop(holdings, entry, key))
        return lost

    def _drop(self, holdings: Holdings, entry: int, key: Key) -> Prefix:
        prefix = _prefix(key)
        node, _ = holdings.holder(entry)
        holdings.drop(entry)
        self._lengths[prefix.version][prefix.prefixlen] -= 1
        if (route := (key, node)) in self._routes:
            self._routes.remove(route)
            self._changed()
        return prefix

    def _changed(self) -> None:
        self.version += 1
        self._listed = None

    def _is_route(self, prefix: Prefix) -> bool:
        if not self._network:
            return prefix.prefixlen < prefix.max_prefixlen
        return not any(
            prefix.version == own.version and prefix.prefixlen >= own.prefixlen and prefix.network_address in own
            for own in self._network
        )


def _prefix(key: Key) -> Prefix:
    family = ipaddress.IPv4Network if len(key) == _KEY_SIZE_4 else ipaddress.IPv6Network
    return family((key[1:], key[0] - 1))
