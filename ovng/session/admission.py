"""What strangers may cost: how often TLS objects are made for them, in total and per ID (PROTOCOL 3).

Everything here is bounded: sources are remembered up to a number, the one unseen for longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict

from ovng.ids import NodeID
from ovng.limits import ATTEMPTS_PER_SOURCE, ATTEMPTS_TOTAL, NO_SESSION_INTERVAL, NO_SESSION_PER_SECOND

SOURCES_MAX = 4_096
SOURCE_BURST = 5


class TokenBucket:
    """`rate` per second on average, `burst` at once."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, now

    def take(self, now: float) -> bool:
        """Use one, if there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class AttemptAdmission:
    """May this source begin a handshake now? Asked after its cookie was good. `now`: monotonic seconds."""

    def __init__(self) -> None:
        self._total: TokenBucket | None = None
        self._sources: OrderedDict[NodeID, TokenBucket] = OrderedDict()

    def admit(self, source: NodeID, now: float) -> bool:
        bucket = self._sources.get(source)
        if bucket is None:
            bucket = self._sources[source] = TokenBucket(ATTEMPTS_PER_SOURCE, SOURCE_BURST, now)
            if len(self._sources) > SOURCES_MAX:
                self._sources.popitem(last=False)
        self._sources.move_to_end(source)
        if self._total is None:
            self._total = TokenBucket(ATTEMPTS_TOTAL, ATTEMPTS_TOTAL, now)
        return bucket.take(now) and self._total.take(now)


class UnknownDataAdmission:
    """May data from an ID without session make us start one? Once per 5 s and ID, 20 per second in all."""

    def __init__(self) -> None:
        self._total: TokenBucket | None = None
        self._last: OrderedDict[NodeID, float] = OrderedDict()

    def admit(self, source: NodeID, now: float) -> bool:
        last = self._last.get(source)
        if last is not None and now < last + NO_SESSION_INTERVAL:
            return False
        if self._total is None:
            self._total = TokenBucket(NO_SESSION_PER_SECOND, NO_SESSION_PER_SECOND, now)
        if not self._total.take(now):
            return False
        self._last[source] = now
        self._last.move_to_end(source)
        if len(self._last) > SOURCES_MAX:
            self._last.popitem(last=False)
        return True
