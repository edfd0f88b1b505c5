"""The Switch is killed and comes back: tickets bring everybody back without TLS; and a Switch that lies."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest

from ovng.forwarding.clientevents import SwitchRestarted
from ovng.ids import NodeID
from ovng.session.events import Attached, SessionUp
from ovng.wire.header import PacketType, parse_header
from tests.sim.network import CALM, Weather
from tests.sim.test_world_moves import at_switch, one_session, sessions, talking
from tests.sim.world import Place, World, each_way


def handshakes(*places: Place) -> int:
    """TLS handshakes that came to something, with the Switch or with nodes."""
    return sum(isinstance(event, Attached | SessionUp) for place in places for event in place.node.log)


def restart(world: World, away: float) -> None:
    world.switch.kill()
    world.run(away)
    world.start_switch()


@pytest.mark.parametrize(("away", "weather", "within"), [(0.1, CALM, 1.0), (5.0, CALM, 1.0), (5.0, each_way(0.1), 3.0)])
def test_traffic_is_back_without_tls(away: float, weather: Weather, within: float) -> None:
    for seed in range(3):
        world, one, other = talking(seed, weather)
        world.traffic(one, other, 11.0, 0.5)  # long enough for a snapshot
        before, keys = handshakes(one, other), sessions(one, other)
        world.switch.kill()
        for _ in range(int(away / 0.05)):
            world.send(one, other), world.send(other, one)
            world.run(0.05)
        world.start_switch()
        back = world.now.mono
        sent = world.traffic(one, other, within, 0.02)
        for place in (one, other):
            first = min(p.arrived for p in sent if p.to is place and p.arrived)
            assert first - back < within, f"{place.name}, seed {seed}"
        assert sessions(one, other) == keys
        for place in (one, other):
            assert at_switch(world, place)
            assert any(isinstance(event, SwitchRestarted) for event in place.node.log)
        world.run(10.0)
        assert handshakes(one, other) == before


def test_idle_nodes_are_called_from_the_snapshot() -> None:
    """Nobody has traffic; the first packet after the restart finds its receiver."""
    world, one, other = talking()
    world.run(12.0)
    before = handshakes(one, other)
    restart(world, 3.0)
    assert world.run(2.0, lambda: at_switch_now(world, one) and at_switch_now(world, other))
    packet = world.send(one, other)
    assert world.run(0.2, lambda: packet.arrived is not None)
    assert handshakes(one, other) == before


def at_switch_now(world: World, place: Place) -> bool:
    return world.switch.table.record(place.node.id) is not None and at_switch(world, place)


def test_without_snapshot_the_next_keepalive_brings_them_back() -> None:
    world, one, other = talking()
    before = handshakes(one, other)
    world.switch.kill()
    world.switch.disk.pop("snapshot", None)
    world.start_switch()
    assert world.run(31.0, lambda: at_switch_now(world, one) and at_switch_now(world, other))
    world.talk(one, other)
    assert handshakes(one, other) == before


def test_without_ticket_keys_they_attach_by_tls_and_sessions_stay() -> None:
    for seed in range(3):
        world, one, other = talking(seed)
        keys = sessions(one, other)
        world.run(12.0)
        world.switch.kill()
        del world.switch.disk["ticket-keys"]
        world.start_switch()
        assert world.talk(one, other, 10.0) < 8.0
        assert sessions(one, other) == keys
        assert sum(isinstance(event, Attached) for event in one.node.log) == 2


def test_five_restarts_in_a_row() -> None:
    world, one, other = talking()
    before = handshakes(one, other)
    for _ in range(5):
        restart(world, 1.0)
        world.traffic(one, other, 1.0)
    assert world.talk(one, other) < 1.0
    assert handshakes(one, other) == before and one_session(one, other)


def test_new_contacts_after_a_restart() -> None:
    """The private keys are in no ticket: who must resolve attaches by TLS once, and finds out about others."""
    world, one, other = talking()
    third = world.add("10.77.0.4/32")
    world.run(15.0)
    restart(world, 1.0)
    world.traffic(one, other, 1.0)
    assert world.talk(one, third, 10.0) < 8.0
    assert one_session(one, other)


def test_handshake_under_way_goes_on() -> None:
    for step in range(10):
        world = World(step + 1, Weather(delay_min=0.02, delay_max=0.02))
        one, other = world.add("10.77.0.2/32"), world.add("10.77.0.3/32")
        world.run(12.0)
        world.send(one, other)
        world.run(0.04 * step)
        restart(world, 0.5)
        assert world.talk(one, other, 10.0) < 5.0
        assert one_session(one, other)


def test_attachment_under_way_goes_on() -> None:
    for step in range(10):
        world = World(step + 1, Weather(delay_min=0.02, delay_max=0.02))
        one, other = world.add("10.77.0.2/32"), world.add("10.77.0.3/32")
        world.run(0.02 * step)
        restart(world, 0.5)
        world.talk(one, other, 70.0)


# -- A Switch that lies


def resolve_wrongly(world: World, address: str, wrong: NodeID) -> None:
    """From now on the Switch says that `wrong` has `address`."""
    directory = world.switch.registrar._directory
    honest = directory.holders
    lie = ipaddress.ip_network(address)

    def holders(asked: ipaddress.IPv4Address | ipaddress.IPv6Address) -> object:
        return (lie, [wrong]) if asked in lie else honest(asked)

    directory.holders = holders  # type: ignore[method-assign,assignment]


def test_resolves_to_the_wrong_node() -> None:
    """`World` checks where plaintext comes out; here: nowhere, and the application is told."""
    for seed in range(3):
        world = World(seed)
        one, right, wrong = (world.add(f"10.77.0.{i}/32") for i in (2, 3, 4))
        world.run(2.0)
        resolve_wrongly(world, "10.77.0.3/32", wrong.node.id)
        for _ in range(20):
            world.send(one, right)
            world.run(0.5)
        assert not wrong.received and not right.received
        assert one.node.overlay.counters["address_not_proven"] > 0
        assert any(packet[9] == 1 for packet in one.received), "ICMP: unreachable"
        world.talk(one, wrong), world.talk(wrong, one)  # its session with the wrong one is as good as any


def test_resolves_to_a_node_with_a_session() -> None:
    world, one, wrong = talking()
    right = world.add("10.77.0.9/32")
    world.run(1.0)
    resolve_wrongly(world, "10.77.0.9/32", wrong.node.id)
    for _ in range(10):
        world.send(one, right)
        world.run(0.5)
    assert not any(sent.arrived for sent in world.packets.values() if sent.to is right)
    world.talk(one, wrong)


def test_answers_for_a_resolution_itself() -> None:
    """It names an ID that is nobody's, and the asker's own."""
    world = World()
    one, other = world.add("10.77.0.2/32"), world.add("10.77.0.3/32")
    world.run(2.0)
    for liar in (NodeID(0x1234), one.node.id):
        resolve_wrongly(world, "10.77.0.3/32", liar)
        one.node.client._private.resolver._answers.clear()
        world.send(one, other)
        world.run(65.0)
        assert not other.received


def swapped(one: Place, other: Place) -> Callable[[bytes], bytes]:
    """Forwarded datagrams of one bear the other's ID as source."""
    ids = {one.node.id: other.node.id, other.node.id: one.node.id}

    def lie(datagram: bytes) -> bytes:
        src = parse_header(datagram).src
        return datagram[:12] + ids.get(src, src).packed() + datagram[20:]

    return lie


