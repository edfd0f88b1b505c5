"""Who may be a node: the same profile twice, a certificate revoked while it talks, and what each end is told."""

from __future__ import annotations

from ovng.session.events import SessionDown
from tests.pki_fixture import Member
from tests.sim.network import CALM, Weather
from tests.sim.test_world_moves import talking
from tests.sim.world import Place, World, each_way


def downs(place: Place, peer: Place) -> list[str]:
    """Why its sessions with `peer` have ended."""
    return [event.reason for event in place.node.log if isinstance(event, SessionDown) and event.peer == peer.node.id]


# -- The same profile twice


def second(world: World, first: Place) -> Place:
    """Another machine with the same profile, started."""
    place = world.place(first.node.member)
    world.start(place)
    return place


def test_the_later_process_wins_and_the_earlier_ends() -> None:
    for seed in range(3):
        world, one, other = talking(seed)
        later = second(world, one)
        assert world.run(1.0, lambda: one.node.ended is not None)  # noqa: B023
        assert one.node.ended == "superseded" and not one.node.alive
        assert later.node.ended is None
        assert world.talk(later, other, 10.0) < 3.0
        world.run(60.0)
        assert later.node.ended is None and other.node.ended is None


def test_the_earlier_was_cut_off_and_comes_back() -> None:
    """It learns of it when it is back, and takes nothing from the later one."""
    for seed in range(3):
        world, one, other = talking(seed, each_way(0.1))
        one.link.cut = True
        later = second(world, one)
        world.talk(later, other, 30.0)
        world.run(30.0)
        one.link.cut = False
        world.move(one)
        assert world.run(20.0, lambda: one.node.ended is not None)  # noqa: B023
        assert one.node.ended == "superseded"
        assert later.node.ended is None
        world.talk(later, other, 10.0)


def test_the_earlier_comes_back_over_a_restart_of_the_switch() -> None:
    """Its ticket opens; the later one's grant is newer."""
    for seed in range(3):
        world, one, other = talking(seed)
        one.link.cut = True
        later = second(world, one)
        world.talk(later, other, 10.0)
        world.run(12.0)
        world.switch.kill()
        world.run(1.0)
        world.start_switch()
        world.talk(later, other, 10.0)
        one.link.cut = False
        assert world.run(60.0, lambda: one.node.ended is not None)  # noqa: B023
        assert one.node.ended == "superseded" and later.node.ended is None
        world.talk(later, other)


def test_both_start_at_the_same_instant() -> None:
    """One of them stays."""
    for seed in range(6):
        world = World(seed)
        member = world.ca.node("10.77.0.2/32")
        pair = [world.place(member), world.place(member)]
        for place in pair:
            world.start(place)
        world.run(90.0)
        assert sorted(str(place.node.ended) for place in pair) == ["None", "superseded"]
        other = world.add("10.77.0.3/32")
        (stays,) = [place for place in pair if place.node.alive]
        world.talk(stays, other)


def test_a_restart_supersedes_nobody_else() -> None:
    world, one, other = talking()
    for _ in range(4):
        one.node.kill()
        world.start(one)
        assert world.talk(one, other, 10.0) < 4.0
    assert one.node.ended is None


def test_leaving_is_told() -> None:
    """SIGTERM: the session ends at the other end, and the Switch sends nothing more; nobody waits for a timer."""
    for seed in range(3):
        world, one, other = talking(seed)
        one.node.leave(world.now_of(one.node))
        assert world.run(0.3, lambda: one.node.ended == "left")  # noqa: B023
        assert downs(other, one) == ["peer_shutdown"]
        state = world.switch.table.locators(one.node.id)
        assert state is not None and state[1] == -1
        world.start(one)
        world.talk(one, other)


def test_leaving_is_told_over_loss() -> None:
    """CLOSE is repeated as long as the Switch still knows where the node is."""
    told = 0
    for seed in range(12):
        world, one, other = talking(seed, each_way(0.2))
        one.node.leave(world.now_of(one.node))
        assert world.run(1.1, lambda: one.node.ended == "left")  # noqa: B023
        world.run(0.1)
        told += downs(other, one) == ["peer_shutdown"]
    assert told >= 10


def test_leaving_while_nobody_answers() -> None:
    world, one, _ = talking()
    one.link.cut = True
    one.node.leave(world.now_of(one.node))
    assert world.run(1.1, lambda: one.node.ended == "left")


# -- Revocation


