"""What nodes and Switches of the simulated world have in common: clocks of their own, and a life that can be ended."""

from __future__ import annotations

import random
from typing import Protocol

from ovng.clock import Now
from ovng.io.credentials import memfd_path
from ovng.pki.trust import Trust
from tests.pki_fixture import Member


class Clock:
    """One machine's three clocks: at other values than the world's, and than each other's."""

    def __init__(self, chance: random.Random) -> None:
        self.mono, self.boot, self.wall = chance.uniform(0, 9_000), chance.uniform(10_000, 90_000), 0.0
        """Offsets from the world's clocks, in seconds."""

    def read(self, world: Now) -> Now:
        return Now(world.mono + self.mono, world.boot + self.boot, world.wall + self.wall)

    def sleep(self, seconds: float) -> None:
        """The machine was suspended for so long, while the world went on: its monotonic clock knows nothing of it."""
        self.mono -= seconds


class Driven:
    """When it is due is asked as a driver asks it: after something was carried out, for nothing changes in between."""

    clock: Clock

    def __init__(self) -> None:
        self.flushes = 0
        self._due: tuple[tuple[int, float], float | None] | None = None

    def deadline(self, now: Now) -> float | None:
        """On its monotonic clock."""
        raise NotImplementedError

    def due(self, now: Now) -> float | None:
        """Its deadline."""
        state = self.flushes, self.clock.mono
        if self._due is None or self._due[0] != state:
            self._due = state, self.deadline(now)
        return self._due[1]


class Machine(Protocol):
    """Anything that lives in the world."""

    clock: Clock
    alive: bool

    def deadline(self, now: Now) -> float | None:
        """On its monotonic clock."""

    def due(self, now: Now) -> float | None:
        """The deadline as of the last flush."""

    def handle_timer(self, now: Now) -> None: ...
    def flush(self, now: Now) -> None:
        """Carry out what was decided."""


def load_trust(member: Member, crl: bytes | None = None) -> Trust:
    """What a process that starts makes of its profile; nothing is shared with an earlier process."""
    held = crl or member.trust.crl_der
    return Trust(member.trust.network, member.ca, member.certificate, member.key, memfd_path, held)
