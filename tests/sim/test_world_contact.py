"""First contact: from nothing to packets both ways, over networks good and bad, and what a peer that is gone costs."""

from __future__ import annotations

import statistics

import pytest

from ovng.forwarding.clientevents import Resolved
from ovng.session.events import SessionUp
from ovng.wire.header import PacketType, parse_header
from tests.sim.network import CALM, ROUGH, Weather
from tests.sim.world import Arrival, Place, World, each_way


def two(seed: int = 1, weather: Weather = CALM) -> tuple[World, Place, Place]:
    """A Switch and two nodes that do not know each other yet."""
    world = World(seed, weather)
    return world, world.add("10.77.0.2/32", "fd77::2/128"), world.add("10.77.0.3/32", "fd77::3/128")


def test_the_first_packet_arrives_itself() -> None:
    """It waits for attachment, resolution and handshake, and is not lost by any of them."""
    for seed in range(3):
        world, one, other = two(seed)
        world.send(one, other)
        assert world.run(1.5, lambda: world.arrived(1))  # noqa: B023
        world.send(other, one)
        assert world.run(0.1, lambda: world.arrived(2)), "the way back needs nothing more"  # noqa: B023
        assert not one.node.path.drops and not other.node.path.drops
        assert not world.switch.counters.keys() - {"forwarded"}


@pytest.mark.parametrize(("loss", "median"), [(0.0, 1.0), (0.1, 2.0), (0.3, 6.0)], ids=["0 %", "10 %", "30 %"])
def test_loss(loss: float, median: float) -> None:
    times = []
    for seed in range(7):
        world, one, other = two(seed, each_way(loss))
        times.append(world.talk(one, other, 20.0))
    assert statistics.median(times) < median


def test_rough() -> None:
    """Loss, copies, reordering and damage at once. TLS may take a damaged piece for the beginning of something long:
    such an attempt ends at its deadline."""
    for seed in range(3):
        world, one, other = two(seed, ROUGH.but(corruption=0.02))
        world.talk(one, other, 130.0)
        world.traffic(one, other, 10.0)
        assert one.node.path.drops["replay_duplicate"] and one.node.path.drops["aead"]
        assert not one.node.path.drops["inner_source"]


def test_both_at_once_make_one_session() -> None:
    for seed in range(3):
        world, one, other = two(seed)
        world.send(one, other), world.send(other, one)
        assert world.run(3, lambda: world.arrived(2))  # noqa: B023
        world.run(60)
        (mine,), (theirs,) = one.node.sessions.sessions(), other.node.sessions.sessions()
        assert mine.session_id == theirs.session_id
        assert sum(isinstance(event, SessionUp) for event in one.node.log) == 1


def test_ipv6_inside() -> None:
    world, one, other = two()
    world.send(one, other, to="fd77::3")
    assert world.run(1.5, lambda: world.arrived(1))


def test_a_host_behind_a_node() -> None:
    world = World()
    one, gateway = world.add("10.77.0.2/32"), world.add("10.77.0.3/32", "192.168.7.0/24")
    world.run(3)
    assert [str(prefix) for prefix in one.node.plan.prefixes] == ["192.168.7.0/24"]
    world.send(one, gateway, to="192.168.7.20")
    assert world.run(1.5, lambda: world.arrived(1))


def test_nobody_has_the_address() -> None:
    """The application is told, once the Switch is sure."""
    world, one, other = two()
    world.run(6)  # a Switch that has just started says "not yet"
    world.send(one, other, to="10.77.9.9")
    assert world.run(1, lambda: bool(one.received))
    assert one.received[0][9] == 1 and one.node.overlay.counters["nobody_has_address"] == 1


def test_a_node_that_attaches_later_is_found() -> None:
    """Whoever asked in vain is told."""
    world = World()
    one = world.add("10.77.0.2/32")
    world.run(10)
    late = world.place(world.ca.node("10.77.0.3/32"))
    world.send(one, late)
    world.run(1)
    world.start(late)
    world.run(2)
    assert world.talk(one, late, 2.0) < 1.0


def test_a_peer_that_left_and_came_back() -> None:
    """Whoever asks for it again is answered from memory: nobody has told of any change."""
    for seed in range(4):
        world, one, other = two(seed)
        world.talk(one, other)
        other.node.leave(world.now_of(other.node))
        world.run(10.0)
        world.start(other)
        world.run(5.0)
        packet = world.send(one, other)
        assert world.run(1.0, lambda: packet.arrived is not None)  # noqa: B023


def test_a_peer_that_is_attached_and_silent() -> None:
    world, one, other = two()
    world.run(2)
    other.link.cut = True
    world.send(one, other)
    assert world.run(70, lambda: bool(one.received)), "unreachable, after the handshake has timed out"
    other.link.cut = False
    world.run(30)
    world.talk(one, other)


def test_the_acknowledgement_of_the_grant_is_lost() -> None:
    """The first report settles it as well; no second TLS handshake."""
    world = World()
    one, other = world.add("10.77.0.2/32"), world.place(world.ca.node("10.77.0.3/32"))
    world.run(3.0)

    def lost(arrival: Arrival) -> bool:
        header = parse_header(arrival.datagram)
        return other.node.client.attached and (header.type, header.src) == (PacketType.CONTROL, other.node.id)

    world.drop = lost
    world.start(other)
    assert world.run(2.0, lambda: other.node.client.attached)
    world.send(other, one)
    assert world.run(2.0, lambda: any(isinstance(event, Resolved) for event in other.node.log))
    assert world.switch.registrar.counters["attach_granted"] == 2
    assert not world.switch.registrar.counters["nak_no_private_keys"]
    world.drop = lambda arrival: False
    world.run(5.0)
    world.talk(one, other)


@pytest.mark.parametrize("profile", ["one", "other"])
def test_a_node_killed_and_started_again_talks_at_once_when_only_its_peer_has_traffic(profile: str) -> None:
    for seed in range(3):
        world, one, other = two(seed)
        world.talk(one, other)
        world.run(20)
        killed, alive = (one, other) if profile == "one" else (other, one)
        killed.node.kill()
        world.run(5)
        world.move(killed)
        world.start(killed)
        start = world.now.mono
        while not any(sent.arrived and sent.at >= start and sent.to is killed for sent in world.packets.values()):
            assert world.now.mono < start + 2.0, "not within 2 s"
            world.send(alive, killed)
            world.run(0.1)
        world.talk(one, other)
