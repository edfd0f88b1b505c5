"""What those who prove nothing can do: cost little, learn nothing, change nothing."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import pytest

from ovng.fields import replace
from ovng.ids import Locator, NodeID
from ovng.limits import ATTEMPTS_PENDING, GENERATION_MAX
from ovng.session.attempt import Attempt
from ovng.session.attempts import LINGERING_MAX, OVER_MAX
from ovng.session.manager import SessionManager
from ovng.wire.control import Control, Cookie, Hello, Stream, StreamPart, parse_control
from ovng.wire.header import Header, PacketType
from ovng.wire.inner import Attach, Crl, Inner, Ping, Purpose, Ready
from tests.pki_fixture import Network as Ca
from tests.sim.harness import HEADER_SIZE, Host, World, connected, talk
from tests.sim.network import CALM, Weather
from tests.sim.test_session_attach import attach, attached, network_of

STRANGER = NodeID(0x5151)
SECRET_FIELDS = ("key", "iv", "report_master", "private_master")


def say(
    host: Host, message: Control | bytes, src: NodeID = STRANGER, context: bytes = b"", **header: Any
) -> list[Control]:
    """One CONTROL datagram from a stranger; what it is answered with."""
    payload = message if isinstance(message, bytes) else message.pack()
    fields = Header(PacketType.CONTROL, 0, 0, host.id, src, 0)._replace(**header)
    host.manager.receive(fields, payload, context, host.world.now)
    answers = host.manager.datagrams()
    assert sum(len(datagram) for datagram, _ in answers) <= HEADER_SIZE + len(payload)
    return [parse_control(datagram[HEADER_SIZE:]) for datagram, _ in answers]


def cookie_for(host: Host, attempt: int, src: NodeID = STRANGER, context: bytes = b"") -> bytes:
    (answer,) = say(host, Hello(attempt), src, context)
    assert isinstance(answer, Cookie) and answer.attempt == attempt
    return answer.cookie


def begin(
    host: Host, attempt: int, src: NodeID = STRANGER, piece: bytes = b"\x16\x03\x01", number: int = 1
) -> list[Control]:
    """The first part of a stream that says nothing yet, with a good cookie."""
    return say(host, Stream(attempt, StreamPart(number, 0, 0, piece), cookie_for(host, attempt, src)), src)


def attempts(host: Host) -> int:
    return len(host.manager._table)


def state(host: Host) -> tuple[object, ...]:
    """Everything that must not change."""
    infos = [(info.peer, info.session_id, info.generation) for info in host.manager.sessions()]
    return infos, sorted(host.data.receive), sorted(host.data.send), attempts(host), len(host.events)


@pytest.fixture
def host(ca: Ca) -> Host:
    return World().add(ca.node())


def test_asking_for_cookies_leaves_nothing(host: Host) -> None:
    for number in range(1, 5_001):
        cookie_for(host, number, NodeID(number))
    assert attempts(host) == 0 and not host.manager._peers
    assert host.manager.deadline(host.world.now) is None


def test_a_cookie_is_good_for_its_own_attempt_place_and_time_only(ca: Ca) -> None:
    world, switch, _ = network_of(ca)
    here, there = bytes(17) + b"\1", bytes(17) + b"\2"
    part = StreamPart(1, 0, 0, b"\x16")
    cookie = cookie_for(switch, 7, STRANGER, here)
    for wrong in (
        {"attempt": 8, "src": STRANGER, "context": here},
        {"attempt": 7, "src": NodeID(99), "context": here},
        {"attempt": 7, "src": STRANGER, "context": there},
    ):
        stream = Stream(wrong["attempt"], part, cookie)  # type: ignore[arg-type]
        (answer,) = say(switch, stream, wrong["src"], wrong["context"])  # type: ignore[arg-type]
        assert isinstance(answer, Cookie) and answer.cookie != cookie
    world.run(121)
    (answer,) = say(switch, Stream(7, part, cookie), STRANGER, here)
    assert isinstance(answer, Cookie)
    assert attempts(switch) == 0
    assert switch.manager.counters["cookie_not_good"] == 4
    assert say(switch, Stream(7, part, answer.cookie), STRANGER, here) == []
    assert attempts(switch) == 1


def test_a_cookie_lives_for_at_least_60_seconds(host: Host) -> None:
    for wait in (0.0, 30.0, 59.9):
        cookie = cookie_for(host, 7)
        host.world.run(wait)
        assert say(host, Stream(7, StreamPart(1, 0, 0, b"\x16"), cookie)) == []
        assert attempts(host) == 1
        host.world.run(200)


def test_the_middle_of_a_stream_begins_nothing(host: Host) -> None:
    cookie = cookie_for(host, 7)
    for part in (
        StreamPart(0, 0, 0, b""),
        StreamPart(13, 0, 0, b"x"),
        StreamPart(1, 1, 0, b"x"),
        StreamPart(1, 0, 1, b"x"),
    ):
        assert say(host, Stream(7, part, cookie)) == []
    assert say(host, Stream(7, StreamPart(1, 0, 0, b"x"))) == []  # as if we had asked
    assert say(host, Cookie(7, cookie)) == []
    assert attempts(host) == 0
    assert host.manager.counters["unknown_attempt"] == 6


def test_attempts_per_source(host: Host) -> None:
    for number in range(100):
        begin(host, number)
    assert host.manager.counters["attempts_limit"] == 95
    assert attempts(host) <= 2, "one attempt per peer; a failed one delivers its last words"
    host.world.run(1)
    begin(host, 1000)
    assert host.manager.counters["attempts_limit"] == 95


def test_attempts_in_total(host: Host) -> None:
    for number in range(1, 401):
        begin(host, number, NodeID(number))
    assert host.manager.counters["attempts_limit"] == 200
    assert attempts(host) == ATTEMPTS_PENDING
    host.world.run(70)
    assert attempts(host) == 0 and not host.manager._peers


def test_a_full_house_of_sleepers_keeps_nobody_out(ca: Ca) -> None:
    world = World()
    one, other = (world.add(member) for member in ca.pair())
    for number in range(1, ATTEMPTS_PENDING + 1):
        begin(one, number, NodeID(number))
    assert attempts(one) == ATTEMPTS_PENDING
    world.run(2)
    other.connect(one)
    assert world.run(5, lambda: connected(one, other))
    assert one.manager.counters["evicted"] == 1


def test_full_attachment_endpoint_lets_nodes_in_as_well(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    for number in range(1, ATTEMPTS_PENDING + 1):
        src, context = NodeID(number), Locator.of(f"203.0.{number}.1", 1024).packed()
        cookie = cookie_for(switch, number, src, context)
        say(switch, Stream(number, StreamPart(1, 0, 0, b"\x16"), cookie), src, context)
    assert attempts(switch) == ATTEMPTS_PENDING
    world.run(2)
    attach(node)
    assert world.run(5, lambda: bool(attached(node) and switch.settled()))


def knock(switch: Host, attempt: int, src: NodeID, at: Locator) -> None:
    """Begin an attempt as anybody can who receives at `at`, in the name of `src`."""
    now, context = switch.world.now, at.packed()
    header = Header(PacketType.CONTROL, 0, 0, NodeID(0), src, 0)
    switch.manager.receive(header, Hello(attempt).pack(), context, now)
    cookies = [parse_control(datagram[HEADER_SIZE:]) for datagram, to in switch.manager.datagrams() if to == context]
    (cookie,) = [answer.cookie for answer in cookies if isinstance(answer, Cookie) and answer.attempt == attempt]
    part = StreamPart(1, 0, 0, b"\x16")
    switch.manager.receive(header, Stream(attempt, part, cookie).pack(), context, now)
    switch.drain()


def flood(switch: Host, seconds: float, done: Callable[[], bool], knocks: Callable[[int], tuple[NodeID, int]]) -> bool:
    """2000 attempts per second from one site, evenly; True as soon as `done`."""
    world, first = switch.world, len(switch.manager._table._over) + 1
    for number in range(first, first + int(seconds * 2_000)):
        src, host = knocks(number)
        knock(switch, number, src, Locator.of(f"203.0.113.{host}", 1024 + number % 50_000))
        world.run(1 / 2_000)
        if done():
            return True
    return False


def test_one_stranger_cannot_fill_the_endpoint(ca: Ca) -> None:
    """At the Switch anybody may use any ID: here as many IDs as attempts."""
    _, switch, (node,) = network_of(ca)
    flood(switch, 2, lambda: False, lambda number: (NodeID(0x5000 + number), number % 250))
    attach(node)
    assert flood(switch, 2, lambda: bool(attached(node)), lambda number: (NodeID(0x9000 + number), number % 250))
    assert switch.manager.counters["attempts_limit"] and switch.manager.counters["attempts_pending"]


@pytest.mark.parametrize("late", [False, True], ids=["before", "in the middle"])
def test_a_stranger_in_a_nodes_name_does_not_keep_it_out(ca: Ca, late: bool) -> None:
    """IDs are in the clear: attempts in a node's name take neither its turn nor its attempt."""
    world, switch, (node,) = network_of(ca)
    if late:
        attach(node)
        world.run(0.06)
        assert attempts(switch) == 1 and not switch.settled()
    else:
        flood(switch, 1, lambda: False, lambda number: (node.id, 9))
        attach(node)
    assert flood(switch, 2, lambda: bool(attached(node)), lambda number: (node.id, 9))
    world.run(70)
    assert attempts(switch) == 0 and not switch.manager._attach_server._attempts


