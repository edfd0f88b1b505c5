"""Who starts, who yields, what a restart does: exactly one session is left in every case."""

from __future__ import annotations

import pytest

from ovng.session.events import ConnectFailed, SessionUp
from ovng.wire.header import Header, PacketType
from ovng.wire.inner import CloseReason
from tests.pki_fixture import Network as Ca
from tests.sim.harness import Host, World, connected, talk
from tests.sim.network import CALM, LOSS_30, ROUGH, Weather


def pair_of(ca: Ca, seed: int = 1, weather: Weather = CALM) -> tuple[World, Host, Host]:
    """Two hosts, the lower ID first."""
    world = World(seed, weather)
    low, high = (world.add(member) for member in ca.pair())
    return world, low, high


def settle(world: World, one: Host, other: Host, seconds: float = 60) -> None:
    assert world.run(seconds, lambda: connected(one, other)), (one.events, other.events)


@pytest.mark.parametrize("gap", [0.0, 0.005, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12])
@pytest.mark.parametrize("first", ["low", "high"])
def test_simultaneous_start_leaves_one_session(ca: Ca, gap: float, first: str) -> None:
    world, low, high = pair_of(ca)
    order = (low, high) if first == "low" else (high, low)
    order[0].connect(order[1])
    world.run(gap)
    order[1].connect(order[0])
    settle(world, low, high)
    world.run(70)
    assert connected(low, high)
    for host, other in ((low, high), (high, low)):
        assert len(host.manager.sessions()) == 1
        assert [key for key in host.data.receive if key[0] == other.id] == list(host.data.receive)
        assert len(host.data.receive) == 1  # no key of a lost attempt is left
    talk(world, low, high)


def test_of_two_that_start_at_once_the_lower_is_the_client(ca: Ca) -> None:
    world, low, high = pair_of(ca)
    low.connect(high)
    high.connect(low)
    settle(world, low, high)
    assert low.manager.sessions()[0].initiator and not high.manager.sessions()[0].initiator
    assert low.manager.counters["simultaneous_ignored"] > 0
    assert high.manager.counters["simultaneous_yielded"] == 1
    assert len(low.ups()) == len(high.ups()) == 1


@pytest.mark.parametrize("seed", range(15))
def test_simultaneous_start_on_a_rough_network(ca: Ca, seed: int) -> None:
    world, low, high = pair_of(ca, seed, ROUGH if seed % 2 else LOSS_30)
    low.connect(high)
    high.connect(low)
    settle(world, low, high)
    world.network.weather = CALM
    world.run(70)
    assert connected(low, high)
    talk(world, low, high)


def test_an_attempt_that_stands_still_does_not_win(ca: Ca) -> None:
    """What the lower sends of its own is lost: it must not keep the higher from connecting for a minute."""
    world, low, high = pair_of(ca)

    def lost(header: Header, datagram: bytes) -> bool:  # the lower's own attempt hears nothing, but answers pass
        return header.src == low.id and header.type is PacketType.CONTROL and datagram[28] in (1, 3)

    world.drop = lost
    low.connect(high)
    world.run(1)
    high.connect(low)
    settle(world, low, high, 30)
    assert not low.manager.sessions()[0].initiator


def test_connect_to_a_silent_peer_fails_after_its_deadline_and_can_be_repeated(ca: Ca) -> None:
    world, low, high = pair_of(ca)
    world.network.down.add(high.id)
    low.connect(high)
    world.run(59)
    assert not low.all(ConnectFailed)
    world.run(2)
    assert low.all(ConnectFailed) == [ConnectFailed(high.id, "timeout")]
    sent = world.network.counters["sent"]
    assert sent < 60, "a silent peer gets a datagram every two seconds at most"
    world.run(120)
    assert world.network.counters["sent"] == sent, "nobody wants it any more"
    world.network.down.clear()
    low.connect(high)
    settle(world, low, high, 5)


def test_connecting_again_and_again_starts_one_attempt(ca: Ca) -> None:
    world, low, high = pair_of(ca)
    for _ in range(20):
        low.connect(high)
    settle(world, low, high)
    low.connect(high)
    world.run(5)
    assert len(low.ups()) == len(high.ups()) == 1


@pytest.mark.parametrize("seed", range(5))
def test_restart_of_one_side_replaces_the_session(ca: Ca, seed: int) -> None:
    """Only the peer has traffic; the killed and restarted one has nothing but an ID it is spoken to under."""
    world, low, high = pair_of(ca, seed)
    low.connect(high)
    settle(world, low, high)
    old = high.manager.sessions()[0].session_id
    old_key = next(iter(high.data.receive))
    world.seen.clear()
    low.start()
    started = world.now.mono
    high.send(low, b"are you there?")
    settle(world, low, high, 2)
    assert world.now.mono - started < 2
    talk(world, low, high)
    assert high.manager.sessions()[0].session_id != old
    assert old_key in high.data.receive, "the old generation goes on receiving"
    world.run(61)
    assert old_key not in high.data.receive
    assert len(high.data.receive) == 1
    assert not high.downs(), "a session that is replaced does not go down in between"


