"""The node's copy of a newer revocation list, put together from pieces that were pushed or asked for (PROTOCOL 6).

Pieces are authenticated by the Switch, the list by its signature: whoever holds the whole offers it to `Trust`. A
list that was refused there is not fetched again for a while.
"""

from __future__ import annotations

from collections.abc import Callable

from ovng.clock import Now
from ovng.forwarding.store import Random
from ovng.limits import CRL_PIECE, SILENCE_REFRESH, SILENCE_REFRESH_MAX
from ovng.session.backoff import fraction, jittered
from ovng.wire.report import CrlPiece

_JITTER = 0.2
_PATIENCE = 1.0  # a number that is told without a push: others ask too
_AGAIN = 300.0  # after a list that was not believed
_NEVER = float("inf")


class CrlFetch:
    """`ask(offset, now)` sends GET_CRL. Times in monotonic seconds."""

    def __init__(self, random: Random, ask: Callable[[int, Now], None]) -> None:
        self._random, self._ask = random, ask
        self.held = 0
        """Number of the list in force here; 0 = none."""
        self._number = 0
        self._total = 0
        self._pieces: dict[int, bytes] = {}
        self._due = _NEVER
        self._wait = SILENCE_REFRESH
        self._not_before = float("-inf")

    def told(self, number: int, now: Now) -> bool:
        """The Switch holds list `number`. True if that is news."""
        busy = self._due != _NEVER or now.mono < self._not_before
        if number <= max(self.held, self._number if busy else 0):
            return False
        self._begin(number)
        self._due = now.mono + _PATIENCE * fraction(self._random)
        return True

    def receive(self, piece: CrlPiece, now: Now) -> bytes | None:
        """An authenticated piece; the whole list when this was the last one missing."""
        refused = piece.number == self._number and now.mono < self._not_before
        if piece.number <= self.held or piece.number < self._number or refused:
            return None
        if piece.number != self._number or piece.total != self._total:
            self._begin(piece.number)
            self._total = piece.total
        if piece.offset % CRL_PIECE or len(piece.piece) != min(CRL_PIECE, self._total - piece.offset):
            return None
        self._pieces[piece.offset] = piece.piece
        if len(self._pieces) * CRL_PIECE < self._total:
            self._due = now.mono + (SILENCE_REFRESH if piece.common.number == 0 else 0.0)
            self._wait = SILENCE_REFRESH
            return None
        der = b"".join(self._pieces[offset] for offset in range(0, self._total, CRL_PIECE))
        self._due, self._pieces, self._not_before = _NEVER, {}, now.mono + _AGAIN
        return der

    def hold(self, number: int) -> None:
        """List `number` is in force here (fetched, or passed on by a peer)."""
        self.held = max(self.held, number)
        if self._number <= self.held:
            self._due, self._pieces, self._not_before = _NEVER, {}, float("-inf")

    def deadline(self) -> float | None:
        return self._due if self._due != _NEVER else None

    def handle_timer(self, now: Now) -> None:
        """Ask for the first piece that is missing."""
        if now.mono < self._due:
            return
        missing = next((i for i in range(0, max(1, self._total), CRL_PIECE) if i not in self._pieces), 0)
        self._due = now.mono + jittered(self._wait, _JITTER, self._random)
        self._wait = min(2 * self._wait, SILENCE_REFRESH_MAX)
        self._ask(missing, now)

    def _begin(self, number: int) -> None:
        self._number, self._total, self._pieces, self._wait = number, 0, {}, SILENCE_REFRESH
        self._not_before = float("-inf")
