"""Where we were, and how far the Switch is: for people, and for timers."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

from ovng.ids import Locator

_LAST = 8
_TRIES = 64
_LATE = 1.0  # seconds


class Stay(NamedTuple):
    """A locator as the Switch saw it, since when (wall seconds), and what moving there took (ms; 0 = no move)."""

    observed: Locator
    since: float
    gap_ms: float


class LocatorHistory:
    """The last 8 locators, the latest last."""

    def __init__(self) -> None:
        self._stays: deque[Stay] = deque(maxlen=_LAST)

    def add(self, observed: Locator, wall: float, gap: float = 0.0) -> None:
        """We are at `observed` now; `gap` in seconds. The same place again is no new stay."""
        if not self._stays or self._stays[-1].observed != observed:
            self._stays.append(Stay(observed, wall, round(gap * 1000, 1)))

    def stays(self) -> tuple[Stay, ...]:
        return tuple(self._stays)


class RttEstimate:
    """Round-trip time to the Switch, smoothed (RFC 6298, 2). A report's echo tells its try, so every sample counts."""

    def __init__(self) -> None:
        self.srtt: float | None = None
        self.rttvar = 0.0
        self.latest: float | None = None

    def add(self, sample: float) -> None:
        """`sample` in seconds."""
        self.latest = sample
        if self.srtt is None:
            self.srtt, self.rttvar = sample, sample / 2
        else:
            self.rttvar += (abs(self.srtt - sample) - self.rttvar) / 4
            self.srtt += (sample - self.srtt) / 8


class LossEstimate:
    """How many of the last 64 reports on a path were not answered within a second. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._tries: OrderedDict[int, float | None] = OrderedDict()  # number → when it left; None: answered

    def sent(self, number: int, at: float) -> None:
        """A report has left."""
        self._tries[number] = at
        if len(self._tries) > _TRIES:
            self._tries.popitem(last=False)

    def answered(self, number: int) -> None:
        """Late is better than never."""
        if number in self._tries:
            self._tries[number] = None

    def share(self, now: float) -> float | None:
        """0 … 1; None: nothing was asked yet."""
        lost = [at is not None for at in self._tries.values() if at is None or at < now - _LATE]
        return sum(lost) / len(lost) if lost else None
