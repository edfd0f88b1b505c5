"""Moves not yet confirmed: the only time at which the Switch sends somewhere on a node's word alone (PROTOCOL 6).

A move is *provisional* from the MOVE that starts it to the report that proves its locator (it brings back what the
Switch sent there), or to the end of its three seconds, when the old locator is restored. Meanwhile the new locator
stands in the path's own slot if that is empty, else in one that no path uses; its bytes are counted, and the old
locator takes the excess.

    MOVE from elsewhere ──► provisional ──┬── proof from there ──► confirmed: the path's own slot
                                │         └── 3 s ──► the slot is free again, the old locator active
                                └── another MOVE from elsewhere, within limits ──► provisional there

Limits count moves that never were confirmed: one per second, four per ten. Honest roaming costs nothing. Memory is
bounded: at most MOVES_MAX moves are under way; beyond, a node must prove its locator first.
"""

from __future__ import annotations

from collections import deque

from ovng.fields import Fields
from ovng.forwarding.record import Record
from ovng.forwarding.store import NodeTable, Slots
from ovng.ids import Locator
from ovng.limits import (
    MAX_PATHS,
    MOVES_PER_SECOND,
    MOVES_PER_TEN_SECONDS,
    PROVISIONAL_BYTES_PER_SECOND,
    PROVISIONAL_FACTOR,
    PROVISIONAL_SECONDS,
)

MOVES_MAX = 131_072
_TURN = 1.0  # a move under way is looked at every second: twice for more credit, then for its end
_TURNS = round(PROVISIONAL_SECONDS / _TURN)
_MEMORY = 10.0

_BORROWED = tuple(reversed(range(MAX_PATHS)))  # high slots first: the low ones are nearer to the processor

NOWHERE: Slots = (None,) * MAX_PATHS


class Move(Fields):
    """A provisional locator (18 bytes) of a path, and the table's slot it borrows. `began` in monotonic seconds."""

    locator: bytes
    path: int
    slot: int
    began: float
    turns: int = 0
    doubtful: bool = False
    """Reported again: the answer did not come, and what else was sent there may not have either."""


