"""New keys every few seconds: nothing is lost to that, only to the network."""

from __future__ import annotations

import pytest

from tests.sim.network import CALM, Weather
from tests.sim.test_world_moves import one_session, sessions, talking
from tests.sim.world import each_way
from tests.sim.world_node import Options

QUICK = Options(rekey_seconds=5.0)


@pytest.mark.parametrize(
    "weather", [CALM, each_way(0.1), each_way(0.1).but(reordering=0.1, duplication=0.1)], ids=["calm", "10 %", "rough"]
)
def test_every_five_seconds(weather: Weather) -> None:
    for seed in range(2):
        world, one, other = talking(seed, weather, QUICK)
        before = one.node.path.drops + other.node.path.drops + one.node.counters + other.node.counters
        sent = world.traffic(one, other, 60.0, 0.1)
        lost = [packet for packet in sent if packet.arrived is None]
        drops = one.node.path.drops + other.node.path.drops + one.node.counters + other.node.counters - before
        assert not drops.keys() - {"replay_duplicate"}, "every packet that arrives can be opened"
        assert not one.node.overlay.held and not one.node.overlay.dropped, "no packet waits for a key"
        assert not world.switch.counters.keys() - {"forwarded", "source_unknown"}
        assert len(lost) < 0.15 * len(sent)
        assert (weather.loss > 0) == bool(lost)
        (mine, theirs) = sessions(one, other)
        assert min(mine[1], theirs[1]) >= 12 and one_session(one, other)


def test_idle_nodes_cost_nothing_and_are_there_at_once() -> None:
    """Silence longer than a key may live: the first packet waits for a new one, and is not lost."""
    world, one, other = talking(options=QUICK)
    world.run(300.0)
    generation = sessions(one)[0][1]
    assert generation < 5, "nobody rekeys for nobody"
    packet = world.send(one, other)
    assert world.run(1.0, lambda: packet.arrived is not None)
    assert one_session(one, other)


def test_both_ends_at_once() -> None:
    for seed in range(4):
        world, one, other = talking(seed)
        for place in (one, other):
            place.node.sessions.rekey_all(world.now_of(place.node))
            place.node.flush(world.now_of(place.node))
        sent = world.traffic(one, other, 3.0, 0.02)
        assert all(packet.arrived for packet in sent)
        assert {generation for _, generation in sessions(one, other)} == {1}


def test_old_keys_end() -> None:
    """60 s after the new ones are known to be in use at both ends."""
    world, one, other = talking()
    one.node.sessions.rekey_all(world.now_of(one.node))
    one.node.flush(world.now_of(one.node))
    world.run(50.0)
    assert [len(peer.receive) for place in (one, other) for peer in place.node.path.peers.values()] == [2, 2]
    world.run(12.0)
    assert [len(peer.receive) for place in (one, other) for peer in place.node.path.peers.values()] == [1, 1]


def test_link_cut_during_a_rekey() -> None:
    """At any moment of it: each end goes on opening what the other seals, and a rekey at return puts it right."""
    for step in range(0, 15, 3):
        world, one, other = talking(1)
        one.node.sessions.rekey_all(world.now_of(one.node))
        one.node.flush(world.now_of(one.node))
        world.run(0.02 * step)
        other.link.cut = True
        for _ in range(30):
            world.send(one, other), world.send(other, one)
            world.run(3.0)
        other.link.cut = False
        assert world.talk(one, other, 5.0) < 3.0
        sent = world.traffic(one, other, 65.0, 1.0)
        assert all(packet.arrived for packet in sent)
        assert one_session(one, other)


def test_replay_window_goes_with_its_key() -> None:
    """What was recorded under the keys before is refused under the ones after."""
    world, one, other = talking(options=QUICK)
    world.traffic(one, other, 12.0, 0.25)
    arrived = len(other.received)
    for arrival in list(world.record):
        if arrival.to is other:
            world.inject(other, arrival.datagram, arrival.source)
    assert len(other.received) == arrived
    drops = other.node.path.drops
    assert drops["replay_duplicate"] and not drops["aead"]
