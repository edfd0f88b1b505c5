"""A bad network in virtual time: seeded loss, duplication, reordering, delay, corruption, and a clock that jumps.

Nothing here knows the protocol. `Network.send` decides what becomes of one datagram on one way; `World` (harness) runs
the clock from one event to the next.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, replace

from ovng.clock import Now
from tests.pki_fixture import WALL


@dataclass(frozen=True)
class Weather:
    """Chances per datagram, 0 … 1; delays in seconds, one way."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    reordering: float = 0.0
    """Chance of an extra delay of up to `delay_max` × 4."""
    delay_min: float = 0.010
    delay_max: float = 0.030

    def but(self, **changes: float) -> Weather:
        return replace(self, **changes)


CALM = Weather()
LOSS_30 = Weather(loss=0.3)
LOSS_50 = Weather(loss=0.5)
ROUGH = Weather(loss=0.2, duplication=0.2, reordering=0.3)


class VirtualClock:
    """Starts at odd values, so that nothing works only because clocks are alike or begin at 0."""

    def __init__(self) -> None:
        self.now = Now(1_000.0, 5_000.0, WALL + 3_600.0)

    def advance_to(self, mono: float) -> None:
        step = max(0.0, mono - self.now.mono)
        self.now = Now(self.now.mono + step, self.now.boot + step, self.now.wall + step)

    def sleep(self, seconds: float) -> None:
        """The machine is suspended: the monotonic clock stands still."""
        self.now = Now(self.now.mono, self.now.boot + seconds, self.now.wall + seconds)


class Network:
    """Datagrams on their way to named places."""

    def __init__(self, seed: int, weather: Weather = CALM) -> None:
        self.random = random.Random(seed)
        self.weather = weather
        self.down: set[object] = set()
        """Places from and to which nothing passes."""
        self.counters: Counter[str] = Counter()
        self._flying: list[tuple[float, int, object, bytes, object]] = []
        self._count = 0

    def send(self, source: object, target: object, datagram: bytes, now: float) -> None:
        weather, chance = self.weather, self.random.random
        self.counters["sent"] += 1
        self.counters["bytes"] += len(datagram)
        copies = 2 if chance() < weather.duplication else 1
        for _ in range(copies):
            if chance() < weather.loss or source in self.down or target in self.down:
                self.counters["lost"] += 1
                continue
            delay = self.random.uniform(weather.delay_min, weather.delay_max)
            if chance() < weather.reordering:
                delay += self.random.uniform(0, weather.delay_max * 4)
            copy = self._corrupted(datagram) if chance() < weather.corruption else datagram
            self._count += 1
            heapq.heappush(self._flying, (now + delay, self._count, target, copy, source))

    def next(self) -> float | None:
        return self._flying[0][0] if self._flying else None

    def arrivals(self, now: float) -> list[tuple[object, bytes, object]]:
        """(target, datagram, source) of all that have arrived."""
        arrived = []
        while self._flying and self._flying[0][0] <= now:
            _, _, target, datagram, source = heapq.heappop(self._flying)
            if target in self.down:
                self.counters["lost"] += 1
            else:
                arrived.append((target, datagram, source))
        return arrived

    def _corrupted(self, datagram: bytes) -> bytes:
        self.counters["corrupted"] += 1
        changed = bytearray(datagram)
        for _ in range(self.random.randint(1, 3)):
            changed[self.random.randrange(len(changed))] ^= 1 << self.random.randrange(8)
        return bytes(changed)