def three(seed: int, weather: Weather = CALM) -> tuple[World, Place, Place, Place]:
    world, one, other = talking(seed, weather)
    bad = world.add("10.77.0.66/32")
    world.talk(one, bad, 60.0), world.talk(other, bad, 60.0)
    return world, one, other, bad


def revoke(world: World, *members: Member) -> None:
    world.switch.take_crl(world.ca.revoke(*members), world.now_of(world.switch))


def sessions_with(place: Place, peer: Place) -> int:
    return sum(info.peer == peer.node.id for info in place.node.sessions.sessions())


def test_a_live_node_is_revoked() -> None:
    for seed in range(3):
        world, one, other, bad = three(seed, each_way(0.1) if seed % 2 else CALM)
        revoke(world, bad.node.member)
        assert world.run(5.0, lambda: bad.node.ended is not None)  # noqa: B023
        assert bad.node.ended == "revoked", "it is told why"
        world.run(5.0 if seed % 2 else 1.0)
        for place in (one, other):
            assert not sessions_with(place, bad)
            assert bad.node.id not in place.node.path.peers
            assert place.node.trust.crl_number == 1
        assert world.switch.table.record(bad.node.id) is None
        sent = [world.send(one, bad), world.send(other, bad)]
        world.run(3.0)
        assert not any(packet.arrived for packet in sent)
        world.talk(one, other)


def test_within_five_seconds_while_it_sends() -> None:
    """From the CRL on, its packets come through nowhere."""
    world, one, other, bad = three(1)
    revoke(world, bad.node.member)
    start = world.now.mono
    for _ in range(100):
        if bad.node.alive:
            world.send(bad, one), world.send(bad, other)
        world.send(one, other)
        world.run(0.05)
    world.run(0.1)  # both ways of the last one take up to 60 ms
    theirs = bad.node.member.identity.prefixes[0][0].packed
    since = [sent for sent in world.packets.values() if sent.at >= start and sent.to in (one, other)]
    revoked = [sent for sent in since if sent.packet[12:16] == theirs]
    assert revoked and not any(sent.arrived for sent in revoked)
    assert all(sent.arrived for sent in since if sent.at > start + 0.2 and sent.packet[12:16] != theirs)
    assert not bad.node.alive


def test_revoked_while_it_is_cut_off() -> None:
    for seed in range(3):
        world, one, other, bad = three(seed)
        bad.link.cut = True
        revoke(world, bad.node.member)
        world.run(5.0)
        assert not sessions_with(one, bad) and not sessions_with(other, bad)
        bad.link.cut = False
        assert world.run(60.0, lambda: bad.node.ended is not None)  # noqa: B023
        assert bad.node.ended == "revoked"


def test_revoked_while_the_switch_is_away() -> None:
    world, one, other, bad = three(2)
    world.run(12.0)
    world.switch.kill()
    world.switch.disk["crl"] = world.ca.revoke(bad.node.member)
    world.run(1.0)
    world.start_switch()
    assert world.run(40.0, lambda: bad.node.ended is not None)
    world.run(40.0)
    assert bad.node.ended == "revoked"
    assert not sessions_with(one, bad) and not sessions_with(other, bad)
    world.talk(one, other)


def test_it_cannot_come_back() -> None:
    world, one, other, bad = three(3)
    revoke(world, bad.node.member)
    world.run(5.0)
    for _ in range(3):
        world.start(bad)
        assert world.run(20.0, lambda: bad.node.ended is not None)
        assert bad.node.ended == "revoked"
    assert world.switch.table.record(bad.node.id) is None
    world.talk(one, other)


def test_a_peer_that_missed_the_list_gets_it_from_its_peers() -> None:
    """The link to the Switch loses all pieces of the list for one node; its peer passes it on inside TLS."""
    world, one, other, bad = three(1)
    other.link.down.down.add(other.locator)
    revoke(world, bad.node.member)
    world.run(3.0)
    assert other.node.trust.crl_number == 0
    other.link.down.down.clear()
    world.run(2.0)
    world.talk(one, other)
    world.run(3.0)
    assert other.node.trust.crl_number == 1 and not sessions_with(other, bad)


def test_a_long_list_over_loss() -> None:
    world, one, other, bad = three(1, each_way(0.1))
    world.ca._revoked |= dict.fromkeys(range(1 << 100, (1 << 100) + 2_000), world.ca.wall)
    revoke(world, bad.node.member)
    assert world.switch.trust.crl_der is not None and len(world.switch.trust.crl_der) > 50_000
    assert world.run(120.0, lambda: one.node.trust.crl_number == 1 and other.node.trust.crl_number == 1)
    assert not sessions_with(one, bad) and not sessions_with(other, bad)
