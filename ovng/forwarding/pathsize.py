"""How large the datagrams may be that pass a path in one piece, both ways: found out with datagrams of that size.

This is RFC 8899 (DPLPMTUD) between a node and its Switch, without ICMP. A PROBE is padded to the size in question and
leaves with "don't fragment"; its answer is as large and does so, too. 1,232 bytes are taken for granted (a 1280-byte
path under IPv6); the largest size that is of use (what TUN can fill) is tried first, so that on an ordinary path one
probe says all. Where it fails, five sizes between what passes and what does not are tried at once, and again between
two of these.

A probe counts as lost when the answer to a small report that was sent *behind* it comes first, and its own not soon
after. So neither a dead path nor a growing queue looks like a narrow one, and no timer has to guess a round trip; that
is why probes need not be a second apart (RFC 8899, 5.1.1).

    SEARCH ── nothing between what passes and what fails ──► SETTLED ── 10 min ──► SEARCH
      ▲                                                        │
      └──────── probes of the size in use are lost ◄───────────┘   (RFC 8899, 4.3: black hole; back to 1,232 bytes)

In SETTLED the size in use is proved again only while large packets pass: four times a second while they are many, ever
more rarely while they are few. So a path that is narrowed silently is noticed within a second by who sends much, and an
idle one costs nothing. Times are monotonic seconds.
"""

from __future__ import annotations

from enum import Enum

from ovng.fields import Fields
from ovng.limits import (
    SIZE_BASE,
    SIZE_CHECK_BYTES,
    SIZE_CHECK_SECONDS,
    SIZE_CHECK_SECONDS_MAX,
    SIZE_CHECK_TRIES,
    SIZE_PARALLEL,
    SIZE_RAISE_SECONDS,
    SIZE_STEP,
    SIZE_TRIES,
)

_NEVER, _NO_DEADLINE = float("-inf"), float("inf")
_GRACE = 0.02  # for an answer that was overtaken on its way
_UNANSWERED, _UNANSWERED_MAX = 1.0, 60.0  # how long a whole round may stay without any answer, doubling
_TRIES_MAX = 8
_CHANCE = 1e-3  # that a lossy path is taken for a narrow one


class State(Enum):
    """What the path is doing."""

    SEARCH = "search"
    SETTLED = "settled"


class Round(Fields):
    """Probes under way: number → size. `marker`: the number of the small report behind them."""

    at: float
    probes: dict[int, int]
    marker: int
    passed: set[int]
    overtaken: float | None = None


