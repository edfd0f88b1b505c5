"""Other addresses: whenever, told or not, at one end or both, the session and what it carries go on."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ovng.forwarding.clientevents import LocatorChanged
from ovng.ids import NodeID
from ovng.session.events import SessionDown, SessionUp
from ovng.wire.header import FLAG_DUP, PacketType, parse_header
from ovng.wire.inner import Doubling
from tests.sim.network import CALM, Weather
from tests.sim.world import Place, Sent, World, each_way
from tests.sim.world_node import Options

STEADY = Weather(delay_min=0.02, delay_max=0.02)


def talking(seed: int = 1, weather: Weather = CALM, options: Options | None = None) -> tuple[World, Place, Place]:
    """Two nodes with a session, some seconds later."""
    world = World(seed, weather)
    one = world.add("10.77.0.2/32", options=options or Options())
    other = world.add("10.77.0.3/32", options=options or Options())
    world.talk(one, other, 30.0)
    world.run(7.0)
    return world, one, other


def sessions(*places: Place) -> list[tuple[int, int]]:
    """(session, generation) as every node sees it."""
    return [(info.session_id, info.generation) for place in places for info in place.node.sessions.sessions()]


def one_session(*places: Place) -> bool:
    """They have had one session with each other from the beginning."""
    ids = {place.node.id for place in places}
    ups, downs = set(), 0
    for event in (event for place in places for event in place.node.log):
        if isinstance(event, SessionUp) and event.peer in ids:
            ups.add(event.session_id)
        elif isinstance(event, SessionDown) and event.peer in ids:
            downs += 1
    return not downs and len(ups) == 1


def gap(sent: list[Sent], to: Place) -> float:
    """The longest time without an arrival."""
    times = sorted(packet.arrived for packet in sent if packet.to is to and packet.arrived)
    return max(later - earlier for earlier, later in pairwise(times))


def at_switch(world: World, place: Place) -> bool:
    """The Switch's table leads to where the node is, confirmed."""
    state = world.switch.table.locators(place.node.id)
    assert state is not None
    slots, active, _, provisional = state
    return active >= 0 and slots[active] == place.locator.packed() and not provisional


@pytest.mark.parametrize("old_lives", [True, False])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_idle(loss: float, old_lives: bool) -> None:
    for seed in range(3):
        world, one, other = talking(seed, each_way(loss))
        before = sessions(one, other)
        world.move(one, old_lives=old_lives)
        assert world.run(5.0, lambda: at_switch(world, one))  # noqa: B023
        changed = [event for event in one.node.log if isinstance(event, LocatorChanged)]
        assert changed[-1].observed == one.locator
        world.talk(one, other)
        assert sessions(one, other) == before


@pytest.mark.parametrize("old_lives", [True, False])
def test_under_traffic(old_lives: bool) -> None:
    for seed in range(3):
        world, one, other = talking(seed)
        before = sessions(one, other)
        sent = world.traffic(one, other, 1.0, 0.01)
        world.move(one, old_lives=old_lives)
        sent += world.traffic(one, other, 1.0, 0.01)
        lost = [packet for packet in sent if packet.arrived is None]
        # MOVE and ACK: one way. What was on its way to the old address meanwhile is lost, when that is dead.
        assert len(lost) <= (0 if old_lives else 8)
        assert all(packet.to is one for packet in lost)
        assert sessions(one, other) == before


def test_under_traffic_with_loss() -> None:
    for seed in range(3):
        world, one, other = talking(seed, each_way(0.1))
        for _ in range(3):
            world.move(one)
            sent = world.traffic(one, other, 5.0, 0.04)
            assert gap(sent, one) < 3.0 and gap(sent, other) < 0.5
        assert one_session(one, other)


def test_both_ends_at_once() -> None:
    for seed in range(3):
        world, one, other = talking(seed)
        before = sessions(one, other)
        sent = world.traffic(one, other, 1.0, 0.01)
        world.move(one)
        world.move(other)
        sent += world.traffic(one, other, 1.0, 0.01)
        assert gap(sent[200:], one) < 0.2 and gap(sent[200:], other) < 0.2
        assert sessions(one, other) == before


def test_both_ends_again_and_again() -> None:
    """Faster than moves that are never confirmed may come; these are confirmed."""
    for seed in range(3):
        world, one, other = talking(seed)
        for _ in range(20):
            world.move(one)
            world.move(other)
            world.traffic(one, other, 0.5, 0.05)
        assert world.talk(one, other, 5.0) < 1.0
        assert one_session(one, other)
        assert not world.switch.registrar.counters["move_limit"]


def test_nat_rebinding_under_traffic() -> None:
    """Nobody tells the node: the Switch's hint does, and silence."""
    for seed in range(3):
        world, one, other = talking(seed)
        before = sessions(one, other)
        world.traffic(one, other, 1.0)
        world.rebind(one)
        sent = world.traffic(one, other, 3.0, 0.02)
        assert sum(packet.arrived is None for packet in sent if packet.to is other) == 0, "the grace credit carries it"
        assert gap(sent, one) < 0.5
        assert at_switch(world, one)
        assert sessions(one, other) == before


