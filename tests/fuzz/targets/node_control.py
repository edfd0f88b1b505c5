"""CONTROL at nodes and at the Switch, with sessions up and handshakes at every step, by one who holds no key.

The world is that of `tests/sim`, whose hosts really seal and open: two nodes and a Switch. The stranger sees every
datagram; it holds back, changes, repeats and invents, in anybody's name. Whatever it does, no session ends and none
begins but between those who proved themselves; and when it stops, they talk.
"""

from __future__ import annotations

from collections.abc import Callable

from ovng.errors import Malformed
from ovng.ids import Locator, NodeID
from ovng.limits import HEADER_SIZE, STREAM_WINDOW
from ovng.session.attempt import BACKLOG_MAX
from ovng.session.events import Attached, AttachRequested, AttachSettled, Event, InstallSend, SessionDown, SessionUp
from ovng.wire.control import Control, Cookie, Hello, Stream, StreamPart, parse_control
from ovng.wire.header import Header, PacketType, parse_header
from ovng.wire.inner import Attach, Grant, GrantStatus
from tests.fuzz.actors import bob, switch, truck
from tests.fuzz.choices import Choices
from tests.sim.harness import Host, World, connected, talk

STEPS_MAX = 24
STRANGER = NodeID(0x5151)
SECONDS = (0.0, 0.001, 0.021, 0.03, 0.1, 0.5, 3.0, 11.0)
PATIENCE = 200.0  # seconds of virtual time after which honest ends must have found each other


class Stage:
    """The world, and the stranger in the middle of it."""

    def __init__(self) -> None:
        self.world = World(seed=7)
        self.truck, self.bob = (self.world.add(member()) for member in (truck, bob))
        self.switch = self.world.add(switch())
        self.switch.grants = grant
        self.hosts = (self.truck, self.bob, self.switch)
        self.held: list[bytes] = []
        """Datagrams that the stranger keeps from arriving."""
        self.holding = False
        self.world.drop = self._hold

    def _hold(self, header: Header, datagram: bytes) -> bool:
        if self.holding:
            self.held.append(datagram)
        return self.holding

    @property
    def seen(self) -> list[bytes]:
        return self.world.seen

    def inject(self, target: Host, datagram: bytes) -> None:
        """Out of nowhere, and held to the laws."""
        said = len(self.world.seen)
        before = target.manager.counters.total(), len(target.events), len(target.manager._table)
        self.world.inject(target, datagram)
        answers = self.world.seen[said:]
        if _is_strangers(target, datagram):
            assert sum(map(len, answers)) <= len(datagram), "a stranger was answered with more than it sent"
        after = target.manager.counters.total(), len(target.events), len(target.manager._table)
        if len(datagram) < HEADER_SIZE:
            assert after == before and not answers

    def check(self) -> None:
        """Laws that hold at any time."""
        honest = {host.id for host in self.hosts}
        for host in self.hosts:
            for event in host.events:
                assert not isinstance(event, SessionDown), f"a stranger ended a session ({event.reason})"
                assert _names(event) <= honest, "a session with a stranger"
            for attempt, _ in host.manager._table._attempts.values():
                assert len(attempt.stream._arrived) <= STREAM_WINDOW
                assert attempt.stream.backlog <= BACKLOG_MAX


def grant(request: AttachRequested) -> Grant:
    """Everybody may attach."""
    observed = Locator.unpack(request.context) if request.context else Locator.of("192.0.2.99", 1)
    return Grant(GrantStatus.GRANTED, 1, 86_400, 77, observed, 0, b"ticket")


def _is_strangers(target: Host, datagram: bytes) -> bool:
    """In the name of nobody with whom `target` has, after it, a handshake: so all that it got is a cookie at most."""
    try:
        header = parse_header(datagram)
    except Malformed:
        return True
    return not any(key[0] in (header.src, 0) for key in target.manager._table._attempts)


def _names(event: Event) -> set[NodeID]:
    match event:
        case SessionUp():
            return {event.peer, event.identity.id}
        case InstallSend():
            return {event.peer}
        case AttachRequested():
            return {event.identity.id}
        case AttachSettled():
            return {event.node_id}
        case Attached():
            return {event.switch_id}
        case _:
            return set()


def raw(stage: Stage, choices: Choices) -> None:
    """Any bytes."""
    target = choices.pick(stage.hosts)
    stage.inject(target, choices.chunk(4_096))


