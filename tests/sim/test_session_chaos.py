"""Anything may happen in any order; when the weather is fine again, every pair has exactly one session that works."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from ovng.wire.inner import CloseReason
from tests.pki_fixture import Network as Ca
from tests.sim.harness import Host, World, connected, talk
from tests.sim.network import CALM, LOSS_50, ROUGH, Weather

WEATHERS = [CALM, ROUGH, LOSS_50, Weather(loss=0.1, corruption=0.02), Weather(delay_min=0.2, delay_max=0.6)]


def something_happens(world: World, hosts: list[Host], chance: random.Random) -> str:
    host, other = chance.sample(hosts, 2)
    what = chance.choices(
        ["connect", "send", "rekey", "restart", "end", "gap", "weather", "ping", "back", "sleep"],
        [4, 6, 3, 1, 1, 2, 2, 1, 1, 1],
    )[0]
    match what:
        case "connect":
            host.connect(other)
        case "send":
            host.send(other, b"x")
        case "rekey":
            host.manager.rekey_all(world.now)
        case "restart":
            host.start()
        case "end":
            host.manager.end(other.id, CloseReason.SHUTDOWN, "", world.now)
        case "gap":
            world.network.down ^= {host.id}
        case "weather":
            world.network.weather = chance.choice(WEATHERS)
        case "ping":
            host.manager.ping(other.id, world.now)
        case "back":
            host.manager.retry_now(world.now)
        case "sleep":
            world.clock.sleep(chance.choice([1.0, 200.0]))
    host.drain()
    return what


@pytest.mark.parametrize("seed", range(12))
def test_all_comes_right_in_the_end(ca: Ca, seed: int) -> None:
    chance = random.Random(seed)
    world = World(seed)
    hosts = [world.add(ca.node(), rekey_seconds=chance.choice([50.0, 600.0])) for _ in range(3)]
    story = []
    for _ in range(60):
        story.append(something_happens(world, hosts, chance))
        world.run(chance.choice([0.01, 0.05, 0.5, 5.0, 30.0]))
    world.network.down.clear()
    world.network.weather = CALM
    for one, other in combinations(hosts, 2):
        for source, target in ((one, other), (other, one)):  # somebody has traffic, so somebody notices
            source.send(target, b"anybody there?")
    for host in hosts:
        host.manager.retry_now(world.now)
        host.drain()
    assert world.run(30, lambda: all(connected(*pair) for pair in combinations(hosts, 2))), story
    for pair in combinations(hosts, 2):
        talk(world, *pair)
    world.run(20)
    for host in hosts:
        peers = [peer for peer, _ in host.data.receive]
        assert all(info.has_keys for info in host.manager.sessions())
        assert set(peers) == {other.id for other in hosts if other is not host}
        assert not host.manager.busy
