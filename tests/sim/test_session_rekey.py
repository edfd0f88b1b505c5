"""Generations: rekeying by time, limit and certificate, under loss, at both ends at once, and when it cannot be."""

from __future__ import annotations

import pytest

from ovng.limits import OLD_KEY_RECEIVES
from ovng.session.events import ConnectFailed, RetireSend
from ovng.wire.header import Header, PacketType
from ovng.wire.inner import CloseReason
from tests.pki_fixture import Member, Network
from tests.pki_fixture import Network as Ca
from tests.sim.harness import Host, World, connected, talk
from tests.sim.network import CALM, ROUGH, Weather

REKEY = 100.0


def up(ca: Ca, seed: int = 1, weather: Weather = CALM, rekey: float = REKEY) -> tuple[World, Host, Host]:
    """Two connected hosts, the lower ID first."""
    world = World(seed, weather)
    low, high = (world.add(member, rekey_seconds=rekey) for member in ca.pair())
    low.connect(high)
    assert world.run(60, lambda: connected(low, high))
    return world, low, high


def generation(host: Host) -> int:
    return host.manager.sessions()[0].generation


def traffic(world: World, one: Host, other: Host, seconds: float, interval: float = 0.5) -> tuple[int, int]:
    """Packets both ways all the time; (sent, arrived)."""
    counts = len(one.data.got) + len(other.data.got)
    sent = 0
    for _ in range(int(seconds / interval)):
        for source, target in ((one, other), (other, one)):
            assert source.send(target, b"x"), "a session never lacks a key while it is rekeyed"
            sent += 1
        world.run(interval)
    world.run(1.0)
    return sent, len(one.data.got) + len(other.data.got) - counts


def test_rekey_by_time_loses_no_packet(ca: Ca) -> None:
    world, low, high = up(ca)
    session = low.manager.sessions()[0].session_id
    sent, arrived = traffic(world, low, high, 10 * REKEY)
    assert arrived == sent
    assert 10 <= generation(low) <= 11
    assert connected(low, high)
    assert low.manager.sessions()[0].session_id == session
    assert [event.generation for event in low.ups()] == list(range(generation(low) + 1))
    assert len({event.session_id for event in high.ups()}) == 1


def test_rekey_every_5_seconds_keeps_within_the_data_paths_generations(ca: Ca) -> None:
    """The old ones would receive for 60 s; the harness holds as many generations as the data path has room for."""
    world, low, high = up(ca, rekey=5.0)
    sent, arrived = traffic(world, low, high, 60.0, interval=0.25)
    assert arrived == sent
    assert generation(low) >= 12


@pytest.mark.parametrize("seed", range(8))
def test_rekey_under_loss_and_reordering(ca: Ca, seed: int) -> None:
    """Handshake datagrams suffer; each data packet that the network delivers can be opened."""
    world, low, high = up(ca, seed)
    world.network.weather = Weather(loss=0.3, duplication=0.1, reordering=0.2)
    traffic(world, low, high, 5 * REKEY)
    for host in (low, high):
        assert not host.data.counters, f"packets that could not be opened: {host.data.counters}"
    world.network.weather = CALM
    world.run(65)
    assert connected(low, high)
    assert generation(low) >= 4 and not low.downs() and not high.downs()
    talk(world, low, high)


def test_rekey_begins_within_the_jitter(ca: Ca) -> None:
    ages = set()
    for seed in range(6):
        world, low, high = up(ca, seed)
        start = world.now.boot
        assert world.run(REKEY + 1, lambda: generation(low) == 1 == generation(high))  # noqa: B023
        ages.add(round(world.now.boot - start, 3))
    assert all(0.89 * REKEY <= age <= REKEY + 0.5 for age in ages)
    assert len(ages) > 1


@pytest.mark.parametrize("weather", [CALM, ROUGH])
def test_simultaneous_rekey_makes_one_generation(ca: Ca, weather: Weather) -> None:
    world, low, high = up(ca, 2, weather)
    for host in (low, high):
        host.manager.rekey_all(world.now)
        host.drain()
    assert world.run(60, lambda: connected(low, high) and generation(low) >= 1)
    world.network.weather = CALM
    world.run(65)
    assert connected(low, high)
    assert len(low.data.receive) == len(high.data.receive) == 1
    talk(world, low, high)
    if weather is CALM:
        assert generation(low) == 1


def test_limit_event_rekeys_once(ca: Ca) -> None:
    world, low, high = up(ca)
    key_id = high.data.send[low.id].key_id
    for _ in range(5):
        high.manager.on_limit(low.id, key_id, world.now)
        high.drain()
    assert world.run(5, lambda: generation(high) == 1 and connected(low, high))
    high.manager.on_limit(low.id, (key_id + 128) % 256, world.now)  # of no generation alive
    high.drain()
    world.run(5)
    assert generation(high) == 1


