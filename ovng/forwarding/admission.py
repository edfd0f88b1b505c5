"""What strangers and noisy nodes may cost the Switch: how often it answers. Memory is bounded whatever comes.

A hint (CHALLENGE, MISMATCH) answers bytes that anybody can send in anybody's name, so it is counted three times: per
source and ID, per prefix of the source, and in all (PROTOCOL 6.1). Times are monotonic seconds.
"""

from __future__ import annotations

from ovng.ids import Locator, site_of

_SECOND = 1.0
_KEYS_MAX = 65_536


class RateLimit:
    """At most `limit` events per key in each second. Beyond `capacity` keys a second admits no further key."""

    def __init__(self, limit: int, capacity: int = _KEYS_MAX) -> None:
        self._limit, self._capacity = limit, capacity
        self._since = float("-inf")
        self._counts: dict[bytes | int, int] = {}

    def allow(self, key: bytes | int, now: float) -> bool:
        """True, and counted, if `key` may."""
        if not self._since <= now < self._since + _SECOND:
            self._since = now
            self._counts.clear()
        count = self._counts.get(key, 0)
        if count >= self._limit or (not count and len(self._counts) >= self._capacity):
            return False
        self._counts[key] = count + 1
        return True


class HintLimit:
    """One hint per `interval` seconds, source and ID; `per_prefix` per second and prefix; and what `total` allows."""

    def __init__(self, interval: float, per_prefix: int, total: RateLimit) -> None:
        self._interval = interval
        self._prefixes = RateLimit(per_prefix)
        self._total = total
        self._since = float("-inf")
        self._recent: dict[bytes, float] = {}  # no more entries than `total` lets through in an interval
        self._before: dict[bytes, float] = {}

    def allow(self, source: Locator, node: int, now: float) -> bool:
        """True, and counted, if a hint may go to `source` about `node`."""
        return self.allow_packed(source.packed(), node, now)

    def allow_packed(self, source: bytes, node: int, now: float) -> bool:
        """`allow` for the 18 bytes of a locator."""
        self._turn(now)
        key = source + node.to_bytes(8, "big")
        last = self._recent.get(key, self._before.get(key))
        if last is not None and now < last + self._interval:
            return False
        if not self._prefixes.allow(site_of(source), now) or not self._total.allow(0, now):
            return False
        self._recent[key] = now
        return True

    def _turn(self, now: float) -> None:
        if self._since <= now < self._since + self._interval:
            return
        self._before = self._recent if now < self._since + 2 * self._interval else {}
        self._recent = {}
        self._since = now
