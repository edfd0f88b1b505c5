"""One AttachmentClient whose wire is in the test's hands, and a real Switch to put at its other end."""

from __future__ import annotations

from typing import TypeVar

from ovng._fast.table import Table
from ovng.clock import Now
from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.clientconfig import ClientConfig
from ovng.forwarding.clientevents import ClientEvent, NeedTls
from ovng.forwarding.registrar import Registrar
from ovng.forwarding.slowtable import SlowTable
from ovng.forwarding.store import Out
from ovng.ids import Locator, NodeID
from ovng.limits import SIZE_BASE
from ovng.session.keys import master_keys
from ovng.wire.header import PacketType, parse_header
from ovng.wire.inner import Attach, Grant
from ovng.wire.report import Update, parse_report
from tests.attachment_fixture import (
    HOME,
    START,
    SWITCH,
    TRUCK,
    FakeNode,
    TestAead,
    after,
    identity,
    prefix,
    registrar,
    seeded,
)

Event = TypeVar("Event", bound=ClientEvent)
NETWORK = (prefix("10.77.0.0/16"),)


class ClientScene:
    """A client at HOME. Nothing passes unless a test lets it: `exchange`, or by hand with `sent` and `give`."""

    def __init__(
        self,
        *,
        attach: bool = True,
        keepalive: int = 25,
        seed: int = 3,
        datagram_max: int = SIZE_BASE,
        table: Table | None = None,
        place: Locator = HOME,
    ) -> None:
        """At `place`; `table` is the Switch's."""
        self.now: Now = after(START, 10)
        self.place = place
        self.passes = 65_507  # bytes of the largest datagram that passes the wire, either way
        self.random = seeded(seed)
        self.client = AttachmentClient(TRUCK, self.random, TestAead, ClientConfig(keepalive, datagram_max=datagram_max))
        self.table: SlowTable | Table = table or SlowTable(100, bytes(16))
        self.switch: Registrar = registrar(START, table=self.table, network=NETWORK)
        self.log: list[ClientEvent] = []
        self.prefixes: tuple[str, ...] = ("10.77.0.1/32",)
        self.days = 365.0  # of the certificate
        self.client.start(self.now)
        self.drain()
        self.report_master = self.private_master = b""
        if attach:
            self.attach()
            self.exchange()
            self.log.clear()

    # -- TLS

    def attach(self, request: Attach | None = None) -> Grant:
        """What TLS would do."""
        if request is None:
            request = self.seen(NeedTls)[-1].request
        report, private = self.random(32), self.random(32)
        grant = self.switch.attach(
            identity(TRUCK, *self.prefixes, days=self.days), request, self.place.packed(), report, private, self.now
        )
        assert not grant.status
        self.switch.settle(TRUCK, report, self.now)
        self.report_master, self.private_master = report, private
        self.client.granted(SWITCH, grant, report, private, self.now)
        self.drain()
        return grant

    @property
    def down(self) -> bytes:
        return master_keys(self.report_master)[1]

    def restart_switch(self) -> None:
        keys = self.switch.ticket_keys()
        self.table = SlowTable(100, bytes(16))
        self.switch = registrar(self.now, seed=int(self.now.mono), table=self.table, network=NETWORK)
        self.switch.load_ticket_keys(keys, self.now)

    def other(self, node: NodeID, *prefixes: str, at: Locator, seed: int = 9) -> FakeNode:
        """A further attached node."""
        fake = FakeNode(node, *prefixes, serial=8, seed=seed)
        fake.attach(self.switch, at, self.now)
        return fake

    # -- The wire

    def sent(self) -> list[bytes]:
        """What the client wants sent."""
        self.drain()
        return self.client.datagrams()

    def reports(self) -> list[Update]:
        """The same, where it is all reports."""
        read = [parse_report(datagram) for datagram in self.sent()]
        assert all(isinstance(report, Update) for report in read)
        return read  # type: ignore[return-value]

    def at_switch(self, datagram: bytes) -> list[Out]:
        if parse_header(datagram).type == PacketType.PRIVATE:
            return self.switch.handle_private(datagram, self.place, self.now)
        return self.switch.handle_report(datagram, self.place, self.now)

    def give(self, datagram: bytes) -> None:
        """Something arrives at the client from the Switch's locator."""
        if parse_header(datagram).type == PacketType.PRIVATE:
            self.client.receive_private(datagram, self.now)
        else:
            self.client.receive_report(datagram, self.now)
        self.drain()

    def exchange(self, rounds: int = 20) -> int:
        """Let everything pass at once, until there is nothing; how many datagrams the client sent."""
        count = 0
        for _ in range(rounds):
            datagrams = self.sent()
            if not datagrams:
                return count
            count += len(datagrams)
            for datagram in datagrams:
                for out in self.at_switch(datagram) if len(datagram) <= self.passes else []:
                    if out.to == self.place and len(out.datagram) <= self.passes:
                        self.give(out.datagram)
        raise AssertionError("client and Switch do not come to an end")

    # -- Time

    def pass_time(self, seconds: float, *, connected: bool = True) -> None:
        """With all timers of both ends; `connected`: the wire works."""
        until = after(self.now, seconds)
        for _ in range(100_000):
            due = min(self.switch.deadline(self.now), self.client.deadline(self.now) or until.mono)
            if due > until.mono:
                self.now = until
                return
            self.now = after(self.now, max(0.0, due - self.now.mono))
            for out in self.switch.tick(self.now):
                if connected and out.to == self.place:
                    self.give(out.datagram)
            self.client.handle_timer(self.now)
            self.drain()
            if connected:
                self.exchange()
        raise AssertionError("a deadline that is always due")

    def run_client(self, seconds: float) -> list[tuple[float, bytes]]:
        """The client alone, nobody answers: what it sends, and when (seconds from now)."""
        began, until = self.now.mono, after(self.now, seconds)
        sent = [(0.0, datagram) for datagram in self.sent()]
        while True:
            due = self.client.deadline(self.now)
            if due is None or due > until.mono:
                self.now = until
                return sent
            self.now = after(self.now, max(0.0, due - self.now.mono))
            self.client.handle_timer(self.now)
            sent += [(self.now.mono - began, datagram) for datagram in self.sent()]

    # -- Events

    def drain(self) -> None:
        self.log += self.client.events()

    def seen(self, kind: type[Event]) -> list[Event]:
        self.drain()
        return [event for event in self.log if isinstance(event, kind)]
