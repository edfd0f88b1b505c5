"""When silence means something: traffic in the last 10 s, and nothing heard for 300 ms (DESIGN 5).

Each answered or unanswered probe doubles the silence that earns the next one, up to 2 s, until something else than
answers is heard: one-way traffic is not probed three times a second. Times are monotonic seconds.
"""

from __future__ import annotations

from ovng.limits import SILENCE_REFRESH, SILENCE_REFRESH_MAX, TRAFFIC_RECENT

_POLL = 1.0  # how late the beginning of traffic may be noticed
_SAME = 0.05  # an answer and what counts packets see the same datagram at almost the same time


class Silence:
    """Told what passed; says when to ask the Switch for a sign of life."""

    def __init__(self) -> None:
        self._heard = self._answered = self._sent = self._since = float("-inf")
        self._interval = SILENCE_REFRESH

    def heard(self, at: float) -> None:
        """Something came from the Switch."""
        if at <= self._heard:
            return
        self._heard = at
        if abs(at - self._answered) > _SAME:
            self._interval = SILENCE_REFRESH

    def answered(self, at: float) -> None:
        """An answer to a report or request of ours came."""
        self._answered = self._heard = max(self._heard, at)

    def sent(self, at: float) -> None:
        """Traffic was sent."""
        if at <= self._sent:
            return
        if self._sent <= self._heard or at - self._sent > TRAFFIC_RECENT:
            self._since = at
        self._sent = at

    def probed(self, at: float) -> None:
        """A probe was sent because of silence."""
        self._since = max(self._since, at)
        self._interval = min(2 * self._interval, SILENCE_REFRESH_MAX)

    def traffic(self, now: float) -> bool:
        """True if anything but answers passed in the last 10 s."""
        heard = self._heard if abs(self._heard - self._answered) > _SAME else float("-inf")
        return now - max(self._sent, heard) < TRAFFIC_RECENT

    def due(self, now: float) -> bool:
        """True if a probe is due."""
        return self.traffic(now) and now >= self._quiet_since() + self._interval

    def deadline(self, now: float) -> float:
        """When to look again."""
        return max(now, self._quiet_since() + self._interval) if self.traffic(now) else now + _POLL

    def _quiet_since(self) -> float:
        return max(self._heard, self._since)