@pytest.mark.parametrize(
    ("payload", "header", "reason"),
    [
        (b"", {}, "truncated"),
        (b"\x09" + bytes(24), {}, "control_kind"),
        (Hello(1).pack() + b"\0", {}, "trailing"),
        (Hello(1).pack()[:-1] + b"\1", {}, "hello_padding"),
        (Hello(1).pack(), {"type": PacketType.REPORT}, "control_header"),
        (Hello(1).pack(), {"key_id": 1}, "control_header"),
        (Hello(1).pack(), {"flags": 1}, "control_header"),
        (Hello(1).pack(), {"number": 1}, "control_header"),
        (Hello(1).pack(), {"dst": NodeID(4)}, "not_for_me"),
        (Hello(1).pack(), {"dst": NodeID(0)}, "not_for_me"),
        (Stream(1, StreamPart(0, 9, 0, b"")).pack(), {}, "unknown_attempt"),
    ],
)
def test_malformed_is_counted_under_its_own_reason(
    host: Host, payload: bytes, header: dict[str, Any], reason: str
) -> None:
    before = state(host)
    assert say(host, payload, **header) == []
    assert host.manager.counters == {reason: 1}
    assert state(host) == before


def test_own_id_as_source_is_dropped(host: Host) -> None:
    assert say(host, Hello(1), src=host.id, dst=NodeID(0)) == []
    assert say(host, Hello(1), src=host.id) == []
    assert not host.manager._peers