def test_at_the_hard_limit_the_sending_key_dies_and_traffic_waits(ca: Ca) -> None:
    world, low, high = up(ca)
    used = high.data.send[low.id].key_id
    world.drop = lambda header, datagram: header.type is PacketType.CONTROL
    for key_id, sends in (((used + 128) % 256, True), (used, False), (used, False)):
        high.manager.on_limit(low.id, key_id, world.now, hard=True)
        high.drain()
        assert (low.id in high.data.send) is sends
    assert low.send(high, b"still heard")
    world.run(1)
    assert high.data.got[-1] == (low.id, b"still heard")
    world.drop = lambda header, datagram: False
    assert world.run(10, lambda: connected(low, high) and generation(high) == 1)
    talk(world, low, high)


@pytest.mark.parametrize("end", ["age", "close"])
def test_what_ends_a_session_whose_sending_key_died_retires_no_key_twice(ca: Ca, end: str) -> None:
    world, low, high = up(ca)
    world.drop = lambda header, datagram: True
    high.manager.on_limit(low.id, high.data.send[low.id].key_id, world.now, hard=True)
    high.drain()
    if end == "age":
        world.run(3 * REKEY + 1)
    else:
        high.manager.end(low.id, CloseReason.SHUTDOWN, "", world.now)
        high.drain()
    assert not high.data.send and not high.data.receive


def test_old_generation_receives_for_60_seconds(ca: Ca) -> None:
    world, low, high = up(ca)
    late = high.data.seal(low.id, b"late"), low.data.seal(high.id, b"late")
    low.manager.rekey_all(world.now)
    low.drain()
    assert world.run(5, lambda: connected(low, high) and generation(low) == 1)
    world.run(OLD_KEY_RECEIVES - 1)
    for target, datagram in zip((low, high), late, strict=True):
        assert datagram is not None
        world.inject(target, datagram)
        assert target.data.got[-1][1] == b"late"
    world.run(2)
    assert len(low.data.receive) == len(high.data.receive) == 1


def test_link_lost_between_ready_and_its_acknowledgement(ca: Ca) -> None:
    """The client has settled, the server has not, and both stay cut off for five minutes: at return, each end can
    open what the other sends, and a rekey repairs the rest."""
    world, low, high = up(ca, rekey=3600.0)
    low.manager.rekey_all(world.now)
    low.drain()
    assert world.run(5, lambda: generation(low) == 1)  # low is the client; its acknowledgement is still on its way
    assert generation(high) == 0
    world.network.down.add(high.id)
    world.run(300)
    world.network.down.clear()
    before = len(low.data.got), len(high.data.got)
    assert low.send(high, b"new") and high.send(low, b"old")
    world.run(0.5)
    assert (len(low.data.got), len(high.data.got)) == (before[0] + 1, before[1] + 1)
    assert world.run(120, lambda: connected(low, high) and generation(low) >= 1)
    assert not low.downs() and not high.downs()
    talk(world, low, high)


def test_candidate_without_session_is_dropped_at_the_deadline(ca: Ca) -> None:
    """READY is never acknowledged: the key that received for it goes away, and nobody sent under it."""
    world = World()
    low, high = (world.add(member) for member in ca.pair())
    low.connect(high)
    assert world.run(5, lambda: bool(high.data.receive))  # READY is on its way
    world.network.down.add(low.id)
    world.run(130)
    assert not high.data.receive and not high.data.send and not high.manager.sessions()
    assert not high.ups()
    world.run(200)
    assert high.manager.deadline(world.now) is None


def test_coverage_gap_never_ends_a_session(ca: Ca) -> None:
    """A gap longer than the rekey time: the old key serves, the rekey runs at return."""
    world, low, high = up(ca)
    world.network.down.add(low.id)
    world.run(2 * REKEY)
    assert not low.downs() and not high.downs()
    assert low.send(high, b"waiting") and high.send(low, b"waiting")  # keys are still there
    world.network.down.clear()
    low.manager.retry_now(world.now)
    low.drain()
    assert world.run(5, lambda: connected(low, high) and generation(low) >= 1)
    talk(world, low, high)
    assert len({event.session_id for event in (*low.ups(), *high.ups())}) == 1