class PathSize:
    """One path. The owner asks `due` when `deadline` says so, sends what it names, and tells what came back."""

    def __init__(self, most: int) -> None:
        self._most = max(most, SIZE_BASE)
        self.size = SIZE_BASE
        """Bytes of UDP payload that pass."""
        self.state = State.SEARCH
        self.black_holes = 0
        """How often the size in use had become too large."""
        self._fails = 0  # the smallest size known not to pass; 0: none
        self._lost: dict[int, int] = {}  # by size, in this search
        self._settled_at = self._proved = _NEVER
        self._round: Round | None = None
        self._next = _NEVER  # no round before
        self._wait = _UNANSWERED
        self._bulk = self._bulk_proved = 0
        self._bulk_at = _NEVER
        self._check_after = SIZE_CHECK_SECONDS

    @property
    def checked(self) -> bool:
        """Whether it matters how much passes in large packets."""
        return self.size > SIZE_BASE

    # -- What happened

    def restart(self) -> None:
        """It is another path by now: nothing is known of it."""
        self.size = SIZE_BASE
        self._search()

    def sent(self, probes: dict[int, int], marker: int, now: float) -> None:
        """What `due` asked for has left, under these numbers, and a small report behind it (0: nothing could)."""
        if marker:
            self._round = Round(now, probes, marker, set())
        else:
            self._next = now + self._wait

    def bulk(self, total: int, now: float) -> None:
        """So many bytes have been sent and received in large packets by now."""
        if total != self._bulk:
            self._bulk, self._bulk_at = total, now

    def answered(self, number: int, size: int, now: float) -> None:
        """The Switch has answered this report, a probe of `size` or (0) another."""
        current = self._round
        if size:
            self._passes(size, now)
        if current is None or number < min(current.probes):
            return
        self._wait = _UNANSWERED
        if number in current.probes:
            current.passed.add(current.probes[number])
            if len(current.passed) == len(current.probes):
                self._round = None
        elif number >= current.marker and current.overtaken is None:
            current.overtaken = now

    # -- What to do

    def due(self, now: float, round_trip: float | None, loss: float | None) -> list[int]:
        """Sizes to be probed now; empty: none. `loss`: share of small reports that are lost."""
        current = self._round
        if current is not None:
            if current.overtaken is not None and now >= current.overtaken + self._grace(round_trip):
                self._judge(current, loss, now)
            elif current.overtaken is None and now >= self._patience(current, round_trip):
                self._round = None  # nothing at all came: that says nothing about sizes
                self._next, self._wait = now + self._wait, min(2 * self._wait, _UNANSWERED_MAX)
        if self._round is not None or now < self._next:
            return []
        if self.state is State.SETTLED and self._raise_due(now):
            self._search()
        if self.state is State.SEARCH:
            return self._candidates(now)
        return [self.size] if now >= self._check_at() else []

    def deadline(self, round_trip: float | None) -> float | None:
        """When `due` has something to say, unless something happens before."""
        current = self._round
        if current is not None:
            if current.overtaken is not None:
                return current.overtaken + self._grace(round_trip)
            return self._patience(current, round_trip)
        if self.state is State.SEARCH:
            return self._next
        at = self._check_at()
        return None if at == _NO_DEADLINE else max(at, self._next)

    # -- Inside

    def _search(self) -> None:
        self.state = State.SEARCH
        self._fails, self._round, self._next, self._wait = 0, None, _NEVER, _UNANSWERED
        self._lost.clear()

    def _candidates(self, now: float) -> list[int]:
        again = [size for size in self._lost if size > self.size]
        if again:
            return [min(again)]  # those above fail with it
        if not self._fails:
            if self.size < self._most:
                return [self._most]
        elif self._fails - self.size > SIZE_STEP:
            gap = self._fails - self.size
            steps = range(1, SIZE_PARALLEL + 1)
            return sorted({self.size + gap * step // (SIZE_PARALLEL + 1) for step in steps} - {self.size})
        self.state, self._settled_at = State.SETTLED, now
        self._proved, self._bulk_proved, self._check_after = now, self._bulk, SIZE_CHECK_SECONDS
        return []

    def _passes(self, size: int, now: float) -> None:
        if size < self.size:
            return
        many = self._bulk - self._bulk_proved >= SIZE_CHECK_BYTES
        self._check_after = SIZE_CHECK_SECONDS if many else min(2 * self._check_after, SIZE_CHECK_SECONDS_MAX)
        self.size, self._proved, self._bulk_proved = size, now, self._bulk
        self._lost.pop(size, None)
        if size >= self._fails:
            self._fails = 0

    def _judge(self, current: Round, loss: float | None, now: float) -> None:
        """The small report was answered, and some probes were not."""
        self._round = None
        lost = [size for size in current.probes.values() if size not in current.passed and size >= self.size]
        for size in lost:
            self._lost[size] = self._lost.get(size, 0) + 1
        tries = SIZE_CHECK_TRIES if self.state is State.SETTLED else SIZE_TRIES
        fails = [size for size in lost if self._lost[size] >= _tries(tries, loss)]
        if self.state is State.SETTLED and fails:
            self.black_holes += 1
            self.restart()
        if fails:
            self._fails = min(fails)
            self._lost.clear()

    def _raise_due(self, now: float) -> bool:
        """Larger datagrams may pass by now, and somebody would use them."""
        return self.size < self._most and now - self._settled_at >= SIZE_RAISE_SECONDS and now - self._bulk_at < 1.0

    def _check_at(self) -> float:
        """When the size in use is to be proved again."""
        if self._lost.get(self.size):
            return _NEVER
        if self.size == SIZE_BASE or self._bulk == self._bulk_proved:
            return _NO_DEADLINE
        return self._proved + self._check_after

    def _patience(self, current: Round, round_trip: float | None) -> float:
        return current.at + self._wait + 3 * (round_trip or 0.0)

    @staticmethod
    def _grace(round_trip: float | None) -> float:
        return max(_GRACE, (round_trip or 0.0) / 4)


def _tries(least: int, loss: float | None) -> int:
    """How often a size must be lost for chance to be no explanation."""
    share, tries = loss or 0.0, least
    while share**tries > _CHANCE and tries < _TRIES_MAX:
        tries += 1
    return tries
