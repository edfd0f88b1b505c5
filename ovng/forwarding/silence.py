"""When silence means something: traffic in the last 10 s, and nothing heard for 300 ms (PROTOCOL 6).

Where the round trip is longer, one and a half of it count instead. Each probe doubles the silence that earns the next
one, up to 2 s, until something else than answers to our own reports is heard: one-way traffic is not probed three
times a second. Times are monotonic seconds.
"""

from __future__ import annotations

from ovng.limits import SILENCE_REFRESH, SILENCE_REFRESH_MAX, TRAFFIC_RECENT

_SAME = 0.05  # an answer and what counts packets see the same datagram at almost the same time
_NEVER = float("-inf")


class Silence:
    """Told what passed; says when to ask the Switch for a sign of life."""

    def __init__(self) -> None:
        self._heard = self._sent = self._since = self._probed = _NEVER
        self._other = self._other_before = _NEVER  # heard, and no answer to a report
        self._interval = SILENCE_REFRESH

    def heard(self, at: float) -> None:
        """Something came from the Switch."""
        if at > self._heard:
            self._heard = at
            self._other_before, self._other = self._other, at

    def answered(self, at: float) -> None:
        """An answer to a report or request of ours came."""
        self._heard = max(self._heard, at)
        if abs(at - self._other) <= _SAME:
            self._other = self._other_before

    def sent(self, at: float) -> None:
        """Traffic was sent."""
        if at <= self._sent:
            return
        if self._sent <= self._heard or at - self._sent > TRAFFIC_RECENT:
            self._since = at
        self._sent = at

    def probed(self, at: float) -> None:
        """A probe was sent because of silence."""
        self._interval = min(2 * self._patience(0.0), SILENCE_REFRESH_MAX)
        self._probed = at

    def traffic(self, now: float) -> bool:
        """True if anything but answers passed in the last 10 s."""
        return now - max(self._sent, self._other) < TRAFFIC_RECENT

    def due(self, now: float, round_trip: float | None) -> bool:
        """True if a probe is due."""
        return self.traffic(now) and now >= self._deadline(round_trip)

    def deadline(self, now: float, round_trip: float | None) -> float | None:
        """When to look again; without traffic not until there is some."""
        return max(now, self._deadline(round_trip)) if self.traffic(now) else None

    def _deadline(self, round_trip: float | None) -> float:
        return max(self._heard, self._since, self._probed) + self._patience(1.5 * (round_trip or 0.0))

    def _patience(self, floor: float) -> float:
        return max(floor, SILENCE_REFRESH if self._other > self._probed else self._interval)
