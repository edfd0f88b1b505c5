"""The Switch of the simulated world: session manager, registrar and table, and the forwarding loop in plain Python.

`forward` applies the rules of `_fast/switch` to one datagram at a time. What the disk would keep over a `kill -9`
(ticket keys, the last snapshot) stands in `disk`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.forwarding.registrar import Registrar
from ovng.forwarding.slowtable import LIVE, SlowTable
from ovng.forwarding.store import Out
from ovng.ids import Locator, NodeID
from ovng.limits import HEADER_SIZE, SNAPSHOT_INTERVAL
from ovng.session import events as session
from ovng.session.manager import SessionManager
from ovng.wire.header import PacketType, parse_header
from tests.pki_fixture import Member
from tests.sim.world_host import Clock, Driven, load_trust
from tests.sim.world_node import NETWORK_PREFIXES
from tests.sim.world_path import MemoryAead

_VERDICTS = {-1: "unknown", -2: "no_locator", -3: "no_credit", -4: "stray"}


def honest(datagram: bytes) -> bytes:
    return datagram


class Switch(Driven):
    """`transmit(datagram, locator)` sends."""

    def __init__(self, member: Member, clock: Clock, transmit: Callable[[bytes, Locator], None]) -> None:
        super().__init__()
        self.member, self.clock, self._transmit = member, clock, transmit
        self.id: NodeID = member.id
        self.alive = False
        self.disk: dict[str, bytes] = {}
        self.log: list[session.Event] = []
        self.lie: Callable[[bytes], bytes] = honest
        """What it does to datagrams that it forwards."""

    def start(self, random: Callable[[int], bytes], now: Now) -> None:
        """As a new process, with what the disk has."""
        self.trust = load_trust(self.member, self.disk.get("crl"))
        self.table = SlowTable(1_000, bytes(range(16)))
        self.registrar = Registrar(self.id, self.table, random, MemoryAead, now, NETWORK_PREFIXES)
        self.sessions = SessionManager(self.id, "switch", self.trust, random)
        self.counters: Counter[str] = Counter()
        self.alive = True
        if "ticket-keys" in self.disk:
            self.registrar.load_ticket_keys(self.disk["ticket-keys"], now)
        if "snapshot" in self.disk:
            self.registrar.restore(self.disk["snapshot"], now)
        self._use_crl()
        self._next_snapshot = now.mono + SNAPSHOT_INTERVAL
        self.flush(now)

    def kill(self) -> None:
        """kill -9."""
        self.alive = False

    def take_crl(self, der: bytes, now: Now) -> None:
        """Reload, with a new list from the CA's machine."""
        assert self.trust.offer_crl(der)
        self.disk["crl"] = der
        self.sessions.revocation_changed(now)
        self._use_crl()
        self.flush(now)

    # -- Datagrams

    def receive(self, datagram: bytes, source: Locator, now: Now) -> None:
        """One datagram from the network."""
        try:
            header = parse_header(datagram)
        except Malformed as error:
            self.counters[error.reason] += 1
            return
        if header.src == self.id:
            self.counters["src_is_switch"] += 1
        elif header.dst in (0, self.id):
            self._endpoint(datagram, source, now)
        elif header.type in (PacketType.REPORT, PacketType.PRIVATE):
            self.counters["misdirected"] += 1
        else:
            self._forward(datagram, source, now)
        self.flush(now)

    def _endpoint(self, datagram: bytes, source: Locator, now: Now) -> None:
        header = parse_header(datagram)
        match header.type:
            case PacketType.CONTROL:
                self.sessions.receive(header, datagram[HEADER_SIZE:], source.packed(), now)
            case PacketType.REPORT:
                self._answer(self.registrar.handle_report(datagram, source, now), len(datagram))
            case PacketType.PRIVATE:
                self._send(self.registrar.handle_private(datagram, source, now))
            case PacketType.DATA:
                self.counters["endpoint_type"] += 1

    def _forward(self, datagram: bytes, source: Locator, now: Now) -> None:
        """PROTOCOL 6.1, in the order of `_fast/switch`."""
        header, length = parse_header(datagram), len(datagram)
        control = header.type is PacketType.CONTROL
        verdict = self.table.check_source(header.src, source.packed(), 0 if control else length)
        attached = self.table.record(header.src) is not None
        if verdict != LIVE:
            hints = self.registrar.handle_unmatched(datagram[:HEADER_SIZE], source, attached, length, now)
            self._answer(hints, length)
        if verdict < 0 or (control and verdict != LIVE):
            self.counters["control_source" if attached and control else f"source_{_VERDICTS[verdict]}"] += 1
            return
        if control:
            self.table.check_source(header.src, source.packed(), length)
        verdict, locator = self.table.resolve(header.dst, length)
        if locator is None:
            self.counters[f"destination_{_VERDICTS[verdict]}"] += 1
            return
        self.counters["forwarded"] += 1
        self._transmit(self.lie(datagram), Locator.unpack(locator))

    def _answer(self, answers: list[Out], length: int) -> None:
        for out in answers:
            assert len(out.datagram) <= length, "an answer to what anybody may send is larger than it"
        self._send(answers)

    def _send(self, answers: list[Out]) -> None:
        for datagram, locator in answers:
            self._transmit(datagram, locator)

    # -- Time, events

    def handle_timer(self, now: Now) -> None:
        self.sessions.handle_timer(now)
        self._send(self.registrar.tick(now))
        if now.mono >= self._next_snapshot:
            self._next_snapshot = now.mono + SNAPSHOT_INTERVAL
            self.disk["snapshot"] = b"".join(self.registrar.snapshot())
            self._save_keys()
        self.flush(now)

    def deadline(self, now: Now) -> float | None:
        times = (self.sessions.deadline(now), self.registrar.deadline(now), self._next_snapshot)
        return min(time for time in times if time is not None)

    def flush(self, now: Now) -> None:
        """Carry out what the machines decided, until nothing is left to do."""
        self.flushes += 1
        while events := self.sessions.events():
            for event in events:
                self.log.append(event)
                match event:
                    case session.AttachRequested():
                        masters = event.report_master, event.private_master
                        grant = self.registrar.attach(event.identity, event.request, event.context, *masters, now)
                        self._save_keys()
                        self.sessions.grant(event.ref, grant, now)
                    case session.AttachSettled():
                        self._send(self.registrar.settle(event.node_id, event.report_master, now))
                    case session.CrlChanged():
                        self._use_crl()
                    case _:
                        raise AssertionError(f"the Switch has no sessions: {event}")
        for datagram, context in self.sessions.datagrams():
            self._transmit(datagram, Locator.unpack(context))

    def _save_keys(self) -> None:
        if self.registrar.ticket_keys_changed:
            self.disk["ticket-keys"] = self.registrar.ticket_keys()

    def _use_crl(self) -> None:
        if self.trust.crl_der is not None:
            self.registrar.set_crl(self.trust.crl_number, self.trust.crl_der, self.trust.revoked_serials)
