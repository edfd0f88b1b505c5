"""One Switch and the nodes that tests drive by hand, with a clock."""

from __future__ import annotations

from ovng.clock import Now
from ovng.forwarding.record import Record
from ovng.forwarding.registrar import Registrar
from ovng.forwarding.slowtable import SlowTable
from ovng.forwarding.store import Out
from ovng.ids import Locator, NodeID, Prefix
from ovng.wire.report import Ack, Challenge, Mismatch, Nak, NakReason, Report, ReportKind, parse_report
from tests.attachment_fixture import HOME, START, TRUCK, FakeNode, after, registrar

Replies = list[tuple[Report, Locator]]


def read(out: list[Out]) -> Replies:
    return [(parse_report(one.datagram), one.to) for one in out]


class Scene:
    """A Switch and one attached node at HOME."""

    def __init__(self, network: tuple[Prefix, ...] = (), capacity: int = 100) -> None:
        self.network = network
        self.table = SlowTable(capacity, bytes(16))
        self.switch: Registrar = registrar(table=self.table, network=network)
        self.now: Now = after(START, 1)
        self.truck = FakeNode(TRUCK, "10.77.0.1/32")
        self.truck.attach(self.switch, HOME, self.now)
        self.pushed: list[Out] = []

    def restart(self, seconds: float = 1.0, *, capacity: int = 100) -> None:
        """Another Switch process with the same ticket keys."""
        keys = self.switch.ticket_keys()
        self.now = after(self.now, seconds)
        self.table = SlowTable(capacity, bytes(16))
        self.switch = registrar(self.now, seed=int(self.now.mono), table=self.table, network=self.network)
        self.switch.load_ticket_keys(keys, self.now)

    def report(
        self, kind: ReportKind, source: Locator = HOME, node: FakeNode | None = None, **fields: object
    ) -> Replies:
        """Send one report; what came back, read."""
        return self.raw((node or self.truck).report(kind, **fields), source)  # type: ignore[arg-type]

    def raw(self, datagram: bytes, source: Locator) -> Replies:
        out = self.switch.handle_report(datagram, source, self.now)
        for answer in out:
            assert len(answer.datagram) <= len(datagram)
        return read(out)

    def pass_time(self, seconds: float) -> None:
        """With all ticks a loop would make; what they send is in `pushed`."""
        until = after(self.now, seconds)
        while True:
            due = self.switch.deadline(self.now)
            if due > until.mono:
                self.now = until
                return
            self.now = after(self.now, max(0.0, due - self.now.mono))
            self.pushed += self.switch.tick(self.now)

    def record(self, node: NodeID = TRUCK) -> Record:
        data = self.table.record(node)
        assert data is not None
        return Record.unpack(data)

    def sends_to(self, size: int = 100, node: NodeID = TRUCK) -> Locator | None:
        """Where a packet for the node would go now."""
        _, locator = self.table.resolve(node, size)
        return None if locator is None else Locator.unpack(locator)

    def state(self) -> tuple[object, ...]:
        ids = sorted(self.table.ids())
        return tuple((one, self.table.record(one), self.table.locators(one), self.table.credit(one)) for one in ids)


def answer(replies: Replies, to: Locator) -> Report:
    assert len(replies) == 1, replies
    report, where = replies[0]
    assert where == to
    return report


def ack(replies: Replies, to: Locator) -> Ack:
    report = answer(replies, to)
    assert isinstance(report, Ack)
    return report


def nak(replies: Replies, to: Locator) -> NakReason:
    report = answer(replies, to)
    assert isinstance(report, Nak)
    return report.reason


def challenge(replies: Replies, to: Locator) -> Challenge:
    report = answer(replies, to)
    assert isinstance(report, Challenge)
    return report


def mismatch(replies: Replies, to: Locator) -> Mismatch:
    report = answer(replies, to)
    assert isinstance(report, Mismatch)
    assert report.observed == to
    return report
