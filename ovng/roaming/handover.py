"""What moves cost: a record of the last handovers, made of what a node can know of them.

    data goes by a path ──► it is lost, changed, or there is a better one ──► moved to another ──► the Switch answers
                             since                                             out                  back

A handover lasts from `since`, the last instant at which the old path is known to have worked, to a settle time after
the Switch's answer to the report that tells of the new one.

* `gap_out_ms`, since → out: nothing that this node sent in between arrived, but what was held or could not be sent
  leaves later. What left by a path that was dead already is lost, and only the far end can know.
* `gap_back_ms`, since → back: from then on the Switch sends by the new path; what it had sent to the old one in the
  last 250 ms follows. What came after that waits for nobody: it is lost.

Both are 0 where the node moves on purpose: the old path brings what is under way until the Switch has changed over.
`since` is when the machine told that the uplink is gone or another; for a path that went silent it is when something
authentic last came by it, so that the gaps are upper bounds.

Sans-IO. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ovng.clock import Now
from ovng.fields import Fields, Frozen

REMEMBERED = 32
SETTLE_SECONDS = 1.0
"""The tail is 250 ms long, and comes after one more round trip where the new place must be proved."""

Generation = tuple[int, int]
"""Peer, key ID."""


class Counted(Frozen):
    """What the data path has counted since its start, at one instant."""

    held: int = 0
    """Packets that waited because there was no path (a segmented send of the kernel counts as one)."""
    sent_later: int = 0
    """Datagrams that left by another path than the one that could not send them."""
    copies: int = 0
    """Arrivals dropped because the same datagram had come before."""
    arrived: Mapping[Generation, tuple[int, int]] = MappingProxyType({})
    """Of each receiving generation: the newest packet number, and how many packets came."""


class Place(Frozen):
    """Where data goes: path (0 … 3) and interface ("": any)."""

    path: int
    uplink: str


class Handover(Frozen):
    """One move of all data, and what it cost. None: it cannot be known."""

    number: int
    """1, 2, …"""
    at: float
    """When it was noticed, wall seconds."""
    before: Place
    after: Place
    cause: str
    gap_out_ms: float
    gap_back_ms: float
    held: int
    sent_later: int
    replayed: int | None
    """Copies of what had arrived: the Switch sent its tail again. What had been lost and comes again looks like any
    other packet, and counts as arrived. None where every packet is sent twice anyway."""
    lost: int | None
    """Packets of all peers that are missing below the newest that came. None: a generation ended meanwhile."""


class _Underway(Fields):
    at: float  # wall
    before: Place
    cause: str
    since: float | None
    counted: Counted
    out: float | None = None
    back: float | None = None
    ends: float | None = None


class Handovers:
    """The last `REMEMBERED` handovers of one node, and the one under way.

    `count` reads the data path. `copies_tell` is False where others' packets come twice in ordinary times.
    """

    def __init__(self, count: Callable[[], Counted], *, copies_tell: bool = True) -> None:
        self._count, self._copies_tell = count, copies_tell
        self.last: deque[Handover] = deque(maxlen=REMEMBERED)
        self._here: Place | None = None
        self._attached = False
        self._underway: _Underway | None = None
        self._finished: list[Handover] = []
        self._number = 0

    # -- What happened

    def attached(self) -> None:
        """From now on there is something to hand over: trying one path after the other at the start is no handover."""
        self._attached = True

    def left(self, cause: str, now: Now) -> None:
        """There is no path any more."""
        self._begin(cause, now.mono, now)

    def moved(self, path: int, uplink: str, cause: str, since: float | None, now: Now) -> None:
        """Data goes by this path from now on, or by it in another way.

        `since`: the old one worked until then; None: it still does.
        """
        place = Place(path, uplink)
        self._begin(cause, None if since is None else min(since, now.mono), now)
        self._here = place
        if self._underway is not None:
            self._underway.out = now.mono

    def answered(self, now: Now) -> None:
        """The Switch knows that data goes by this path."""
        move = self._underway
        if move is not None and move.out is not None and move.back is None:
            move.back, move.ends = now.mono, now.mono + SETTLE_SECONDS

    def handle_timer(self, now: Now) -> None:
        """Close what has settled."""
        if self._underway is not None and self._underway.ends is not None and now.mono >= self._underway.ends:
            self._finish(self._underway)

    def deadline(self) -> float | None:
        """When `handle_timer` has something to do."""
        return None if self._underway is None else self._underway.ends

    def finished(self) -> list[Handover]:
        """Those that are over, drained."""
        out, self._finished = self._finished, []
        return out

    # -- Inside

    def _begin(self, cause: str, since: float | None, now: Now) -> None:
        """One that was not answered yet goes on: it is one gap, however many paths are tried."""
        move = self._underway
        if move is not None and move.back is not None:
            self._finish(move)
        if self._underway is None and self._here is not None and self._attached:
            self._underway = _Underway(now.wall, self._here, cause, since, self._count())
        elif self._underway is not None and self._underway.since is None:
            self._underway.since = since

    def _finish(self, move: _Underway) -> None:
        assert self._here is not None and move.out is not None and move.back is not None
        counted = self._count()
        self._number += 1
        done = Handover(
            number=self._number,
            at=move.at,
            before=move.before,
            after=self._here,
            cause=move.cause,
            gap_out_ms=_gap(move.since, move.out),
            gap_back_ms=_gap(move.since, move.back),
            held=counted.held - move.counted.held,
            sent_later=counted.sent_later - move.counted.sent_later,
            replayed=counted.copies - move.counted.copies if self._copies_tell else None,
            lost=_missing(move.counted.arrived, counted.arrived),
        )
        self._underway = None
        self.last.append(done)
        self._finished.append(done)


def _missing(before: Mapping[Generation, tuple[int, int]], after: Mapping[Generation, tuple[int, int]]) -> int | None:
    """Numbers passed over in between. A packet that was late at the first look makes up for one that was lost."""
    if not before.keys() <= after.keys():
        return None
    lost = 0
    for generation, (newest, came) in after.items():
        first_newest, first_came = before.get(generation, (0, 0))
        lost += max(0, (newest - first_newest) - (came - first_came))
    return lost


def _gap(since: float | None, until: float) -> float:
    return 0.0 if since is None else round(max(0.0, until - since) * 1000, 1)
