"""How long the NATs and firewalls of one network let answers in after the last datagram that went out.

Only a datagram that comes in after a silence tells it (RFC 5780, 4.6): where the Switch sees us proves nothing, as many
NATs give an expired mapping the same port again. Each trial is half as long again as what is known to be good; one that
failed sets the bound between which and the good the next one lies. Times are monotonic seconds.
"""

from __future__ import annotations

from ovng.limits import KEEPALIVE_DEFAULT, KEEPALIVE_LEARNED, KEEPALIVE_MIN

GROWTH = 1.5
WORTH = 1.1
"""A trial that would win less than this is not made."""
SHORTER = 0.6
"""Of a silence that was too long, while none is known to be good."""
PAUSE = 600.0
"""After a trial that failed: each may leave the path deaf, for a third of its length at most."""
SURE = 3_600.0
"""After a trial that showed how much is good: then once more, as a NAT may have changed unseen."""
FORGET = 86_400.0
"""Until a length that failed may be tried again, or a network in which nothing could be learned."""
_NEVER = float("inf")


class BindingLife:
    """Of one network. `first`: what is assumed while nothing is known, seconds."""

    def __init__(self, first: float = KEEPALIVE_DEFAULT) -> None:
        self._first = first
        self.good = 0.0
        """The longest silence after which something came in; 0: none yet."""
        self.bad = _NEVER
        """The shortest after which nothing did."""
        self._not_before = self._forget_at = self._sure_until = -_NEVER

    @property
    def keepalive(self) -> float:
        """The silence that may be risked every time."""
        return self.good or max(KEEPALIVE_MIN, min(self._first, SHORTER * self.bad))

    def doubt(self) -> None:
        """This may be another network that looks the same: what is good is tried once more before it is relied upon."""
        self._sure_until = -_NEVER

    def trial(self, now: float) -> float | None:
        """The silence to try next; None: there is nothing to learn now."""
        if now < self._not_before:
            return None
        if now >= self._forget_at:
            self.bad = _NEVER
        if not self.good:
            return self.keepalive if self.keepalive < self.bad else None
        if now >= self._sure_until:
            return self.good
        wanted = min(GROWTH * self.good, KEEPALIVE_LEARNED)
        if wanted >= self.bad:
            wanted = (self.good + self.bad) / 2
        return wanted if wanted >= WORTH * self.good else None

    def teaches(self, silence: float, now: float) -> bool:
        """True if it is worth a trial whether so long a silence, which has passed anyway, was too long."""
        trial = self.trial(now)
        return trial is not None and min(trial, max(KEEPALIVE_MIN, WORTH * self.good)) <= silence < self.bad

    def held(self, silence: float, now: float) -> None:
        """Something came in after so long a silence."""
        if silence >= KEEPALIVE_MIN:
            self.good = max(self.good, min(silence, KEEPALIVE_LEARNED))
            self._sure_until = now + SURE
        if silence >= self.bad:
            self.bad = _NEVER

    def lost(self, silence: float, now: float) -> None:
        """Nothing came in after it."""
        self.bad = min(self.bad, silence) if now < self._forget_at else silence
        if self.good >= self.bad:
            self.good = 0.0
        self._not_before, self._forget_at = now + PAUSE, now + FORGET

    def give_up(self, now: float) -> None:
        """Trials come to nothing here, long silence or not."""
        self._not_before = now + FORGET