def test_swaps_source_ids() -> None:
    for seed in range(3):
        world = World(seed)
        one, other, third = (world.add(f"10.77.0.{i}/32") for i in (2, 3, 4))
        for source, target in ((one, other), (one, third), (other, third)):
            world.talk(source, target)
        before = {place.name: len(place.received) for place in (one, other, third)}
        keys = sessions(one, other, third)
        world.switch.lie = swapped(one, other)
        for source, target in ((one, third), (other, third), (third, one), (third, other)) * 10:
            world.send(source, target)
            world.run(0.05)
        world.run(1.0)
        assert len(third.received) == before["c"], "what bears another's ID opens under no key"
        assert third.node.path.drops["aead"] + third.node.path.drops["unknown_key"] >= 20
        world.switch.lie = lambda datagram: datagram
        world.run(60.0)
        for source, target in ((one, third), (other, third), (one, other)):
            world.talk(source, target)
        assert sessions(one, other, third) == keys


def test_swaps_source_ids_from_the_beginning() -> None:
    """No session comes of it, and no key."""
    world = World()
    one, other, third = (world.add(f"10.77.0.{i}/32") for i in (2, 3, 4))
    world.run(2.0)
    world.switch.lie = swapped(one, other)
    for _ in range(40):
        world.send(one, third), world.send(third, other)
        world.run(0.5)
    assert not one.received and not other.received and not third.received
    assert not sessions(one, other, third)


def test_swaps_destinations() -> None:
    """What is for one is led to the other, with the ID it bore and with the other's."""
    for rewrite in (False, True):
        world, one, other = talking()
        third = world.add("10.77.0.4/32")
        world.talk(one, third)
        place_of = {other.node.id: third, third.node.id: other}

        def misdirect(datagram: bytes) -> bytes:
            header = parse_header(datagram)
            target = place_of.get(header.dst)  # noqa: B023
            if header.type is PacketType.DATA and target is not None:
                wrong = datagram[:4] + target.node.id.packed() + datagram[12:] if rewrite else datagram  # noqa: B023
                world.inject(target, wrong, target.locator)  # noqa: B023
                return datagram[:28]  # and the right one gets nothing of use
            return datagram

        before = len(other.received), len(third.received)
        world.switch.lie = misdirect
        for _ in range(10):
            world.send(one, other), world.send(one, third)
            world.run(0.1)
        assert (len(other.received), len(third.received)) == before
        drops = other.node.path.drops + third.node.path.drops
        assert drops["misaddressed"] + drops["aead"] + drops["unknown_key"] >= 20


def test_inner_source_of_another() -> None:
    """A proved node that puts another's address into its packets."""
    world, one, other = talking()
    honest = world.send(one, other)
    world.run(1.0)
    forged = honest.packet[:12] + ipaddress.ip_address("10.77.0.9").packed + honest.packet[16:]
    before = len(other.received)
    one.node.send(forged, world.now_of(one.node))
    world.run(1.0)
    assert len(other.received) == before and other.node.path.drops["inner_source"] == 1