class Moves:
    """All moves under way. Times are monotonic seconds."""

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self._under_way: dict[int, Move] = {}
        self._turns: deque[tuple[float, int, Move]] = deque()  # in order: every entry is one turn from its making
        self._unconfirmed: dict[int, list[float]] = {}
        self._forget: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._under_way)

    def of(self, node: int) -> Move | None:
        """The move of this node that is under way."""
        return self._under_way.get(node)

    def doubt(self, node: int) -> None:
        """The node reports the move that is under way once more."""
        self._under_way[node].doubtful = True

    def doubtful(self, node: int) -> bool:
        """Whether what was sent on this node's word may be lost."""
        move = self._under_way.get(node)
        return move is not None and move.doubtful

    @property
    def full(self) -> bool:
        """True if no further node can have a provisional locator."""
        return len(self._turns) >= MOVES_MAX or len(self._forget) >= MOVES_MAX

    def limited(self, node: int, now: float) -> bool:
        """True if this node has made too many moves that it never confirmed."""
        times = [time for time in self._unconfirmed.get(node, ()) if time > now - _MEMORY]
        recent = sum(time > now - 1.0 for time in times)
        return recent >= MOVES_PER_SECOND or len(times) >= MOVES_PER_TEN_SECONDS

    def begin(self, node: int, locator: bytes, path: int, length: int, now: float) -> None:
        """Send to `locator` from now on, on the word of a report of `length` bytes that came from there."""
        slots, active, before, _ = _state(self._table, node)
        old = self._under_way.get(node)
        if old is not None:
            slots, active = _without(slots, old.slot), before if active == old.slot else active
        slot = path if slots[path] is None else next((i for i in _BORROWED if slots[i] is None), None)
        if slot is None:  # all four in use: one other path must do without, and come back by its next refresh
            slot = next(i for i in _BORROWED if i not in (path, active))
        fallback = path if slots[path] is not None else active
        self._table.set_locators(node, _with(slots, slot, locator), slot, fallback, 1 << slot)
        incoming, _ = self._table.credit(node) or (0, 0)
        self._table.set_credit(node, incoming, PROVISIONAL_FACTOR * length + PROVISIONAL_BYTES_PER_SECOND)
        move = Move(locator, path, slot, now)
        self._under_way[node] = move
        self._turns.append((now + _TURN, node, move))
        self._unconfirmed.setdefault(node, []).append(now)
        self._forget.append((now + _MEMORY, node))

    def confirm(self, node: int, locator: bytes, path: int, *, activate: bool) -> None:
        """`locator` is proved: it is the path's own from now on. Ends the path's move, with `activate` any."""
        slots, active, fallback, provisional = _state(self._table, node)
        move = self._under_way.get(node)
        if move is not None and not activate and path not in (move.path, move.slot):
            self._table.set_locators(node, _with(slots, path, locator), active, fallback, provisional)
            return
        if move is not None:
            del self._under_way[node]
            slots = _without(slots, move.slot)
            active = fallback if active == move.slot else active
            if move.locator == locator and (times := self._unconfirmed.get(node)) and move.began in times:
                times.remove(move.began)
        slots = _with(slots, path, locator)
        if active == -1 or slots[active] is None or activate:
            active = path
        self._table.set_locators(node, slots, active, -1, 0)

    def cancel(self, node: int) -> None:
        """Forget the move without touching the table."""
        self._under_way.pop(node, None)

    def restore(self, node: int, record: Record) -> None:
        """End an unproved move: back to the locator before it."""
        move = self._under_way.pop(node, None)
        state = self._table.locators(node)
        if move is None or state is None:
            return
        slots, active, fallback, _ = state
        slots = _without(slots, move.slot)
        if active == move.slot:
            active = fallback if fallback != -1 and slots[fallback] is not None else best_path(slots, record)
        self._table.set_locators(node, slots, active, -1, 0)

    def handle_timer(self, now: float) -> list[int]:
        """More credit for those under way; the nodes whose three seconds are over (call `restore`)."""
        over: list[int] = []
        while self._turns and self._turns[0][0] <= now:
            _, node, move = self._turns.popleft()
            if self._under_way.get(node) is not move or self._table.locators(node) is None:
                continue
            move.turns += 1
            if move.turns >= _TURNS:
                over.append(node)
                continue
            self._table.add_outgoing(node, PROVISIONAL_BYTES_PER_SECOND)
            self._turns.append((now + _TURN, node, move))
        while self._forget and self._forget[0][0] <= now:
            _, node = self._forget.popleft()
            times = [time for time in self._unconfirmed.get(node, ()) if time > now - _MEMORY]
            if times:
                self._unconfirmed[node] = times
            else:
                self._unconfirmed.pop(node, None)
        return over

    def deadline(self) -> float | None:
        """When `handle_timer` has something to do."""
        return self._turns[0][0] if self._turns else None


def best_path(slots: Slots, record: Record) -> int:
    """The path to send to when the active one is gone: lowest priority number, then lowest path; −1 = none."""
    live = [path for path in range(MAX_PATHS) if slots[path] is not None and record.lease[path]]
    return min(live, key=lambda path: (record.priority[path], path), default=-1)


def confirmed_locator(table: NodeTable, node: int) -> Locator | None:
    """Where a node is sure to be: its active locator, or the one before it while that is provisional."""
    state = table.locators(node)
    if state is None:
        return None
    slots, active, fallback, provisional = state
    if active != -1 and provisional >> active & 1:
        active = fallback
    locator = slots[active] if active != -1 else None
    return None if locator is None else Locator.unpack(locator)


def standby_locators(table: NodeTable, node: int) -> tuple[Locator, ...]:
    """Where else a node is: confirmed, and not what `confirmed_locator` says."""
    state = table.locators(node)
    if state is None:
        return ()
    slots, active, fallback, provisional = state
    used = fallback if active != -1 and provisional >> active & 1 else active
    others = (at for slot, at in enumerate(slots) if at is not None and slot != used and not provisional >> slot & 1)
    return tuple(Locator.unpack(at) for at in others)


def _state(table: NodeTable, node: int) -> tuple[Slots, int, int, int]:
    state = table.locators(node)
    assert state is not None, "reports are handled for nodes in the table"
    return state


def _with(slots: Slots, slot: int, locator: bytes) -> Slots:
    return (*slots[:slot], locator, *slots[slot + 1 :])


def _without(slots: Slots, slot: int) -> Slots:
    return (*slots[:slot], None, *slots[slot + 1 :])
