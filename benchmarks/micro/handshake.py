"""Handshakes per second and core: session managers in memory beside bare `ssl` objects with the same certificates.

Each end is timed alone, so a figure is what one core of a machine in that role can do. Ours holds all that a handshake
means: cookie, reliable stream, TLS, identity, key derivation, and at the Switch the registrar with its ticket.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

from benchmarks.micro.timing import Batch, Contest, Stopwatch
from ovng._fast.table import Table
from ovng.clock import Now
from ovng.forwarding.registrar import Registrar
from ovng.ids import Locator
from ovng.io.libcrypto import make_aead
from ovng.limits import HEADER_SIZE
from ovng.session.events import AttachRequested, AttachSettled, Event, SessionUp
from ovng.session.manager import SessionManager
from ovng.wire.header import parse_header
from ovng.wire.inner import Attach, AttachMode
from tests.pki_fixture import WALL, Member, Network

_REFERENCE = "bare ssl objects"
_SOURCE = Locator.of("192.0.2.1", 40_000)
_NODES = 16
_STEP = 10.0  # virtual seconds between handshakes: no limit is ever met
_KEEPALIVE = 25


def contests() -> list[Contest]:
    """A session's two ends, and the Switch's end of an attachment."""
    network = Network()
    one, other = network.pair()
    return [
        Contest(
            "session_initiator", "session, initiator", "/s", _session(one, other, 0), _REFERENCE, _bare(one, other, 0)
        ),
        Contest(
            "session_responder", "session, responder", "/s", _session(one, other, 1), _REFERENCE, _bare(one, other, 1)
        ),
        _attachment(network),
    ]


class _End:
    """One manager, and the time that its calls take if a stopwatch is given."""

    def __init__(self, member: Member, watch: Stopwatch | None) -> None:
        self.member = member
        self.timed: AbstractContextManager[None] = watch or nullcontext()
        with self.timed:
            self.manager = SessionManager(member.id, member.identity.kind, member.trust, os.urandom)
        self.events: list[Event] = []

    def receive(self, datagrams: list[tuple[bytes, bytes]], context: bytes, now: Now) -> None:
        """Take what the other end sent."""
        with self.timed:
            for datagram, _ in datagrams:
                self.manager.receive(parse_header(datagram), datagram[HEADER_SIZE:], context, now)
            self.events += self.manager.events()

    def send(self) -> list[tuple[bytes, bytes]]:
        with self.timed:
            return self.manager.datagrams()


def _clock() -> Iterator[Now]:
    mono = 1000.0
    while True:
        yield Now(mono, mono, WALL + 60)
        mono += _STEP


def _session(one: Member, other: Member, timed: int) -> Batch:
    """Handshakes between new managers; `timed`: 0 the initiator, 1 the responder."""
    clock = _clock()

    def batch(watch: Stopwatch) -> int:
        now = next(clock)
        ends = [_End(member, watch if number == timed else None) for number, member in enumerate((one, other))]
        with ends[0].timed:
            ends[0].manager.connect(other.id, now)
        while not all(any(isinstance(event, SessionUp) for event in end.events) for end in ends):
            ends[1].receive(ends[0].send(), b"", now)
            ends[0].receive(ends[1].send(), b"", now)
        return 1

    return batch


def _attachment(network: Network) -> Contest:
    """A Switch with its registrar; nodes come one after another and are granted."""
    member, nodes = network.switch(), [network.node(f"10.77.0.{number + 1}/32") for number in range(_NODES)]
    clock, turn = _clock(), iter(range(1 << 40))
    switch = _End(member, None)
    registrar = Registrar(member.id, Table(_NODES, bytes(16)), os.urandom, make_aead, next(clock))
    request = Attach(AttachMode.START, 0, 7, _KEEPALIVE)

    def batch(watch: Stopwatch) -> int:
        now, node = next(clock), _End(nodes[next(turn) % _NODES], None)
        switch.events.clear()
        node.manager.attach(now, request)
        settled = False
        while not settled:
            received = node.send()
            with watch:
                switch.receive(received, _SOURCE.packed(), now)
                settled = _serve(switch, registrar, now)
                answers = switch.send()
            node.receive(answers, b"", now)
        return 1

    return Contest("attachment", "attachment at the Switch", "/s", batch, _REFERENCE, _bare(nodes[0], member, 1))


def _serve(switch: _End, registrar: Registrar, now: Now) -> bool:
    """As the Switch's service does it; whether the node has settled."""
    settled = False
    for event in switch.events:
        match event:
            case AttachRequested():
                masters = event.report_master, event.private_master
                answer = registrar.attach(event.identity, event.request, event.context, *masters, now)
                switch.manager.grant(event.ref, answer, now)
            case AttachSettled():
                registrar.settle(event.node_id, event.report_master, now)
                settled = True
            case _:
                pass
    switch.events.clear()
    return settled


def _bare(client: Member, server: Member, timed: int) -> Batch:
    """TLS over memory and nothing else, from making the object to freeing it; `timed`: 0 the client, 1 the server."""
    contexts = client.trust.client_context(), server.trust.server_context()

    def batch(watch: Stopwatch) -> int:
        watches = [watch if number == timed else Stopwatch() for number in range(2)]
        bios, ends = [ssl.MemoryBIO(), ssl.MemoryBIO()], []
        for number in range(2):
            with watches[number]:
                ends.append(contexts[number].wrap_bio(bios[number], bios[1 - number], server_side=bool(number)))
        done = [False, False]
        while not all(done):
            for number in range(2):
                with watches[number]:
                    done[number] = done[number] or _finished(ends[number].do_handshake)
        for number in (1, 0):
            with watches[number]:
                del ends[number]
        return 1

    return batch


def _finished(step: Callable[[], None]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return False
    return True
