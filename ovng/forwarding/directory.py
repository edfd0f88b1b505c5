"""Who attached with which inner prefix, for a million nodes (PROTOCOL 7).

Entries (prefix, node, grant) lie in `holdings`, one per address family; the longest match is one look-up per prefix
length in use.

An entry is never searched by its node. It counts only while `valid(node, grant)` says that this node is attached
under this grant, so whoever leaves, or comes back with other prefixes, needs no clean-up here: `sweep` walks the
columns, a few at a time, and frees what no longer counts.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Sequence

from ovng.forwarding.holdings import Holdings
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.limits import HOLDERS_MAX, ROUTES_MAX
from ovng.wire.private import Route

_ROW_V4, _ROW_V6 = struct.Struct(">BI"), struct.Struct(">BQQ")
_LOW = (1 << 64) - 1
_HOST_V4, _HOST_V6 = 4 << 8 | 32, 6 << 8 | 128

Key = tuple[int, int, int]
"""Family × 256 + length, upper and lower 64 bits of the address."""

Valid = Callable[[int, int], bool]


class Directory:
    """`network`: prefixes whose single addresses are members, not routes. `valid`: see above."""

    def __init__(self, network: Sequence[Prefix], valid: Valid) -> None:
        self._network = tuple(
            (own.version << 8 | own.prefixlen, int(own.network_address) >> own.max_prefixlen - own.prefixlen)
            for own in network
        )
        self._valid = valid
        self._holdings = {4: Holdings(_ROW_V4.size), 6: Holdings(_ROW_V6.size)}
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
        return self.add_key(key_of(prefix), node, grant)

    def add_key(self, key: Key, node: int, grant: int) -> bool:
        """`add` for a prefix in three numbers: a hundred thousand come back at once after a restart."""
        row, holdings = _row(key), self._holdings[key[0] >> 8]
        for entry in holdings.find(row):
            holder, held_under = holdings.holder(entry)
            if holder == node:
                held = self._valid(node, held_under)
                holdings.hold(entry, node, grant)
                return not held
        holdings.add(row, node, grant)
        self._lengths[key[0] >> 8][key[0] & 0xFF] += 1
        if self._is_route(key) and len(self._routes) < ROUTES_MAX:
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
            for entry in holdings.find(_row(key_of(prefix))):
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
            self._listed = [Route(prefix_of(key), NodeID(node)) for key, node in sorted(self._routes)]
        return self._listed

    def sweep(self, count: int) -> list[Prefix]:
        """Look at the next `count` entries and free those that no longer count; the prefixes that lost a holder."""
        lost: list[Prefix] = []
        first, second = self._holdings.values()
        total = first.size + second.size
        for _ in range(min(count, total)):
            self._swept = (self._swept + 1) % total
            holdings, entry = (first, self._swept) if self._swept < first.size else (second, self._swept - first.size)
            row = holdings.key(entry)
            if row is not None and not self._valid(*holdings.holder(entry)):
                lost.append(self._drop(holdings, entry, _key(row)))
        return lost

    def _drop(self, holdings: Holdings, entry: int, key: Key) -> Prefix:
        prefix, (node, _) = prefix_of(key), holdings.holder(entry)
        holdings.drop(entry)
        self._lengths[prefix.version][prefix.prefixlen] -= 1
        if (route := (key, node)) in self._routes:
            self._routes.remove(route)
            self._changed()
        return prefix

    def _changed(self) -> None:
        self.version += 1
        self._listed = None

    def _is_route(self, key: Key) -> bool:
        kind, high, low = key
        if not self._network:
            return kind not in (_HOST_V4, _HOST_V6)
        bits, address = 32 if kind >> 8 == 4 else 128, high << 64 | low
        for own, network in self._network:
            if kind >> 8 == own >> 8 and kind >= own and address >> bits - (own & 0xFF) == network:
                return False
        return True


def key_of(prefix: Prefix) -> Key:
    """A prefix as the directory keeps it."""
    address = int(prefix.network_address)
    return prefix.version << 8 | prefix.prefixlen, address >> 64, address & _LOW


def prefix_of(key: Key) -> Prefix:
    """The opposite of `key_of`."""
    kind, high, low = key
    if kind >> 8 == 4:
        return ipaddress.IPv4Network((low, kind & 0xFF))
    return ipaddress.IPv6Network((high << 64 | low, kind & 0xFF))


def _row(key: Key) -> bytes:
    """How `holdings` keeps a prefix: length + 1, address."""
    kind, high, low = key
    length = (kind & 0xFF) + 1
    return _ROW_V4.pack(length, low) if kind >> 8 == 4 else _ROW_V6.pack(length, high, low)


def _key(row: bytes) -> Key:
    """The opposite of `_row`."""
    if len(row) == _ROW_V4.size:
        length, low = _ROW_V4.unpack(row)
        return 4 << 8 | length - 1, 0, low
    length, high, low = _ROW_V6.unpack(row)
    return 6 << 8 | length - 1, high, low
