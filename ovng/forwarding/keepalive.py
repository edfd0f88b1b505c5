"""When a path tells the Switch that it is there: as seldom as the NAT before it, its lease and its use allow.

    rest ──(due, nothing to learn)──────────────────────────────────────► REFRESH ──► rest
     └──(due, or a trial's silence has passed)──► knocking ──(came in)──► held, REFRESH
                                                     └──(three did not)──► REFRESH ──(answered)──► control
                control: three knocks more, with the mapping fresh ──(came in)──► the silence was too long
                                                                   └─(did not)──► nothing can be learned here

A KNOCK leaves by another socket, and is answered at the path's own place (PROTOCOL 6): so it shows whether anything
still gets in there after a silence. The path in use tries at most half as much again as has proved good: until it ends,
or the mapping does not bear it, the path is deaf for at most a third of the trial and the three seconds of its knocks.
Other paths lose nothing by a trial, and learn first where there are any.

All refreshes may come a little early: who is awake anyway does what is nearly due. Times are monotonic seconds.
"""

from __future__ import annotations

import math
from enum import Enum, auto

from ovng.forwarding.bindinglife import BindingLife
from ovng.forwarding.store import Random
from ovng.limits import KEEPALIVE_DEFAULT, KEEPALIVE_MAX
from ovng.session.backoff import fraction

EARLY = 0.8
"""Of the time until it is due, after which a refresh is made by who is awake anyway."""
SPREAD = 0.04
"""Nodes that began together drift apart by this share of a keepalive each time; earlier, never later."""
STANDBY_FACTOR, STANDBY_PATIENCE = 4, 60.0
LEASE_USED = 2
"""Keepalives after which the lease (three) is renewed, even if traffic keeps the mapping."""
KNOCKS, KNOCK_PATIENCE = 3, 1.0
_SOON = 2.0  # an answer to what went out, not something that keeps the mapping by itself
_NEVER = float("-inf")


class Use(Enum):
    """What a path is for now."""

    ACTIVE = auto()
    STANDBY = auto()
    """Kept ready: another one carries data, and nothing is sent to this one."""
    SPARED = auto()
    """As STANDBY, and each byte costs money: stays attached, and that is all."""


class Ask(Enum):
    """What to send now."""

    NOTHING = auto()
    REFRESH = auto()
    KNOCK = auto()


class _State(Enum):
    REST = auto()
    KNOCKING = auto()
    DEAF = auto()
    """No knock came in; the REFRESH is under way."""
    CONTROL = auto()


class Keepalive:
    """Of one path. `fixed`: seconds that the profile wants, whatever the NAT bears; None: learned."""

    def __init__(self, random: Random, fixed: int | None = None) -> None:
        self._random, self._fixed = random, fixed
        self.life = BindingLife()
        """Of the network that the path is in; the owner puts another here when it is in another."""
        self.use = Use.ACTIVE
        self._out = self._in = self._renewed = _NEVER
        self._told = KEEPALIVE_DEFAULT if fixed is None else fixed
        self._early = 1.0
        self._state = _State.REST
        self._knocks, self._knock_due, self._silence = 0, 0.0, 0.0

    @property
    def seconds(self) -> int:
        """What reports say: the lease is three of these."""
        return min(math.ceil(self._interval()), KEEPALIVE_MAX)

    def patience(self, *, traffic: bool) -> float:
        """Seconds between tries of a REFRESH, at most, while nobody answers."""
        if self.use == Use.ACTIVE or traffic:
            return min(self._interval(), KEEPALIVE_DEFAULT) / 2
        return self._interval() / 2 if self.use == Use.SPARED else STANDBY_PATIENCE

    # -- What happened

    def sent(self, at: float) -> None:
        """Something left by this path."""
        self._out = max(self._out, at)

    def heard(self, at: float) -> None:
        """Something came in by this path."""
        if at > self._in:
            self._in = at
            if self._state == _State.KNOCKING and at > self._knock_due - KNOCK_PATIENCE:
                self._held(at)

    def renewed(self, now: float) -> None:
        """The Switch has answered a report of this path: lease and mapping are fresh."""
        self._renewed, self._told = now, self.seconds
        if self._out == _NEVER:  # a handshake went out, not a report
            self._out = now
        self._early = 1.0 - SPREAD * fraction(self._random)
        if self._state == _State.DEAF:
            self._state, self._knocks, self._knock_due = _State.CONTROL, 0, now
        else:
            self._silence = 0.0

    def knock_answered(self, now: float) -> None:
        """The answer to a KNOCK came in."""
        if self._state == _State.KNOCKING:
            self._held(now)
        elif self._state == _State.CONTROL:
            self._state = _State.REST
            self.life.lost(self._silence, now)

    def rebound(self, now: float) -> None:
        """The Switch sees the path at another place, and nothing has changed here: a silence may be why."""
        if self._silence >= self.life.keepalive / 2 and self._fixed is None:
            self.life.lost(self._silence, now)
            self._silence = 0.0
        self._state = _State.REST

    def abandon(self) -> None:
        """What is being learned comes to nothing: the path is another, or is silent."""
        self._state, self._silence = _State.REST, 0.0

    # -- What to do

    def deadline(self, now: float) -> float:
        """When `check` has something to do."""
        if self._state in (_State.KNOCKING, _State.CONTROL):
            return self._knock_due
        return self._latest(now)

    def check(self, now: float, *, quiet: bool) -> Ask:
        """Told that nothing else is under way on this path. `quiet`: there is no traffic to disturb."""
        if self._state in (_State.KNOCKING, _State.CONTROL):
            return self._knock_again(now)
        if now < min(self._latest(now), self._earliest(now)):
            return Ask.NOTHING
        silence = now - max(self._out, self._in)
        self._state, self._silence = _State.REST, silence
        if quiet and self._learns() and self.life.teaches(silence, now):
            self._state, self._knocks = _State.KNOCKING, 0
            return self._knock_again(now)
        return Ask.REFRESH

    # -- Inside

    def _held(self, now: float) -> None:
        self._state = _State.REST
        self.life.held(self._silence, now)

    def _knock_again(self, now: float) -> Ask:
        if self._knocks and now < self._knock_due:
            return Ask.NOTHING
        if self._knocks < KNOCKS:
            self._knocks, self._knock_due = self._knocks + 1, now + KNOCK_PATIENCE
            return Ask.KNOCK
        if self._state == _State.KNOCKING:
            self._state = _State.DEAF
            return Ask.REFRESH
        self._state = _State.REST
        self.life.give_up(now)
        return Ask.NOTHING

    def _learns(self) -> bool:
        return self._fixed is None and self.use != Use.SPARED

    def _interval(self) -> float:
        if self.use == Use.SPARED:
            return KEEPALIVE_MAX
        usual = self.life.keepalive if self._fixed is None else self._fixed
        return usual if self.use == Use.ACTIVE else min(STANDBY_FACTOR * usual, KEEPALIVE_MAX)

    def _trial(self, now: float) -> float | None:
        """When the silence to try next has passed; None: none is tried."""
        trial = self.life.trial(now) if self._learns() and self._in < self._out + _SOON else None
        return None if trial is None else max(self._out, self._in) + trial

    def _latest(self, now: float) -> float:
        trial = self._trial(now)
        due = self._out + self._early * self._interval() if trial is None else trial
        return min(due, self._renewed + LEASE_USED * self._told)

    def _earliest(self, now: float) -> float:
        return self._latest(now) if self._trial(now) is not None else self._out + EARLY * self._interval()