def changed(stage: Stage, choices: Choices) -> None:
    """A datagram that was on its way before, changed, to whom it was meant for or to another."""
    if not stage.seen:
        return
    datagram = choices.changed(stage.seen[-1 - choices.u8() % len(stage.seen)])
    meant = [host for host in stage.hosts if datagram[4:12] in (host.id.packed(), bytes(8))]
    target = choices.pick(meant) if meant and choices.flag() else choices.pick(stage.hosts)
    stage.inject(target, datagram)


def forged(stage: Stage, choices: Choices) -> None:
    """A CONTROL message with fields of its choice; cookies and attempt IDs are those that it saw."""
    target, src = choices.pick(stage.hosts), choices.pick((STRANGER, *(host.id for host in stage.hosts)))
    attempt, cookie = _overheard(stage, choices)
    piece = choices.chunk(1_100)
    number, cumulative = choices.integer() & 0xFFFFFFFF if piece else 0, choices.below(14)
    part = StreamPart(number if choices.flag() else min(number, len(piece), 12), cumulative, choices.u16(), piece)
    streams = Stream(attempt, part, cookie), Stream(attempt, part)
    messages: tuple[Control, ...] = (Hello(attempt), Cookie(attempt, cookie), *streams)
    header = Header(PacketType.CONTROL, 0, 0, target.id, src, 0)
    stage.inject(target, choices.changed(header.pack() + choices.pick(messages).pack()))


def _overheard(stage: Stage, choices: Choices) -> tuple[int, bytes]:
    """(attempt ID, cookie) from the wire."""
    attempt, cookie = choices.below(4), bytes(16)
    for datagram in stage.seen[choices.u8() % (len(stage.seen) + 1) :]:
        if datagram[0] & 15 != PacketType.CONTROL:
            continue
        message = parse_control(datagram[HEADER_SIZE:])
        if isinstance(message, Cookie):
            return message.attempt, message.cookie
        attempt = message.attempt
        if isinstance(message, Stream) and message.cookie is not None:
            return attempt, message.cookie
    return attempt, cookie


def data(stage: Stage, choices: Choices) -> None:
    """DATA that opens under no key."""
    target, src = choices.pick(stage.hosts[:2]), choices.pick((STRANGER, *(host.id for host in stage.hosts)))
    header = Header(PacketType.DATA, choices.u8(), 0, target.id, src, choices.integer())
    if src != target.id:
        stage.world.inject(target, header.pack() + choices.chunk(200))


def let_pass(stage: Stage, choices: Choices) -> None:
    """What was held back goes on, the newest first."""
    stage.holding = False
    for datagram in reversed(stage.held[-1 - choices.below(12) :]):
        target = next((host for host in stage.hosts if host.id.packed() == datagram[4:12]), stage.switch)
        stage.world.inject(target, datagram)
    stage.held.clear()


def hold(stage: Stage, choices: Choices) -> None:
    """Nothing arrives for a while."""
    stage.holding = True
    stage.world.run(choices.pick(SECONDS))


def wait(stage: Stage, choices: Choices) -> None:
    """Time passes."""
    stage.world.run(choices.pick(SECONDS))


def connect(stage: Stage, choices: Choices) -> None:
    """The honest ends do what they do."""
    one, other = (stage.truck, stage.bob) if choices.flag() else (stage.bob, stage.truck)
    match choices.below(4):
        case 0 | 1:
            one.connect(other)
        case 2:
            one.manager.rekey_all(stage.world.now)
        case 3:
            one.send(other, b"traffic")
    one.drain()


def attach(stage: Stage, choices: Choices) -> None:
    """A node attaches."""
    node = stage.truck if choices.flag() else stage.bob
    node.manager.attach(stage.world.now, Attach(1, 0, 1 + choices.below(2), 25))
    node.drain()


def up(stage: Stage, choices: Choices) -> None:
    """A session, quickly: the rest of the program happens to it."""
    stage.holding = False
    stage.truck.connect(stage.bob)
    stage.world.run(10.0, lambda: connected(stage.truck, stage.bob))


STEPS: tuple[Callable[[Stage, Choices], None], ...] = (
    raw,
    changed,
    forged,
    data,
    let_pass,
    hold,
    wait,
    connect,
    attach,
    up,
)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    stage, choices = Stage(), Choices(data)
    for step in choices.steps(STEPS, STEPS_MAX):
        step(stage, choices)
        stage.check()
    stage.holding = False
    assert stage.world.run(PATIENCE, lambda: _met(stage)), "they do not find each other any more"
    talk(stage.world, stage.truck, stage.bob)
    stage.check()


def _met(stage: Stage) -> bool:
    """Traffic waits at both ends; sooner or later there is a session."""
    for one, other in ((stage.truck, stage.bob), (stage.bob, stage.truck)):
        one.connect(other)
    return connected(stage.truck, stage.bob)
