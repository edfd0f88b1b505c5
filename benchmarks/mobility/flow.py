"""What numbered datagrams tell: gaps, losses, doubles, disorder, of any stretch of a flow. Pure arithmetic."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

INTERVAL = 0.001
"""Seconds between two datagrams of the probe."""


@dataclass(frozen=True)
class Flow:
    """One direction. All times are CLOCK_MONOTONIC, in seconds."""

    sent: Sequence[float]
    """When each was sent; the place is its number."""
    arrived: Sequence[tuple[float, int]]
    """When, and the number; in the order of arrival."""

    @classmethod
    def of(cls, sent: Sequence[float], arrived: Sequence[Sequence[float]]) -> Flow:
        """From a receiver's list of number and time."""
        return cls(sent, [(at, int(number)) for number, at in arrived])

    def gap(self, since: float, until: float) -> float:
        """The longest time without an arrival, in seconds, beyond the pause that the sender itself made.

        It counts from `since`, however long nothing came before. Until the end, when nothing comes any more.
        """
        window = self._window(since, until)
        before, gaps = since, []
        for at, number in window:
            pause = self.sent[number] - self.sent[number - 1] if number else INTERVAL
            gaps.append(at - before - max(INTERVAL, min(pause, at - before)))
            before = at
        gaps.append(until - before - INTERVAL)
        return max(0.0, *gaps)

    def first(self, since: float) -> float | None:
        """When the first one after an instant came."""
        place = bisect_right(self.arrived, since, key=_at)
        return self.arrived[place][0] if place < len(self.arrived) else None

    def lost(self, since: float, until: float) -> int:
        """How many of those sent in this time never arrived."""
        known = {number for _, number in self.arrived}
        return sum(number not in known for number in self._numbers(since, until))

    def duplicated(self, since: float, until: float) -> int:
        """How many arrivals too many there are of those sent in this time."""
        count = Counter(number for _, number in self.arrived)
        return sum(max(0, count[number] - 1) for number in self._numbers(since, until))

    def reordered(self, since: float, until: float) -> int:
        """How many of those sent in this time came after one with a higher number."""
        mine, most, late = self._numbers(since, until), -1, 0
        for _, number in self.arrived:
            late += number in mine and number < most
            most = max(most, number)
        return late

    def _window(self, since: float, until: float) -> Sequence[tuple[float, int]]:
        return self.arrived[bisect_right(self.arrived, since, key=_at) : bisect_left(self.arrived, until, key=_at)]

    def _numbers(self, since: float, until: float) -> range:
        return range(bisect_left(self.sent, since), bisect_left(self.sent, until))


def longest_pause(times: Sequence[float], since: float, until: float) -> float:
    """The longest time between two of `times`, counted from `since` and until `until`."""
    inside = times[bisect_right(times, since) : bisect_left(times, until)]
    return max(b - a for a, b in pairwise([since, *inside, until]))


def _at(arrival: tuple[float, int]) -> float:
    return arrival[0]
