"""Handshakes over bad networks, in virtual time."""

from __future__ import annotations

import statistics

from tests.pki_fixture import Network as Ca
from tests.sim.harness import World, connected, talk
from tests.sim.network import LOSS_30, LOSS_50, ROUGH, Weather


def handshake_times(ca: Ca, weather: Weather, count: int) -> list[float]:
    """Seconds until both ends are connected, of those that come to it within 60 s."""
    pair, times = ca.pair(), []
    for seed in range(count):
        world = World(seed, weather)
        one, other = (world.add(member) for member in pair)
        start = world.now.mono
        one.connect(other)
        if world.run(60, lambda: connected(one, other)):  # noqa: B023
            times.append(world.now.mono - start)
            talk(world, one, other)
    return times


def test_calm_handshake_takes_four_round_trips(ca: Ca) -> None:
    (seconds,) = handshake_times(ca, Weather(delay_min=0.02, delay_max=0.02), 1)
    assert 0.12 <= seconds < 0.2  # 40 ms each: cookie, hello, certificates + READY, acknowledgement


def test_30_percent_loss(ca: Ca) -> None:
    times = handshake_times(ca, LOSS_30, 50)
    assert len(times) == 50
    assert statistics.median(times) < 2.0


def test_50_percent_loss(ca: Ca) -> None:
    assert len(handshake_times(ca, LOSS_50, 50)) >= 49


def test_reordering_and_duplicates(ca: Ca) -> None:
    times = handshake_times(ca, ROUGH, 20)
    assert len(times) == 20
    assert statistics.median(times) < 2.0