def test_nat_rebinding_of_a_node_that_only_receives() -> None:
    """Nothing it sends can be seen elsewhere: the next keepalive finds out."""
    for seed in range(3):
        world, one, other = talking(seed)
        world.rebind(one)
        for _ in range(320):
            world.send(other, one)
            world.run(0.1)
        assert at_switch(world, one)
        sent = world.send(other, one)
        assert world.run(0.2, lambda: sent.arrived is not None)  # noqa: B023


def test_nat_rebinding_when_idle() -> None:
    for seed in range(3):
        world, one, other = talking(seed)
        world.rebind(one)
        assert world.run(31.0, lambda: at_switch(world, one))  # noqa: B023
        world.talk(one, other)
        assert one_session(one, other)


def control_datagrams(weather: Weather) -> int:
    """How many CONTROL datagrams pass the Switch in a handshake between two nodes."""
    world = World(1, weather)
    one, other = world.add("10.77.0.2/32"), world.add("10.77.0.3/32")
    world.run(3.0)
    start = len(world.record)
    world.send(one, other)
    world.run(3.0)
    kinds = [parse_header(arrival.datagram) for arrival in world.record[start:] if arrival.to is None]
    return sum(header.type is PacketType.CONTROL for header in kinds)


@pytest.mark.parametrize("who", ["initiator", "responder", "both"])
def test_in_the_middle_of_a_handshake_at_each_datagram(who: str) -> None:
    """Before the first datagram of it reaches the Switch, before the second, …"""
    count = control_datagrams(STEADY)
    assert count > 8
    for index in range(count):
        world = World(index + 1, STEADY)
        one, other = world.add("10.77.0.2/32"), world.add("10.77.0.3/32")
        world.run(3.0)
        moving = {"initiator": [one], "responder": [other], "both": [one, other]}[who]
        seen = moved = 0

        def step() -> None:
            nonlocal seen, moved
            new, seen = world.record[seen:], len(world.record)  # noqa: B023
            for arrival in new:
                if arrival.to is None and parse_header(arrival.datagram).type is PacketType.CONTROL:
                    moved += 1
                    if moved == index + 1:  # noqa: B023
                        for place in moving:  # noqa: B023
                            world.move(place)  # noqa: B023

        seen = len(world.record)
        world.on_step = step
        assert world.talk(one, other, 5.0) < 3.0, f"at datagram {index}"
        world.run(3.0)
        assert moved > index
        assert one_session(one, other)


@pytest.mark.parametrize("who", ["one", "both"])
def test_during_a_rekey(who: str) -> None:
    for step in range(0, 12, 2):
        world, one, other = talking(step, STEADY)
        one.node.sessions.rekey_all(world.now_of(one.node))
        one.node.flush(world.now_of(one.node))
        world.traffic(one, other, 0.02 * step, 0.02) if step else None
        world.move(one)
        if who == "both":
            world.move(other)
        sent = world.traffic(one, other, 3.0, 0.04)
        assert gap(sent, one) < 1.0 and gap(sent, other) < 1.0
        assert one_session(one, other)
        assert {generation for _, generation in sessions(one, other)} == {1}


def test_move_while_the_switch_is_away() -> None:
    for seed in range(3):
        world, one, other = talking(seed)
        world.run(5.0)
        world.switch.kill()
        world.run(1.0)
        world.move(one)
        world.move(other)
        world.run(2.0)
        world.start_switch()
        assert world.talk(one, other, 5.0) < 3.0
        assert one_session(one, other)


def test_a_move_that_is_not_true_takes_nothing() -> None:
    """An old MOVE in another's hands: its traffic stays where it is confirmed."""
    world, one, other = talking()
    world.move(one)
    assert world.run(5.0, lambda: at_switch(world, one))
    reports = [a.datagram for a in world.record if a.to is None and parse_header(a.datagram).type is PacketType.REPORT]
    thief = world.fresh_locator()
    for datagram in reports:
        world.inject(None, datagram, thief)
    assert at_switch(world, one)
    sent = world.traffic(one, other, 4.0)
    assert all(packet.arrived for packet in sent)


def test_a_wish_is_heeded_by_a_peer_that_has_none() -> None:
    """One wants everything doubled: what the other sends to it carries DUP, in every generation."""
    world = World()
    one = world.add("10.77.0.2/32", options=Options(doubles=Doubling.ALL, rekey_seconds=5))
    other = world.add("10.77.0.3/32", options=Options(rekey_seconds=5))
    world.talk(one, other, 30.0)
    world.run(12.0)
    third = world.add("10.77.0.4/32")
    world.talk(other, third, 5.0)
    world.run(5.0)
    assert other.node.sessions.sessions()[0].generation > 0
    flags: dict[tuple[NodeID, NodeID], set[bool]] = {}
    for arrival in world.record:
        header = parse_header(arrival.datagram)
        if header.type is PacketType.DATA:
            flags.setdefault((header.src, header.dst), set()).add(bool(header.flags & FLAG_DUP))
    assert flags[one.node.id, other.node.id] == flags[other.node.id, one.node.id] == {True}
    assert flags[other.node.id, third.node.id] == flags[third.node.id, other.node.id] == {False}
