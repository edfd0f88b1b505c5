"""Fuzz input read as a program: small numbers and strings that decide what happens next.

Reading beyond the end gives zeros, so that every input is a program, and a shorter one does less. Numbers are
big-endian; `Script` writes what `Choices` reads, for the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
CHANGES_MAX = 4


class Choices:
    """Decisions from bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        """Something is left."""
        return self._at < len(self._data)

    def number(self, size: int) -> int:
        """`size` bytes."""
        piece = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(piece.ljust(size, b"\0"), "big")

    def u8(self) -> int:
        return self.number(1)

    def u16(self) -> int:
        return self.number(2)

    def below(self, limit: int) -> int:
        """0 … limit − 1; `limit` 1 … 256."""
        return self.u8() % limit

    def flag(self) -> bool:
        return bool(self.u8() & 1)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def steps(self, choices: Sequence[T], most: int) -> Iterator[T]:
        """One pick after the other while anything is left, `most` at most."""
        for _ in range(most):
            if not self:
                return
            yield self.pick(choices)

    def chunk(self, most: int = 0xFFFF) -> bytes:
        """A string behind its length (2 bytes); shorter when the input ends."""
        length = min(self.u16(), most)
        piece = self._data[self._at : self._at + length]
        self._at += length
        return piece

    def rest(self) -> bytes:
        """All that is left."""
        piece = self._data[self._at :]
        self._at = len(self._data)
        return piece

    def integer(self) -> int:
        """Up to 64 bits, those at the limits of types more often than others."""
        how = self.u8()
        return INTERESTING[how] if how < len(INTERESTING) else self.number(1 + how % 8)

    def changed(self, data: bytes) -> bytes:
        """`data` with a few changes; with none at all when the next byte is a multiple of 5."""
        changed = bytearray(data)
        for _ in range(self.u8() % (CHANGES_MAX + 1)):
            how, at = self.below(6), self.u16() % (len(changed) + 1)
            if how == 0:
                changed[at : at + 1] = bytes([self.u8()])
            elif how == 1 and at < len(changed):
                changed[at] ^= 1 << self.below(8)
            elif how == 2:
                del changed[at:]
            elif how == 3:
                changed[at:at] = self.chunk(64)
            elif how == 4:
                size = 1 << self.below(4)
                changed[at : at + size] = (self.integer() % (1 << 8 * size)).to_bytes(size, "big")
            else:
                del changed[at : at + 1 + self.below(16)]
        return bytes(changed)


class Script:
    """Writes a program."""

    def __init__(self) -> None:
        self._data = bytearray()

    def u8(self, *values: int) -> Script:
        self._data += bytes(values)
        return self

    def number(self, value: int, size: int) -> Script:
        self._data += value.to_bytes(size, "big")
        return self

    def u16(self, *values: int) -> Script:
        for value in values:
            self.number(value, 2)
        return self

    def u64(self, value: int) -> Script:
        """For `Choices.integer`."""
        return self.u8(255).number(value, 8)

    def chunk(self, data: bytes) -> Script:
        self.u16(len(data))
        self._data += data
        return self

    def rest(self, data: bytes) -> Script:
        self._data += data
        return self

    def bytes(self) -> bytes:
        return bytes(self._data)
