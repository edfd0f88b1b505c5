"""Writes the snapshot {ID, locator} now and then, a piece at a time, so that a million nodes stall nothing.

Collecting takes one piece per turn of the loop; writing and fsync happen in a thread of their own. At the end of the
service what is there is written at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ovng.clock import Now
from ovng.io.background import Background
from ovng.limits import SNAPSHOT_INTERVAL
from ovng.switch.state import SNAPSHOT, SwitchState

_PAUSE = 0.01  # seconds between pieces: a million nodes take three seconds


class SnapshotWriter:
    """`collect()` gives the snapshot in pieces; the table may change between them."""

    def __init__(self, state: SwitchState, collect: Callable[[], Iterator[bytes]], now: Now) -> None:
        self._state, self._collect = state, collect
        self._pieces: Iterator[bytes] | None = None
        self._held: list[bytes] = []
        self._due = now.mono + SNAPSHOT_INTERVAL
        self._background = Background("snapshot")

    def deadline(self) -> float:
        """When `handle_timer` has something to do, in monotonic seconds."""
        return self._due

    def handle_timer(self, now: Now) -> None:
        """Take a piece; write when there are no more."""
        if now.mono < self._due:
            return
        if self._pieces is None:
            self._pieces, self._held = self._collect(), []
        piece = next(self._pieces, None)
        if piece is not None:
            self._held.append(piece)
            self._due = now.mono + _PAUSE
            return
        self._pieces, self._due = None, now.mono + SNAPSHOT_INTERVAL
        data, self._held = b"".join(self._held), []
        self._background.run(lambda: self._state.write(SNAPSHOT, data))  # a disk that slow gets the next one

    def close(self) -> None:
        """Write what there is now."""
        self._background.wait()
        self._state.write(SNAPSHOT, b"".join(self._collect()))