def test_nonsense_in_tls_fails_the_attempt_and_only_it(host: Host) -> None:
    begin(host, 1, piece=b"GET / HTTP/1.1\r\n\r\n")
    assert host.manager.counters["tls_error"] == 1
    host.world.run(10)
    assert attempts(host) == 0 and not host.manager._peers


def test_endless_handshake_is_cut_off(host: Host) -> None:
    """Records of a handshake message that never ends: 64 KiB is the most that is listened to."""
    cookie = cookie_for(host, 1)
    record = b"\x16\x03\x03\x04\x00" + b"\x01\xff\xff\xff" + bytes(1020)
    for number in range(1, 100):
        say(host, Stream(1, StreamPart(number, 0, 0, record), cookie))
    assert host.manager.counters["tls_too_long"] + host.manager.counters["tls_error"] == 1
    host.world.run(10)
    assert attempts(host) == 0


def test_replay_of_a_whole_capture_changes_nothing(ca: Ca) -> None:
    world = World()
    low, high = (world.add(member) for member in ca.pair())
    low.connect(high)
    assert world.run(5, lambda: connected(low, high))
    low.manager.rekey_all(world.now)
    low.drain()
    assert world.run(5, lambda: connected(low, high) and low.manager.sessions()[0].generation == 1)
    world.run(100)  # within the life of the cookies, or nearly
    capture = [datagram for datagram in world.seen if datagram[0] & 15 == PacketType.CONTROL]
    for wait in (0, 200):
        world.run(wait)
        before = state(low), state(high)
        for datagram in capture:
            for host in (low, high):
                if datagram[4:12] == host.id.packed():
                    world.inject(host, datagram)
        world.run(100)
        assert (state(low), state(high)) == before
    talk(world, low, high)


