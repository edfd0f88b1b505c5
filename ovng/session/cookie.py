"""Cookies: what a responder gives away instead of keeping state (PROTOCOL 3 and 6).

A cookie is an HMAC over who asks and from where, under a secret that is replaced every 60 s; the current and the
previous secret are good, so a cookie lives 60 to 120 s. Whoever shows one has received it at that place.
"""

from __future__ import annotations

from ovng.hashes import compare_digest, hmac_sha256
from ovng.limits import COOKIE_ROTATION, COOKIE_SIZE
from ovng.session.backoff import Random

_SECRET_SIZE = 32


class CookieJar:
    """Makes and checks cookies. `now`: seconds on the boot clock (a secret does not live longer for sleeping)."""

    __slots__ = ("_current", "_previous", "_random", "_since")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._since: float | None = None
        self._current = self._previous = b""

    def secrets(self, now: float) -> tuple[bytes, bytes]:
        """The current secret and the one before it, 32 bytes each, for who makes and checks cookies elsewhere."""
        self._rotate(now)
        return self._current, self._previous

    def make(self, label: bytes, parts: bytes, now: float) -> bytes:
        """16 bytes for `parts` (fixed-length fields, packed). `label` keeps uses apart."""
        self._rotate(now)
        return _cookie(self._current, label, parts)

    def check(self, cookie: bytes, label: bytes, parts: bytes, now: float) -> bool:
        """True if `make` gave this cookie for the same label and parts within the last 60 … 120 s.

        The first half of a cookie will do (PROTOCOL 6: what fits an ACK); less will not.
        """
        self._rotate(now)
        if len(cookie) not in (COOKIE_SIZE // 2, COOKIE_SIZE):
            return False
        wanted = (_cookie(secret, label, parts)[: len(cookie)] for secret in (self._current, self._previous))
        return any(compare_digest(cookie, one) for one in wanted)

    def _rotate(self, now: float) -> None:
        if self._since is not None and now < self._since + COOKIE_ROTATION:
            return
        if self._since is not None and now < self._since + 2 * COOKIE_ROTATION:
            self._previous = self._current
            self._since += COOKIE_ROTATION  # not `now`: a jar that is asked late would let old cookies live longer
        else:
            self._previous = self._random(_SECRET_SIZE)
            self._since = now
        self._current = self._random(_SECRET_SIZE)


def _cookie(secret: bytes, label: bytes, parts: bytes) -> bytes:
    return hmac_sha256(secret, label + parts)[:COOKIE_SIZE]
