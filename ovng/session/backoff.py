"""Chance and waiting: jitter from the injected random source, and doubling waits between tries."""

from __future__ import annotations

from collections.abc import Callable

Random = Callable[[int], bytes]
"""`random(n)` gives n unpredictable bytes (`os.urandom`, or a seeded one in tests)."""


def fraction(random: Random) -> float:
    """Uniform in [0, 1)."""
    return int.from_bytes(random(4), "big") / (1 << 32)


def jittered(value: float, share: float, random: Random) -> float:
    """`value` ± up to `share` of it, uniformly."""
    return value * (1 + share * (2 * fraction(random) - 1))


class Backoff:
    """Waits that double from `first` to `last` seconds, ± 20 %, until `reset()`."""

    __slots__ = ("_first", "_last", "_next", "_random")

    def __init__(self, first: float, last: float, random: Random) -> None:
        self._first, self._last, self._random = first, last, random
        self._next = first

    def next(self) -> float:
        """Seconds to wait before the next try."""
        wait = jittered(self._next, 0.2, self._random)
        self._next = min(self._next * 2, self._last)
        return min(wait, self._last)

    def reset(self) -> None:
        self._next = self._first