def test_forged_parts_for_a_live_session_change_nothing(ca: Ca) -> None:
    """Right IDs and attempt ID, everything else guessed by someone who sees the datagrams but holds no key."""
    world = World()
    low, high = (world.add(member) for member in ca.pair())
    low.connect(high)
    assert world.run(5, lambda: connected(low, high))
    world.run(1)
    (attempt,) = (int.from_bytes(datagram[29:37], "big") for datagram in world.seen[:1])
    before = state(low), state(high)
    chance = random.Random(4)
    for _ in range(2_000):
        number, cumulative = chance.choice([(0, 0), (0, 1 << 31), (1, 0), (2, 1), (1 << 31, 3)])
        part = StreamPart(number, cumulative, chance.getrandbits(32), b"x" if number else b"")
        say(low, Stream(attempt, part), high.id)
        say(high, Stream(attempt, part, chance.randbytes(16)), low.id)
        say(low, Cookie(attempt, chance.randbytes(16)), high.id)
    world.run(5)
    assert (state(low), state(high)) == before
    talk(world, low, high)
    assert high.manager.ping(low.id, world.now)
    high.drain()
    world.run(5)
    assert connected(low, high)
    assert high.manager.sessions()[0].ping_rtt is not None


def test_a_million_guesses_in_miniature(host: Host) -> None:
    """Random payloads, of which many are nearly right: nothing is raised, nothing stays."""
    chance = random.Random(1)
    for _ in range(5_000):
        kind = chance.choice([b"\1", b"\2", b"\3", b"\4", chance.randbytes(1)])
        size = chance.choice([0, 24, 24, 40, 41, 60, 1140])
        say_raw(host.manager, host, kind + chance.randbytes(size), NodeID(chance.randrange(1, 50)))
    assert attempts(host) == 0 and not host.manager._peers
    assert not host.manager.events()


def say_raw(manager: SessionManager, host: Host, payload: bytes, src: NodeID) -> None:
    manager.receive(Header(PacketType.CONTROL, 0, 0, host.id, src, 0), payload, b"", host.world.now)
    assert sum(len(datagram) for datagram, _ in manager.datagrams()) <= HEADER_SIZE + len(payload)


@pytest.mark.parametrize("seed", range(8))
def test_corruption_delays_but_does_not_prevent(ca: Ca, seed: int) -> None:
    """UDP's check sum lets one in 65,536 through; here it is one in 20."""
    world = World(seed, Weather(corruption=0.05))
    low, high = (world.add(member) for member in ca.pair())
    low.connect(high)
    assert world.run(60, lambda: connected(low, high)), (low.manager.counters, high.manager.counters)
    world.network.weather = CALM
    world.run(65)
    assert connected(low, high)
    talk(world, low, high)


