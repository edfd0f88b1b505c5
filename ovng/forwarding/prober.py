"""Is the path in use still alive? Asked while traffic flows and there is another path to go to.

A link may be up and swallow everything. So whenever nothing was heard for one round trip (60 ms at least), a probe is
sent; it counts as lost after one and a half (60 ms at least), and the next one leaves at once; three lost in a row
are the end of the path: within 300 ms where the round trip is 40 ms. Any datagram that comes in by the path is a sign
of life. Times are monotonic seconds.
"""

from __future__ import annotations

from enum import Enum

from ovng.limits import PROBE_LOST, PROBE_MIN, PROBES_LOST_MAX

_NEVER = float("-inf")


class Verdict(Enum):
    """What to do now."""

    WAIT = "wait"
    PROBE = "probe"
    DEAD = "dead"
    """Told once, until something is heard again."""


class Prober:
    """One path. The owner asks `check` when `deadline` says so, and sends a probe when told."""

    def __init__(self) -> None:
        self._heard = _NEVER
        self._asked: float | None = None
        self.lost = 0
        """Probes in a row that were not answered."""

    @property
    def heard_at(self) -> float:
        """When something last came in by this path; −inf: never."""
        return self._heard

    def heard(self, at: float) -> None:
        """Something authentic came in by this path."""
        if at > self._heard:
            self._heard, self._asked, self.lost = at, None, 0

    def rest(self) -> None:
        """There is no traffic, or no other path: nothing is asked."""
        self._asked = None
        if self.lost < PROBES_LOST_MAX:
            self.lost = 0

    def check(self, now: float, round_trip: float | None) -> Verdict:
        """`round_trip` in seconds, None = not known yet."""
        if self.lost >= PROBES_LOST_MAX or now < self._due(round_trip):
            return Verdict.WAIT
        if self._asked is not None:
            self.lost += 1
            self._asked = None
            if self.lost == PROBES_LOST_MAX:
                return Verdict.DEAD
        self._asked = now
        return Verdict.PROBE

    def deadline(self, round_trip: float | None) -> float | None:
        """When `check` has something to say."""
        return None if self.lost >= PROBES_LOST_MAX else self._due(round_trip)

    def _due(self, round_trip: float | None) -> float:
        if self._asked is not None:
            return self._asked + max(PROBE_LOST * (round_trip or 0.0), PROBE_MIN)
        return self._heard + max(round_trip or 0.0, PROBE_MIN)
