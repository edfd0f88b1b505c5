"""The state machine of one path: a table of (state, event) → state, and how long each state lasts.

`TABLE` is all there is to know; the picture in `docs/roaming.md` is made from it, and a test walks it: every state can
be reached, and none is a dead end. Times are monotonic seconds.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What we know of a path."""

    JOINING = "joining"
    """Its socket is open and its first report under way; used when nothing better is there."""
    READY = "ready"
    """The Switch answers on it."""
    DEAD = "dead"
    """The link is up, and nothing comes back. Reports go on, ever more slowly."""
    PROVING = "proving"
    """Answers again after it was dead: used only when nothing is ready, until it has proven itself."""


class Event(Enum):
    """What can happen to a path."""

    ANSWERED = "answered"
    """The Switch has answered on it, under the keys."""
    SILENT = "silent"
    """Probes, or the tries of a report, were lost."""
    CHANGED = "changed"
    """Its address, gateway or carrier is another: what was known of it says nothing about now."""
    TIMEOUT = "timeout"
    """The state has lasted as long as it may."""


TABLE: dict[tuple[State, Event], State] = {
    (State.JOINING, Event.ANSWERED): State.READY,
    (State.JOINING, Event.SILENT): State.DEAD,
    (State.JOINING, Event.CHANGED): State.JOINING,
    (State.JOINING, Event.TIMEOUT): State.DEAD,
    (State.READY, Event.ANSWERED): State.READY,
    (State.READY, Event.SILENT): State.DEAD,
    (State.READY, Event.CHANGED): State.JOINING,
    (State.DEAD, Event.ANSWERED): State.PROVING,
    (State.DEAD, Event.SILENT): State.DEAD,
    (State.DEAD, Event.CHANGED): State.JOINING,
    (State.PROVING, Event.ANSWERED): State.PROVING,
    (State.PROVING, Event.SILENT): State.DEAD,
    (State.PROVING, Event.CHANGED): State.JOINING,
    (State.PROVING, Event.TIMEOUT): State.READY,
}
"""Every pair that can occur. A path is gone, from any state, when its uplink is."""

JOINING_SECONDS = 2.0
"""A first answer takes a round trip; a look-up or a handshake may come first."""
PROVING_SECONDS, PROVING_SECONDS_MAX = 1.0, 60.0
"""Doubles with each death within `FLAP_SECONDS` of the last: a link that flaps is left alone for longer."""
FLAP_SECONDS = 60.0
FLAPS = 2
"""Deaths after which an uplink that comes again is no news."""


class Path:
    """One path's state. `since` and `died` in monotonic seconds."""

    def __init__(self, now: float, before: Path | None = None) -> None:
        """`before`: what the uplink's path was when the uplink went, which counts as a death.

        One that went twice within a short time has to prove itself: the first return is taken at once.
        """
        self.state = State.JOINING
        self.since = now
        self.cause = "uplink"
        """The event that brought it there."""
        self.deaths: int = 0 if before is None else before.deaths
        """That followed each other closely."""
        self._died: float = float("-inf") if before is None else before._died
        if self._damped(now):
            self.state, self.cause = State.DEAD, "flapping"

    def on(self, event: Event, now: float) -> bool:
        """True if the state is another now."""
        new, cause = TABLE[self.state, event], event.value
        if event == Event.CHANGED and self.state in (State.DEAD, State.PROVING) and self._damped(now):
            new, cause = State.DEAD, "flapping"  # its second address comes after the first: still the same return
        elif new == State.DEAD != self.state:
            self._die(now)
        changed = new != self.state
        if changed or event == Event.CHANGED:
            self.state, self.since, self.cause = new, now, cause
        return changed

    def gone(self, now: float) -> None:
        """Its uplink is no more."""
        if self.state != State.DEAD:
            self._die(now)

    def restart(self, now: float) -> None:
        """It is tried from now on."""
        self.state, self.since, self.cause = State.JOINING, now, "tried again"

    def handle_timer(self, now: float) -> bool:
        """As `on`, when the state has lasted as long as it may."""
        ends = self.deadline()
        return ends is not None and now >= ends and self.on(Event.TIMEOUT, now)

    def deadline(self) -> float | None:
        """When the state ends by itself."""
        if self.state == State.JOINING:
            return self.since + JOINING_SECONDS
        if self.state == State.PROVING:
            return self.since + self._proving_seconds()
        return None

    def _die(self, now: float) -> None:
        self.deaths = self.deaths + 1 if self._flaps(now) else 1
        self._died = now

    def _damped(self, now: float) -> bool:
        return self.deaths >= FLAPS and self._flaps(now)

    def _flaps(self, now: float) -> bool:
        return now - self._died < FLAP_SECONDS + self._proving_seconds()

    def _proving_seconds(self) -> float:
        return min(PROVING_SECONDS * 2.0 ** max(0, min(self.deaths, 16) - 1), PROVING_SECONDS_MAX)