def test_no_secret_in_any_repr(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    peer = world.add(ca.node())
    attach(node)
    node.connect(peer)
    assert world.run(5, lambda: connected(node, peer) and bool(switch.settled()))
    secrets = {
        value
        for event in (*node.events, *switch.events)
        for name in SECRET_FIELDS
        if (value := getattr(event, name, None)) is not None
    }
    assert len(secrets) >= 6
    text = repr([node.events, switch.events, node.manager.sessions(), peer.manager._peers[node.id].session])
    for secret in secrets:
        assert repr(secret)[2:-1] not in text and secret.hex() not in text


# -- Peers with a good certificate and bad manners


def session_of(ca: Ca) -> tuple[World, Host, Host]:
    world = World()
    low, high = (world.add(member) for member in ca.pair())
    low.connect(high)
    assert world.run(5, lambda: connected(low, high))
    world.run(1)
    return world, low, high


def test_a_peer_that_takes_no_answers_gets_none(ca: Ca) -> None:
    """PINGs without end, and no acknowledgement of any PONG: what waits for it is bounded."""
    world, low, high = session_of(ca)
    channel = low.manager._peers[high.id].session.channel  # type: ignore[union-attr]
    assert channel is not None

    def deaf(header: Header, datagram: bytes) -> bool:
        return header.src == high.id and len(datagram) > HEADER_SIZE + 25  # its PONGs; pure acknowledgements pass

    world.drop = deaf
    for number in range(5_000):
        channel.send(Ping(number))
        if number % 200 == 0:
            low.manager.retry_now(world.now)
            low.drain()
            world.run(0.2)
    assert high.manager.counters["ping_dropped"] > 1_000
    answering = high.manager._peers[low.id].session.channel  # type: ignore[union-attr]
    assert answering is not None and answering.stream.backlog < 10_000


def test_crls_are_put_to_the_proof_now_and_then_only(ca: Ca) -> None:
    world, low, high = session_of(ca)
    channel = low.manager._peers[high.id].session.channel  # type: ignore[union-attr]
    assert channel is not None
    forged = Ca()
    for _ in range(20):
        channel.send(Crl(forged.revoke()))
    low.manager.retry_now(world.now)
    low.drain()
    world.run(2)
    assert high.manager.counters["crl_not_taken"] == 3
    assert high.manager.counters["crl_too_often"] == 17
    assert connected(low, high) and high.member.trust.crl_number == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\x06\x00\x01x", "truncated"),  # PING too short
        (b"\x03\xff\xff", "inner_length"),
        (Attach(1, 0, 0, 25).pack(), "not_an_attachment"),
        (Ready(Purpose.SESSION, NodeID(1), NodeID(2), 0, 0, 0, 3, bytes(32), 0, 1).pack(), "ready_twice"),
    ],
)
def test_breaking_the_protocol_inside_tls_ends_the_session(ca: Ca, message: bytes, reason: str) -> None:
    world, low, high = session_of(ca)
    channel = low.manager._peers[high.id].session.channel  # type: ignore[union-attr]
    assert channel is not None
    channel.channel.send(message)
    low.manager.retry_now(world.now)
    low.drain()
    world.run(1)
    assert [down.reason for down in high.downs()] == [reason]
    assert [down.reason for down in low.downs()] == ["peer_protocol_error"]
    for host in (low, high):
        assert not host.data.receive and not host.data.send and not host.manager.sessions()


def test_unknown_messages_inside_tls_are_skipped(ca: Ca) -> None:
    world, low, high = session_of(ca)
    channel = low.manager._peers[high.id].session.channel  # type: ignore[union-attr]
    assert channel is not None
    channel.channel.send(b"\x63\x00\x05hello" + Ping(3).pack())
    low.manager.retry_now(world.now)
    low.drain()
    world.run(1)
    assert high.manager.counters["inner_unknown"] == 1
    assert connected(low, high)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sender": NodeID(77)}, "ready_ids"),
        ({"receiver": NodeID(77)}, "ready_ids"),
        ({"purpose": Purpose.ATTACHMENT}, "ready_purpose"),
        ({"ciphers": 0}, "no_common_cipher"),
    ],
)
def test_ready_that_does_not_fit_is_no_session(
    ca: Ca, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str
) -> None:
    world = World()
    low, high = (world.add(member) for member in ca.pair())
    true_send = Attempt.send

    def send(attempt: Attempt, message: Inner) -> None:
        lying = isinstance(message, Ready) and attempt._env.me == low.id
        true_send(attempt, replace(message, **changes) if lying else message)

    monkeypatch.setattr(Attempt, "send", send)
    low.connect(high)
    world.run(5)
    assert high.manager.counters[reason] >= 1
    for host in (low, high):
        assert not host.data.receive and not host.data.send and not host.manager.sessions()


