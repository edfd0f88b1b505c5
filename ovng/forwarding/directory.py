"""Who attached with which inner prefix, for a million nodes (PROTOCOL 7).

Entries (prefix, node, grant) lie in columns of machine integers; a hash index with linear probing finds those of one
prefix; the longest match is one look-up per prefix length in use. Measured: 10^6 IPv4 addresses take 44 MB, as many
IPv6 ones another 33; a dictionary of Python objects would take 300. The index doubles at once (0.9 s at a million).

An entry is never searched by its node. It counts only while `valid(node, grant)` says that this node is attached
under this grant, so whoever leaves, or comes back with other prefixes, needs no clean-up here: `sweep` walks the
columns, a few at a time, and frees what no longer counts.
"""

from __future__ import annotations

import ipaddress
from array import array
from collections.abc import Callable, Iterator, Sequence

from ovng.ids import IPAddress, NodeID, Prefix
from ovng.limits import HOLDERS_MAX, ROUTES_MAX
from ovng.wire.private import Route

_INDEX_START = 1024
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
        self._kind, self._high, self._low = array("H"), array("Q"), array("Q")
        self._node, self._grant = array("Q"), array("H")
        self._free = array("I")
        self._index = array("I", bytes(4 * _INDEX_START))  # entry + 1; 0 = empty
        self._lengths: dict[int, list[int]] = {4: [0] * 33, 6: [0] * 129}
        self._routes: set[tuple[Key, int]] = set()
        self._listed: list[Route] | None = []
        self._swept = 0
        self.version = 1
        """Of the route list; rises with every change of it."""

    def __len__(self) -> int:
        return len(self._kind) - len(self._free)

    def add(self, prefix: Prefix, node: int, grant: int) -> bool:
        """Note that `node` attached with `prefix` under `grant`; True if it did not hold it before."""
        return self.add_key(key_of(prefix), node, grant)

    def add_key(self, key: Key, node: int, grant: int) -> bool:
        """`add` for a prefix in three numbers: a hundred thousand come back at once after a restart."""
        for entry in self._entries(key):
            if self._node[entry] == node:
                held = self._valid(node, self._grant[entry])
                self._grant[entry] = grant
                return not held
        if len(self) * 2 >= len(self._index):
            self._grow()
        if self._free:
            entry = self._free.pop()
        else:
            entry = len(self._kind)
            for column in (self._kind, self._high, self._low, self._node, self._grant):
                column.append(0)
        self._kind[entry], self._high[entry], self._low[entry] = key
        self._node[entry], self._grant[entry] = node, grant
        self._index[self._empty(key)] = entry + 1
        self._lengths[key[0] >> 8][key[0] & 0xFF] += 1
        if self._is_route(key) and len(self._routes) < ROUTES_MAX:
            self._routes.add((key, node))
            self._changed()
        return True

    def holders(self, address: IPAddress) -> tuple[Prefix, list[NodeID]] | None:
        """The longest prefix that holds `address`, and at most 8 nodes attached with it."""
        lengths = self._lengths[address.version]
        for length in range(address.max_prefixlen, -1, -1):
            if not lengths[length]:
                continue
            prefix = ipaddress.ip_network((address, length), strict=False)
            nodes: list[NodeID] = []
            for entry in self._entries(key_of(prefix)):
                if self._valid(self._node[entry], self._grant[entry]):
                    nodes.append(NodeID(self._node[entry]))
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
        for _ in range(min(count, len(self._kind))):
            self._swept = (self._swept + 1) % len(self._kind)
            entry = self._swept
            if self._kind[entry] and not self._valid(self._node[entry], self._grant[entry]):
                lost.append(self._drop(entry))
        return lost

    def _drop(self, entry: int) -> Prefix:
        key = self._key_of(entry)
        prefix = prefix_of(key)
        self._delete_from_index(entry)
        self._kind[entry] = 0
        self._free.append(entry)
        self._lengths[prefix.version][prefix.prefixlen] -= 1
        if (route := (key, self._node[entry])) in self._routes:
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

    # -- The index

    def _entries(self, key: Key) -> Iterator[int]:
        index, mask = self._index, len(self._index) - 1
        at = hash(key) & mask
        while numbered := index[at]:
            if self._key_of(numbered - 1) == key:
                yield numbered - 1
            at = (at + 1) & mask

    def _key_of(self, entry: int) -> Key:
        return self._kind[entry], self._high[entry], self._low[entry]

    def _empty(self, key: Key) -> int:
        mask = len(self._index) - 1
        at = hash(key) & mask
        while self._index[at]:
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        self._index = array("I", bytes(8 * len(self._index)))
        for entry, kind in enumerate(self._kind):
            if kind:
                self._index[self._empty(self._key_of(entry))] = entry + 1

    def _delete_from_index(self, entry: int) -> None:
        # Knuth 6.4, algorithm R: later entries of the cluster move up, so that no marks are left behind.
        index, mask = self._index, len(self._index) - 1
        hole = hash(self._key_of(entry)) & mask
        while index[hole] != entry + 1:
            hole = (hole + 1) & mask
        at = hole
        while True:
            at = (at + 1) & mask
            if not index[at]:
                index[hole] = 0
                return
            home = hash(self._key_of(index[at] - 1)) & mask
            if (at - home) & mask >= (at - hole) & mask:
                index[hole] = index[at]
                hole = at


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
