"""What strangers may cost: how often TLS objects are made for them, in total, per site and per ID (PROTOCOL 3).

Everything here is bounded: sources are remembered up to a number, the one unseen for longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from ovng.ids import NodeID
from ovng.limits import (
    ATTEMPTS_PER_SITE,
    ATTEMPTS_PER_SOURCE,
    ATTEMPTS_TOTAL,
    NO_SESSION_INTERVAL,
    NO_SESSION_PER_SECOND,
)

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


class _Buckets:
    """A token bucket per key."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, key: Hashable, now: float) -> bool:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst, now)
            if len(self._buckets) > SOURCES_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket.take(now)


class AttemptAdmission:
    """May this source begin a handshake now? Asked after its cookie was good. `now`: monotonic seconds.

    At the Switch anybody may name any ID, so what counts there is the site that the cookie was sent to: strangers
    neither use up a node's turn in its name, nor everybody's under many.
    """

    def __init__(self) -> None:
        self._sources = _Buckets(ATTEMPTS_PER_SOURCE, SOURCE_BURST)
        self._sites = _Buckets(ATTEMPTS_PER_SITE, ATTEMPTS_PER_SITE)
        self._total = _Buckets(ATTEMPTS_TOTAL, ATTEMPTS_TOTAL)

    def admit(self, source: NodeID, site: bytes, now: float) -> bool:
        """`site`: of the locator at the Switch (`Locator.site`), b"" at a node."""
        return (
            self._sources.take((source, site), now)
            and (not site or self._sites.take(site, now))
            and self._total.take(None, now)
        )


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
