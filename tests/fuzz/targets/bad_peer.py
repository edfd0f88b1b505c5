"""Inside TLS by one whose certificate is good: any bytes as messages, at any time, to a node and to the Switch.

Such a peer may ruin its own session, nobody else's, and make nothing grow: neither buffers nor what has to be sent.
"""

from __future__ import annotations

from collections.abc import Callable

from ovng.ids import UNKNOWN_LOCATOR
from ovng.limits import INNER_MESSAGE_MAX
from ovng.session.attempt import BACKLOG_MAX, Attempt, AttemptFailed
from ovng.session.events import CrlChanged, SessionDown
from ovng.wire.buffer import Writer
from ovng.wire.inner import Attach, Close, CloseReason, Crl, Grant, Inner, Ping, Pong, Purpose, Ready
from tests.fuzz.actors import bob, mallory, network, switch, truck
from tests.fuzz.choices import Choices
from tests.fuzz.targets.node_control import SECONDS, grant
from tests.pki_fixture import Network
from tests.sim.harness import Host, World, connected, talk

STEPS_MAX = 24
FORGED = (
    network().authority.crl(1, {}, network().wall)[:-8] + bytes(8),
    Network().authority.crl(2, {}, network().wall),
)
"""Revocation lists that the CA has not signed."""


class Stage:
    """A node with a session to `bob` and one to `mallory`, who also attaches."""

    def __init__(self) -> None:
        self.world = World(seed=9)
        self.truck, self.bob, self.mallory = (self.world.add(member()) for member in (truck, bob, mallory))
        self.switch = self.world.add(switch())
        self.switch.grants = grant
        self.truck.connect(self.bob)
        assert self.world.run(10.0, lambda: connected(self.truck, self.bob))
        self.session = self._session()

    def _session(self) -> tuple[int, int]:
        (info,) = (info for info in self.truck.manager.sessions() if info.peer == self.bob.id)
        return info.session_id, info.generation

    def attempts(self) -> list[Attempt]:
        """Mallory's conversations that have got as far as TLS."""
        found = [attempt for attempt, _ in self.mallory.manager._table._attempts.values()]
        return [attempt for attempt in found if not attempt.lingering and attempt._channel is not None]

    def check(self) -> None:
        assert self._session() == self.session, "another's session has changed"
        for host in (self.truck, self.switch):
            for event in host.events:
                assert not isinstance(event, SessionDown) or event.peer == self.mallory.id
                assert not isinstance(event, CrlChanged), "a revocation list that nobody signed"
            for attempt, _ in host.manager._table._attempts.values():
                assert attempt.stream.backlog <= BACKLOG_MAX
                if attempt._channel is not None:
                    assert len(attempt._channel._inner._data) <= INNER_MESSAGE_MAX + 3


def say(stage: Stage, choices: Choices) -> None:
    """One message through each conversation that is open, changed or as it should be."""
    data = choices.changed(_message(stage, choices).pack())
    for attempt in stage.attempts():
        _send(stage, attempt, data)


def say_any(stage: Stage, choices: Choices) -> None:
    """Bytes with a good frame, or without."""
    body = choices.chunk(4_096)
    data = Writer().u8(choices.below(9)).u16(len(body)).put(body).bytes() if choices.flag() else body
    for attempt in stage.attempts():
        _send(stage, attempt, data * (1 + choices.u8() % 64))


def say_raw(stage: Stage, choices: Choices) -> None:
    """Bytes that are no TLS record, in the stream."""
    for attempt in stage.attempts():
        attempt.stream.write(choices.chunk(2_000))
    _flush(stage)


def _message(stage: Stage, choices: Choices) -> Inner:
    number = choices.integer()
    possible: tuple[Callable[[], Inner], ...] = (
        lambda: Ready(
            choices.pick((Purpose.SESSION, Purpose.ATTACHMENT)),
            choices.pick((stage.mallory.id, stage.bob.id)),
            stage.truck.id,
            number,
            choices.u16(),
            choices.u8(),
            choices.u8(),
            bytes(32),
            choices.integer(),
            choices.below(4),
        ),
        lambda: Close(choices.pick(tuple(CloseReason)), "bye"),
        lambda: Crl(choices.changed(choices.pick(FORGED))),
        lambda: Attach(1 + choices.below(2), choices.u16(), number, 25),
        lambda: Ping(number),
        lambda: Pong(number),
        lambda: Grant(choices.below(4), choices.u16(), 86_400, 1, UNKNOWN_LOCATOR, number, b"ticket"),
    )
    return choices.pick(possible)()


def _send(stage: Stage, attempt: Attempt, data: bytes) -> None:
    try:
        attempt.channel.sslobj.write(data)
    except (AttemptFailed, OSError):  # its handshake is not done, or it is over
        return
    _flush(stage)


def _flush(stage: Stage) -> None:
    manager = stage.mallory.manager
    for attempt, _ in list(manager._table._attempts.values()):
        manager._table.flush(attempt, stage.world.now)
    stage.mallory.drain()


def start(stage: Stage, choices: Choices) -> None:
    """Mallory calls, is called, or attaches."""
    match choices.below(4):
        case 0 | 1:
            stage.mallory.connect(stage.truck)
        case 2:
            stage.truck.connect(stage.mallory)
        case 3:
            stage.mallory.manager.attach(stage.world.now, Attach(1, 0, 5, 25))
            stage.mallory.drain()
    stage.world.run(choices.pick(SECONDS))


def wait(stage: Stage, choices: Choices) -> None:
    """Time passes."""
    stage.world.run(choices.pick(SECONDS))


def rekey(stage: Stage, choices: Choices) -> None:
    """Either end begins anew."""
    host: Host = stage.mallory if choices.flag() else stage.truck
    peer = stage.truck.id if host is stage.mallory else stage.mallory.id
    if peer in host.manager._peers:
        host.manager._peer(peer).rekey(stage.world.now)
    host.manager.handle_timer(stage.world.now)
    host.drain()


STEPS: tuple[Callable[[Stage, Choices], None], ...] = (say, say_any, say_raw, start, wait, rekey)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    stage, choices = Stage(), Choices(data)
    for step in choices.steps(STEPS, STEPS_MAX):
        step(stage, choices)
        stage.check()
    stage.world.run(30.0)
    stage.check()
    talk(stage.world, stage.truck, stage.bob)
