"""Under which key IDs a peer's packets are opened, and until when.

A key ID is one byte, chosen by the receiver, unused for that peer at that moment. Allocation goes round from a random
start, so that a packet of a generation long gone does not meet a new key by habit.
"""

from __future__ import annotations

from ovng.limits import RECEIVE_GENERATIONS
from ovng.session.backoff import Random


class ReceiveKeys:
    """The key IDs of one peer. Times are seconds on the boot clock."""

    __slots__ = ("_installed", "_next", "_reserved", "_retiring")

    def __init__(self, random: Random) -> None:
        self._next = random(1)[0]
        self._reserved: set[int] = set()  # named in a READY that may come to nothing
        self._installed: set[int] = set()
        self._retiring: dict[int, float] = {}

    def reserve(self) -> int:
        """An unused key ID. There always is one: a few are in use at a time."""
        while self._next in self._reserved or self._next in self._installed:
            self._next = (self._next + 1) % 256
        key_id = self._next
        self._next = (key_id + 1) % 256
        self._reserved.add(key_id)
        return key_id

    def release(self, key_id: int) -> None:
        """A reserved one was not needed. Installed ones stay."""
        self._reserved.discard(key_id)

    def install(self, key_id: int) -> list[int]:
        """It has a key now. Returns those that must go first, for the data path has room for so many only."""
        crowded = sorted(self._retiring, key=self._retiring.__getitem__)
        crowded = crowded[: max(0, len(self._installed) + 1 - RECEIVE_GENERATIONS)]
        for old in crowded:
            self.remove(old)
        self._reserved.discard(key_id)
        self._installed.add(key_id)
        return crowded

    def retire(self, key_id: int, when: float) -> None:
        """It goes on receiving until `when`."""
        if key_id in self._installed:
            self._retiring[key_id] = when

    def hasten(self, when: float) -> None:
        """Those that retire do so at `when` at the latest."""
        self._retiring = {key_id: min(planned, when) for key_id, planned in self._retiring.items()}

    def remove(self, key_id: int) -> bool:
        """Now; False if it was not installed."""
        self._retiring.pop(key_id, None)
        if key_id not in self._installed:
            return False
        self._installed.remove(key_id)
        return True

    def due(self, now: float) -> list[int]:
        """Remove and return those whose time has come."""
        done = [key_id for key_id, when in self._retiring.items() if when <= now]
        for key_id in done:
            self.remove(key_id)
        return done

    def next(self) -> float | None:
        """When the next one retires."""
        return min(self._retiring.values(), default=None)

    @property
    def installed(self) -> list[int]:
        """All that have a key."""
        return sorted(self._installed)
