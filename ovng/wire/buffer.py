"""Bounded reader and writer: the only code that slices network bytes, but for `header` and `control`.

Integers are unsigned and big-endian. A `Reader` never looks past its data: what is missing is `Malformed("truncated")`,
what is left at `end()` is `Malformed("trailing")`. Values that do not fit a `Writer` field are a mistake of ours and
raise OverflowError.
"""

from __future__ import annotations

import struct
from typing import Any

from ovng.errors import Malformed


class Reader:
    """Reads fields one after the other from immutable bytes."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes, exactly. Raises Malformed."""
        end = self._position + count
        if count < 0 or end > len(self._data):
            raise Malformed("truncated")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Several fields at once, as `layout` (big-endian) says. Raises Malformed."""
        start, end = self._position, self._position + layout.size
        if end > len(self._data):
            raise Malformed("truncated")
        self._position = end
        return layout.unpack_from(self._data, start)

    def rest(self) -> bytes:
        """All that is left, possibly nothing."""
        start, self._position = self._position, len(self._data)
        return self._data[start:]

    def end(self) -> None:
        """Nothing may be left. Raises Malformed."""
        if self._position != len(self._data):
            raise Malformed("trailing")

    def __len__(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._position


class Writer:
    """Builds bytes field by field; verbs mirror `Reader` and return the writer, so that they chain."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def put(self, data: bytes) -> Writer:
        self._data += data
        return self

    def u8(self, value: int) -> Writer:
        return self.put(value.to_bytes(1, "big"))

    def u16(self, value: int) -> Writer:
        return self.put(value.to_bytes(2, "big"))

    def u32(self, value: int) -> Writer:
        return self.put(value.to_bytes(4, "big"))

    def u64(self, value: int) -> Writer:
        return self.put(value.to_bytes(8, "big"))

    def bytes(self) -> bytes:
        return bytes(self._data)

    def __len__(self) -> int:
        return len(self._data)