def test_unknown_data_starts_one_attempt_per_5_seconds_and_id(ca: Ca) -> None:
    world, low, high = pair_of(ca)
    world.network.down.add(high.id)
    for _ in range(100):
        low.manager.on_unknown_data(high.id, world.now)
    low.drain()
    assert low.manager.counters["unknown_data_limit"] == 99
    for number in range(1, 100):
        low.manager.on_unknown_data(type(high.id)(number), world.now)
    low.drain()
    assert low.manager.counters["unknown_data_limit"] == 99 + 80
    world.run(200)
    assert low.manager.deadline(world.now) is None, "nothing is left of them"
    assert not low.all(ConnectFailed), "nobody had asked for these"


def test_data_under_an_unknown_key_of_a_live_session_starts_nothing(ca: Ca) -> None:
    world, low, high = pair_of(ca)
    low.connect(high)
    settle(world, low, high)
    world.run(1)
    before = world.network.counters["sent"]
    low.manager.on_unknown_data(high.id, world.now)
    low.drain()
    world.run(30)
    assert world.network.counters["sent"] == before


def test_close_tells_why_and_ends_both_sides(ca: Ca) -> None:
    world, low, high = pair_of(ca, 3, LOSS_30)
    low.connect(high)
    settle(world, low, high)
    low.manager.end(high.id, CloseReason.SHUTDOWN, "going home", world.now)
    low.drain()
    assert [(down.peer, down.reason) for down in low.downs()] == [(high.id, "shutdown")]
    assert world.run(5, lambda: bool(high.downs()))
    assert [(down.reason, down.text) for down in high.downs()] == [("peer_shutdown", "going home")]
    for host in (low, high):
        assert not host.data.receive and not host.data.send and not host.manager.sessions()
    world.run(30)
    for host in (low, high):
        assert host.manager.deadline(world.now) is None
        assert not host.manager.busy


def test_shutdown_ends_all_and_starts_nothing_any_more(ca: Ca) -> None:
    world = World()
    hub, *others = (world.add(ca.node()) for _ in range(4))
    for other in others:
        hub.connect(other)
    assert world.run(5, lambda: all(connected(hub, other) for other in others))
    hub.manager.shutdown(world.now)
    hub.drain()
    assert hub.manager.busy
    assert world.run(5, lambda: not hub.manager.busy)
    assert [other.downs()[0].reason for other in others] == ["peer_shutdown"] * 3
    for other in others:
        other.connect(hub)
    hub.connect(others[0])
    world.run(5)
    assert not hub.manager.sessions()


def test_the_end_of_a_session_is_no_end_of_connecting(ca: Ca) -> None:
    world, low, high = pair_of(ca)
    low.connect(high)
    settle(world, low, high)
    high.manager.end(low.id, CloseReason.SHUTDOWN, "", world.now)
    high.drain()
    assert world.run(5, lambda: bool(low.downs()))
    low.connect(high)
    settle(world, low, high, 5)
    talk(world, low, high)


def test_ping_measures_and_only_when_asked(ca: Ca) -> None:
    world, low, high = pair_of(ca, weather=Weather(delay_min=0.05, delay_max=0.05))
    assert not low.manager.ping(high.id, world.now)
    low.connect(high)
    settle(world, low, high)
    world.run(5)
    sent = world.network.counters["sent"]
    world.run(300)
    assert world.network.counters["sent"] == sent, "an idle session says nothing"
    assert high.manager.sessions()[0].ping_rtt is None
    assert high.manager.ping(low.id, world.now)
    high.drain()
    world.run(1)
    rtt = high.manager.sessions()[0].ping_rtt
    assert rtt == pytest.approx(0.1, abs=0.001)
    assert low.manager.sessions()[0].srtt == pytest.approx(0.1, abs=0.03)


def test_status_names_cipher_group_and_handshake_time(ca: Ca) -> None:
    world, low, high = pair_of(ca)
    low.connect(high)
    settle(world, low, high)
    for host, other in ((low, high), (high, low)):
        (info,) = host.manager.sessions()
        (up,) = host.ups()
        assert isinstance(up, SessionUp)
        assert info.identity == up.identity == other.member.identity
        assert info.group == up.group and info.group in ("X25519", "X25519MLKEM768")
        assert info.tls_cipher.startswith("TLS_") and info.cipher == 1
        assert 0.02 < info.handshake_seconds < 0.5


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"), [((1, 2), (1, 2), 1), ((1, 2), (2, 1), 2), ((2,), (1, 2), 2), ((1,), (2, 1), 1)]
)
def test_cipher_is_agreed_inside_tls(ca: Ca, ours: tuple[int, ...], theirs: tuple[int, ...], agreed: int) -> None:
    world = World()
    one, other = ca.pair()
    low, high = world.add(one, ciphers=ours), world.add(other, ciphers=theirs)
    low.connect(high)
    settle(world, low, high)
    assert [host.manager.sessions()[0].cipher for host in (low, high)] == [agreed, agreed]
    talk(world, low, high)


def test_nothing_in_common_is_no_session(ca: Ca) -> None:
    world = World()
    one, other = ca.pair()
    low, high = world.add(one, ciphers=(1,)), world.add(other, ciphers=(2,))
    low.connect(high)
    world.run(5)
    assert not low.manager.sessions() and not high.manager.sessions()
    assert not low.data.receive and not high.data.receive
    (failed,) = low.all(ConnectFailed)
    assert isinstance(failed, ConnectFailed) and failed.reason in ("no_common_cipher", "peer_protocol_error")
