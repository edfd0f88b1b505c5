"""Which paths a node has, and which one is active: uplinks in, actions out.

Every usable uplink becomes a path with a slot of its own (0 … 3), which it gets again when it comes back. The active
path is left at once when its uplink goes or the Switch does not answer on it, for the best of the others, whatever is
known of that; a better path (ready, not metered, lower priority number) is taken as soon as it is ready, while the old
one still carries what is under way. Sans-IO; times are monotonic seconds.

Before the first attachment only the active path can be tried: each in turn, for as long as joining may take.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from ovng.fields import Fields, Frozen
from ovng.limits import MAX_PATHS
from ovng.roaming.path import Event, Path, State
from ovng.roaming.uplinks import Uplink

_REMEMBERED = 16  # uplinks that went
_RANK = {State.READY: 0, State.PROVING: 1, State.JOINING: 2, State.DEAD: 3}


class Open(Frozen):
    """Make a path of this uplink."""

    slot: int
    uplink: Uplink


class Close(Frozen):
    """The uplink is gone, or nothing is to go by it any more."""

    slot: int


class Changed(Frozen):
    """The path's uplink is not as it was. `moved`: its address or gateway is another, so report at once."""

    slot: int
    uplink: Uplink
    moved: bool


class Activate(Frozen):
    """Data goes by this path from now on. `lost`: the one before is gone, and what was on its way by it."""

    slot: int
    lost: bool
    cause: str


class Wait(Frozen):
    """There is no way out: what applications send waits."""


Action = Open | Close | Changed | Activate | Wait


class Held(Fields):
    """One path: its uplink, and what we know of it."""

    uplink: Uplink
    path: Path


class Roamer:
    """The paths of one node."""

    def __init__(self) -> None:
        self.paths: dict[int, Held] = {}
        self.attached = False
        """Whether reports can be made: told by the owner."""
        self.active: int | None = None
        """None: there is no uplink at all."""
        self._slots: dict[str, int] = {}  # that an uplink had last
        self._gone: OrderedDict[str, Path] = OrderedDict()  # paths of uplinks that are no more
        self._actions: list[Action] = []

    def set_uplinks(self, uplinks: Sequence[Uplink], now: float) -> None:
        """What the machine has now; at most four, others are not used."""
        wanted = {uplink.name: uplink for uplink in uplinks[:MAX_PATHS]}
        gone = [slot for slot, held in self.paths.items() if held.uplink.name not in wanted]
        for slot in gone:
            self._forget(self.paths.pop(slot), now)
        known = {held.uplink.name: slot for slot, held in self.paths.items()}
        for name, uplink in wanted.items():
            if name not in known:
                slot = self._free_slot(name)
                self.paths[slot] = Held(uplink, Path(now, self._gone.pop(name, None)))
                self._actions.append(Open(slot, uplink))
            elif (held := self.paths[known[name]]).uplink != uplink:
                moved = (held.uplink.index, held.uplink.hops) != (uplink.index, uplink.hops)
                if moved:
                    held.path.on(Event.CHANGED, now)
                held.uplink = uplink
                self._actions.append(Changed(known[name], uplink, moved))
        self._choose("uplink gone" if self.active in gone else "uplink", now)
        opened = {action.slot for action in self._actions if isinstance(action, Open)}
        self._actions += [Close(slot) for slot in gone if slot not in opened]

    def on(self, slot: int, event: Event, now: float) -> None:
        """Something happened to a path; for one that is gone, nothing."""
        held = self.paths.get(slot)
        if held is not None and held.path.on(event, now):
            self._choose(event.value, now)

    @property
    def second(self) -> int:
        """The path that takes what is sent twice: the best of the others that is ready and costs nothing; −1: none."""
        ready = (
            slot
            for slot, held in self.paths.items()
            if slot != self.active and held.path.state == State.READY and not held.uplink.metered
        )
        return min(ready, key=self._order, default=-1)

    @property
    def standby(self) -> int:
        """The path that data takes when the kernel refuses to send on the active one: the best other that answers; −1:
        none."""
        answering = State.READY, State.PROVING
        others = (slot for slot, held in self.paths.items() if slot != self.active and held.path.state in answering)
        return min(others, key=self._order, default=-1)

    def handle_timer(self, now: float) -> None:
        """States that end by themselves."""
        ended = [held.path.handle_timer(now) for held in self._timed()]
        if any(ended):
            self._choose("timeout", now)
        if not self.attached and self.active is not None and self.paths[self.active].path.state == State.DEAD:
            turn = sorted(self.paths)
            following = turn[(turn.index(self.active) + 1) % len(turn)]
            self.paths[following].path.restart(now)
            self._activate(following, now, lost=True, cause="no answer")

    def deadline(self) -> float | None:
        """When `handle_timer` has something to do."""
        times = [held.path.deadline() for held in self._timed()]
        return min((time for time in times if time is not None), default=None)

    def actions(self) -> list[Action]:
        """What is to be done, in this order, drained."""
        out, self._actions = self._actions, []
        return out

    # -- Inside

    def _timed(self) -> list[Held]:
        """Whose time runs."""
        return [held for slot, held in self.paths.items() if self.attached or slot == self.active]

    def _forget(self, held: Held, now: float) -> None:
        """Remember but how it went: an uplink that comes and goes is damped."""
        held.path.gone(now)
        self._gone[held.uplink.name] = held.path
        if len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)

    def _free_slot(self, name: str) -> int:
        last = self._slots.get(name)
        if last is None or last in self.paths:
            others = set(self._slots.values())
            free = [slot for slot in range(MAX_PATHS) if slot not in self.paths]
            last = next((slot for slot in free if slot not in others), free[0])
        self._slots = {other: slot for other, slot in self._slots.items() if slot != last} | {name: last}
        return last

    def _choose(self, cause: str, now: float) -> None:
        present = self.paths.get(self.active) if self.active is not None else None
        best = min(self.paths, key=self._order, default=None)
        if best is None:
            if self.active is not None:
                self._actions.append(Wait())
            self.active = None
        elif present is None:
            self._activate(best, now, lost=True, cause=cause)
        elif best != self.active:
            state, better = present.path.state, self.paths[best].path.state
            if state == State.DEAD and better != State.DEAD:
                self._activate(best, now, lost=True, cause=present.path.cause)  # perhaps a while ago
            elif better == State.READY:
                lost = state not in (State.READY, State.PROVING)
                self._activate(best, now, lost=lost, cause=cause if lost else "better path")

    def _order(self, slot: int) -> tuple[int, bool, int, int]:
        held = self.paths[slot]
        return _RANK[held.path.state], held.uplink.metered, held.uplink.priority, slot

    def _activate(self, slot: int, now: float, *, lost: bool, cause: str) -> None:
        if slot != self.active:
            if self.paths[slot].path.state == State.JOINING:
                self.paths[slot].path.restart(now)
            self.active = slot
            self._actions.append(Activate(slot, lost, cause))
