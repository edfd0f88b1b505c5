"""Who must be woken when: one deadline per key, changed often, asked for the earliest."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Agenda(Generic[Key]):
    """Deadlines by key, on whatever clock the caller means. Changing one costs O(log n); stale entries are skipped."""

    __slots__ = ("_count", "_heap", "_when")

    def __init__(self) -> None:
        self._when: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0  # breaks ties: first come, first served, and keys are never compared

    def set(self, key: Key, when: float | None) -> None:
        """Wake `key` at `when`, and at no other time; None = never."""
        if self._when.get(key) == when:
            return
        if when is None:
            del self._when[key]
        else:
            self._when[key] = when
            self._count += 1
            heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 64 + 4 * len(self._when):
            self._heap = [entry for entry in self._heap if self._when.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """The earliest deadline."""
        while self._heap and self._when.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Key]:
        """All keys whose deadline is here, earliest first; their deadlines are taken off."""
        keys = []
        while (when := self.next()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._when[key]
            keys.append(key)
        return keys
