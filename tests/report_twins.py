"""Two Switches that are told the same: one answers in Python alone, the other lets the compiled path go first."""

from __future__ import annotations

from ovng._fast.reports import Reports
from ovng._fast.switch import ENDPOINT
from ovng._fast.table import Table
from ovng.clock import Now
from ovng.forwarding.registrar import Registrar
from ovng.forwarding.slowtable import SlowTable
from ovng.forwarding.store import NodeTable, Out
from ovng.ids import Locator
from ovng.io.libcrypto import make_aead
from ovng.wire.inner import Attach, AttachMode
from tests.attachment_fixture import START, SWITCH, FakeNode, after, seeded

Report = tuple[bytes, Locator]
"""A datagram and where it comes from."""


def record(datagram: bytes, source: Locator) -> tuple[int, bytes]:
    """As a worker's ring gives it."""
    return ENDPOINT, source.packed() + bytes(16) + len(datagram).to_bytes(4, "big") + datagram


class Twins:
    """`plain` and `quick`, always in the same state, which `compare` proves. Random bytes are the same for both."""

    def __init__(self, seed: int = 1, capacity: int = 1000) -> None:
        self.now: Now = START
        self.alone = 0
        """Reports that the compiled path handled."""
        self._capacity, self._seed = capacity, seed
        self.plain_table: NodeTable = SlowTable(capacity, bytes(16))
        self.quick_table: NodeTable = SlowTable(capacity, bytes(16))
        self.plain, self.quick = self._start()

    def _start(self) -> tuple[Registrar, Registrar]:
        table = Table(self._capacity, bytes(16))
        self.plain_table, self.quick_table = SlowTable(self._capacity, bytes(16)), table
        self._reports = Reports(table)
        self._seed += 1
        plain, quick = (
            Registrar(SWITCH, one, seeded(self._seed), make_aead, self.now) for one in (self.plain_table, table)
        )
        return plain, quick

    def restart(self) -> None:
        """Other processes, with the ticket keys of the ones before."""
        keys = self.plain.ticket_keys()
        assert keys == self.quick.ticket_keys()
        self.plain, self.quick = self._start()
        for one in (self.plain, self.quick):
            one.load_ticket_keys(keys, self.now)

    def attach(self, node: FakeNode, source: Locator, *, settled: bool = True) -> None:
        """What TLS leads to, at both. Unsettled: the GRANT is on its way."""
        masters = node.random(32), node.random(32)
        request = Attach(AttachMode.START, 0, node.instance, 25)
        grants = [
            one.attach(node.identity, request, source.packed(), *masters, self.now) for one in (self.plain, self.quick)
        ]
        assert grants[0] == grants[1]
        if grants[0].status:
            return
        node.grant, node.number = grants[0], 0
        node.report_master, node.private_master = masters
        if settled:
            told = [one.settle(node.id, node.report_master, self.now) for one in (self.plain, self.quick)]
            assert told[0] == told[1]

    def give(self, batch: list[Report]) -> list[list[Out]]:
        """The answers to each, which are the same."""
        self.plain.terms(self.now)  # cookie secrets are drawn when first asked for
        wanted = [self.plain.handle_report(datagram, source, self.now) for datagram, source in batch]
        got: list[list[Out]] = [[] for _ in batch]
        answers: list[tuple[int, bytes]] = []
        records, at = [record(*one) for one in batch], 0
        while True:
            begun = at
            at = self._reports.answer(records, at, lambda: self.quick.terms(self.now), answers)
            self.alone += at - begun
            if at == len(batch):
                break
            got[at] = self.quick.handle_report(*batch[at], self.now)
            at += 1
        for number, datagram in answers:
            assert not got[number]
            got[number] = [Out(datagram, batch[number][1])]
        assert got == wanted
        self.compare()
        return got

    def start_hints(self) -> list[Out]:
        """What the compiled path calls the nodes of a snapshot by."""
        entries = self.quick.start_hints(self.now)
        hints = self._reports.start_hints(entries, self.quick.terms(self.now))
        return [Out(datagram, Locator.unpack(packed)) for packed, datagram in hints]

    def pass_time(self, seconds: float) -> None:
        """And the tick at its end."""
        self.now = after(self.now, seconds)
        assert self.plain.tick(self.now) == self.quick.tick(self.now)
        self.compare()

    def set_crl(self, number: int, serials: list[int]) -> None:
        """A revocation list is in force."""
        for one in (self.plain, self.quick):
            one.set_crl(number, bytes(100 + number), serials)

    def compare(self) -> None:
        """All that can be seen of both is equal."""
        assert self.plain.counters == self.quick.counters
        assert state(self.plain_table) == state(self.quick_table)
        assert holders(self.plain) == holders(self.quick)


def holders(registrar: Registrar) -> list[tuple[bytes, int, int]]:
    """Who is in the directory, with which prefix."""
    found = []
    for holdings in registrar._directory._holdings.values():
        for entry in range(holdings.size):
            key = holdings.key(entry)
            if key is not None:
                found.append((key, *holdings.holder(entry)))
    return sorted(found)


def state(table: NodeTable) -> list[tuple[object, ...]]:
    """Everything in a table."""
    return [(node, table.record(node), table.locators(node), table.credit(node)) for node in sorted(table.ids())]
