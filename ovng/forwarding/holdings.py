"""Who holds which prefix, for one address family: rows in one buffer, found by a hash index.

A row is key ‖ node 8 ‖ grant 2. The index probes linearly and doubles when half full. A dictionary of Python objects
would take ten times the memory.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator

_INDEX_START = 1024
_HOLDER = struct.Struct(">QH")  # node, grant

Key = bytes
"""What stands for a prefix, always of one size; its first byte is not 0, which marks a free row."""


class Holdings:
    """Entries are named by small numbers, which are used again after `drop`."""

    def __init__(self, key_size: int) -> None:
        self._key_size = key_size
        self._row_size = self._key_size + _HOLDER.size
        self._rows = bytearray()
        self._free = array("I")
        self._index = array("I", bytes(4 * _INDEX_START))  # entry + 1; 0 = empty

    def __len__(self) -> int:
        """Entries in use."""
        return self.size - len(self._free)

    @property
    def size(self) -> int:
        """Numbers given out so far."""
        return len(self._rows) // self._row_size

    def key(self, entry: int) -> Key | None:
        """Of one entry; None when it is free."""
        at = entry * self._row_size
        return bytes(self._rows[at : at + self._key_size]) if self._rows[at] else None

    def holder(self, entry: int) -> tuple[int, int]:
        """(node, grant)"""
        node, grant = _HOLDER.unpack_from(self._rows, entry * self._row_size + self._key_size)
        return node, grant

    def hold(self, entry: int, node: int, grant: int) -> None:
        """Change the holder."""
        _HOLDER.pack_into(self._rows, entry * self._row_size + self._key_size, node, grant)

    def find(self, key: Key) -> Iterator[int]:
        """All entries of a prefix."""
        index, mask = self._index, len(self._index) - 1
        at = hash(key) & mask
        while numbered := index[at]:
            if self.key(numbered - 1) == key:
                yield numbered - 1
            at = (at + 1) & mask

    def add(self, key: Key, node: int, grant: int) -> None:
        """One more entry."""
        if len(self) * 2 >= len(self._index):
            self._grow()
        if self._free:
            entry = self._free.pop()
            at = entry * self._row_size
            self._rows[at : at + self._key_size] = key
            self.hold(entry, node, grant)
        else:
            entry = self.size
            self._rows += key + _HOLDER.pack(node, grant)
        self._index[self._empty(key)] = entry + 1

    def drop(self, entry: int) -> None:
        """Free an entry."""
        self._delete_from_index(entry)
        self._rows[entry * self._row_size] = 0
        self._free.append(entry)

    # -- The index

    def _empty(self, key: Key) -> int:
        mask = len(self._index) - 1
        at = hash(key) & mask
        while self._index[at]:
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        self._index = array("I", bytes(8 * len(self._index)))
        for entry in range(self.size):
            key = self.key(entry)
            if key is not None:
                self._index[self._empty(key)] = entry + 1

    def _delete_from_index(self, entry: int) -> None:
        # Knuth 6.4, algorithm R: later entries of the cluster move up, so that no marks are left behind.
        index, mask = self._index, len(self._index) - 1
        hole = hash(self.key(entry)) & mask
        while index[hole] != entry + 1:
            hole = (hole + 1) & mask
        at = hole
        while True:
            at = (at + 1) & mask
            if not index[at]:
                index[hole] = 0
                return
            home = hash(self.key(index[at] - 1)) & mask
            if (at - home) & mask >= (at - hole) & mask:
                index[hole] = index[at]
                hole = at