def test_keys_die_at_three_times_the_rekey_time(ca: Ca) -> None:
    world, low, high = up(ca)
    session = low.manager.sessions()[0].session_id
    world.network.down.add(low.id)
    world.run(3 * REKEY - 1)
    assert low.data.send and low.data.receive
    world.run(2)
    for host in (low, high):
        assert not host.data.send and not host.data.receive
        assert len(host.all(RetireSend)) == 1
        assert not host.manager.sessions()[0].has_keys
        assert not host.downs(), "silence does not end a session"
    world.run(300)
    sent = world.network.counters["sent"]
    world.run(300)
    assert world.network.counters["sent"] == sent, "a peer that is gone is not called for ever"
    assert not low.send(high, b"are you back?")
    world.run(200)
    assert not low.all(ConnectFailed), "nor is it given up"
    world.network.down.clear()
    assert not high.send(low, b"I am")
    assert world.run(5, lambda: connected(low, high))
    assert low.manager.sessions()[0].session_id == session
    assert generation(low) >= 1
    talk(world, low, high)


def test_sleep_ages_keys(ca: Ca) -> None:
    """The monotonic clock stands still in suspend; keys age all the same."""
    world, low, high = up(ca)
    world.clock.sleep(1.5 * REKEY)
    assert world.run(5, lambda: connected(low, high) and generation(low) == 1)
    world.clock.sleep(3.1 * REKEY)
    for host in (low, high):
        host.manager.handle_timer(world.now)
        host.drain()
        assert not host.data.send
    assert world.run(5, lambda: connected(low, high))


def test_idle_session_is_not_rekeyed_until_it_has_traffic(ca: Ca) -> None:
    world = World()
    one, other = ca.pair()
    low, high = (world.add(member, rekey_seconds=REKEY, watch_traffic=True) for member in (one, other))
    low.connect(high)
    assert world.run(5, lambda: connected(low, high))
    world.run(1)
    sent = world.network.counters["sent"]
    world.run(2 * REKEY)
    assert world.network.counters["sent"] == sent, "idle costs nothing"
    assert low.send(high, b"I am back")
    assert world.run(31, lambda: connected(low, high) and generation(low) == 1)
    world.run(4 * REKEY)
    assert not low.data.send, "keys die of age also where nobody uses them"
    assert not low.send(high, b"again")
    assert world.run(5, lambda: connected(low, high))
    talk(world, low, high)


def test_new_certificate_rekeys_every_session_at_once(ca: Ca) -> None:
    world, low, high = up(ca)
    old = low.member.identity
    renewed = renew(ca, low.member)
    low.manager.replace_trust(renewed.trust, world.now)
    low.drain()
    assert world.run(5, lambda: connected(low, high) and generation(low) == 1)
    shown = high.manager.sessions()[0].identity
    assert shown.serial == renewed.identity.serial != old.serial
    assert low.manager.sessions()[0].session_id == high.ups()[0].session_id


def test_new_certificate_during_a_handshake_is_the_one_shown(ca: Ca) -> None:
    world = World()
    low, high = (world.add(member) for member in ca.pair())
    high.connect(low)
    world.run(0.07)  # TLS is under way, the low one has shown its old certificate
    renewed = renew(ca, low.member)
    low.manager.replace_trust(renewed.trust, world.now)
    low.drain()
    low.connect(high)
    assert world.run(70, lambda: connected(low, high))
    world.run(5)
    assert high.manager.sessions()[0].identity.serial == renewed.identity.serial


def test_certificate_of_another_id_is_refused(ca: Ca) -> None:
    world, low, high = up(ca)
    with pytest.raises(ValueError, match="another ID"):
        low.manager.replace_trust(high.member.trust, world.now)


def test_broken_channel_costs_no_session(ca: Ca) -> None:
    """Garbage injected into a live TLS stream (an attacker on the path) breaks TLS; the data keys stay good."""
    world, low, high = up(ca)
    world.run(1)
    broken = False

    def corrupt(header: Header, datagram: bytes) -> bool:
        nonlocal broken
        if header.type is PacketType.CONTROL and header.src == low.id and len(datagram) > 100 and not broken:
            broken = True
            changed = bytearray(datagram)
            changed[-1] ^= 1
            world.network.send(low.id, high.id, bytes(changed), world.now.mono)
            return True
        return False

    world.drop = corrupt
    assert low.manager.ping(high.id, world.now)
    low.drain()
    world.run(0.1)
    assert broken and high.manager.counters["channel_lost"] == 1
    assert connected(low, high)
    assert world.run(10, lambda: connected(low, high) and generation(high) == 1)
    assert not low.downs() and not high.downs()
    assert high.manager.ping(low.id, world.now)


def renew(ca: Network, member: Member) -> Member:
    """A new certificate for the same key, as `ovng ca renew` makes it."""
    return ca.renew(member)