def test_server_may_not_choose_session_or_generation(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    low, high = (world.add(member) for member in ca.pair())
    true_send = Attempt.send

    def send(attempt: Attempt, message: Inner) -> None:
        if isinstance(message, Ready) and attempt._env.me == high.id:
            message = replace(message, generation=5)
        true_send(attempt, message)

    monkeypatch.setattr(Attempt, "send", send)
    low.connect(high)
    world.run(5)
    assert low.manager.counters["ready_terms"] >= 1
    assert not low.data.receive and not low.data.send
    assert not high.data.send


def test_nothing_is_heard_ahead_of_ready(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    low, high = (world.add(member) for member in ca.pair())
    true_send = Attempt.send

    def send(attempt: Attempt, message: Inner) -> None:
        if isinstance(message, Ready) and attempt._env.me == low.id:
            true_send(attempt, Crl(b"not yet"))
        true_send(attempt, message)

    monkeypatch.setattr(Attempt, "send", send)
    low.connect(high)
    world.run(5)
    assert high.manager.counters["not_ready"] >= 1 and not high.manager.counters["crl_not_taken"]
    assert not high.manager.sessions() and not high.data.receive


def test_memory_of_what_is_over_is_bounded(ca: Ca) -> None:
    world = World()
    host = world.add(ca.node())
    for number in range(1, OVER_MAX + 500):
        if number % 150 == 0:
            world.run(1)
        begin(host, number, NodeID(number), piece=b"nonsense")
        assert attempts(host) <= LINGERING_MAX + 1
    assert len(host.manager._table._over) <= OVER_MAX
    world.run(10)
    assert attempts(host) == 0 and not host.manager._peers


@pytest.mark.parametrize("rekeys_next", ["low", "high"])
def test_a_generation_at_the_end_of_its_numbers_is_followed_by_a_new_session(ca: Ca, rekeys_next: str) -> None:
    """A peer may name any generation; ours must not overflow because of it."""
    world, low, high = session_of(ca)
    session = low.manager._peers[high.id].session
    assert session is not None
    session.generation = replace(session.generation, number=GENERATION_MAX - 1)
    low.manager.rekey_all(world.now)
    low.drain()
    assert world.run(5, lambda: [info.generation for info in high.manager.sessions()] == [GENERATION_MAX])
    world.run(1)
    host = low if rekeys_next == "low" else high
    host.manager.rekey_all(world.now)
    host.drain()
    assert world.run(5, lambda: connected(low, high) and high.manager.sessions()[0].generation == 0)
    talk(world, low, high)


def held_by(root: object) -> set[bytes]:
    """All bytes that an object keeps alive, through whatever holds them."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) not in seen and not isinstance(thing, (type, ModuleType, FunctionType)):
            seen[id(thing)] = thing
            waiting += gc.get_referents(thing)
    return {thing for thing in seen.values() if isinstance(thing, bytes)}


def test_keys_are_handed_over_and_not_kept(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data path has the keys. What would give them back is gone with the handshake, the TLS channel apart."""
    world, switch, (node,) = network_of(ca)
    peer = world.add(ca.node())
    secrets: set[bytes] = set()
    true_send = Attempt.send

    def send(attempt: Attempt, message: Inner) -> None:
        if isinstance(message, Ready):
            secrets.add(message.random)
        true_send(attempt, message)

    monkeypatch.setattr(Attempt, "send", send)
    attach(node)
    node.connect(peer)
    assert world.run(5, lambda: connected(node, peer) and bool(switch.settled() and attached(node)))
    world.run(1)
    for host in (node, peer, switch):
        secrets |= {getattr(event, name) for event in host.events for name in SECRET_FIELDS if hasattr(event, name)}
    assert len(secrets) >= 4 + 6
    for host in (node, peer, switch):
        held = held_by(host.manager)
        assert host.member.trust.ca_public_key in held, "the walk sees what is there"
        assert not held & secrets
