"""Reports per second and core at the Switch, beside the same reports handled in Python.

Keep-alives of attached nodes; and what a node costs that comes back after a restart: a report that is challenged, and
the same with cookie and ticket. Both are given as the rings give them, with everything but the system calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from benchmarks.micro.timing import Contest, Stopwatch
from ovng._fast.reports import Reports
from ovng._fast.switch import ENDPOINT
from ovng._fast.table import Table
from ovng.forwarding.registrar import Registrar
from ovng.ids import Locator, NodeID
from ovng.io.libcrypto import make_aead
from ovng.wire.report import Challenge, ReportKind, parse_report
from tests.attachment_fixture import START, SWITCH, FakeNode

NODES = 1000
BATCH = 64

Arrived = list[tuple[bytes, Locator]]
Handler = Callable[[Arrived], list[bytes]]
"""Takes reports and gives the answers, in their order."""


def contests() -> list[Contest]:
    """Every report has a number of its own and is answered."""
    nodes = [FakeNode(NodeID(0x1000 + i), f"10.77.{i >> 8}.{i & 255}/32", seed=i) for i in range(NODES)]
    places = [Locator.of(f"192.0.{i // 100}.1", 10_000 + i) for i in range(NODES)]
    table = Table(NODES, bytes(16))
    registrar = Registrar(SWITCH, table, os.urandom, make_aead, START)
    for node, place in zip(nodes, places, strict=True):
        node.attach(registrar, place, START)
    keys = registrar.ticket_keys()

    def refresh(handler: Handler) -> Callable[[Stopwatch], int]:
        def batch(watch: Stopwatch) -> int:
            said = [(node.report(ReportKind.REFRESH), place) for node, place in zip(nodes, places, strict=True)]
            with watch:
                answers = handler(said)
            assert len(answers) == NODES, registrar.counters
            return NODES

        return batch

    def again(make_handler: Callable[[Table, Registrar], Handler]) -> Callable[[Stopwatch], int]:
        def batch(watch: Stopwatch) -> int:
            empty = Table(NODES, bytes(16))
            switch = Registrar(SWITCH, empty, os.urandom, make_aead, START)
            switch.load_ticket_keys(keys, START)
            handler = make_handler(empty, switch)
            said = [(node.report(ReportKind.REFRESH), place) for node, place in zip(nodes, places, strict=True)]
            with watch:
                challenges = handler(said)
            said = [(_ticketed(node, told), place) for node, told, place in zip(nodes, challenges, places, strict=True)]
            with watch:
                handler(said)
            assert switch.counters["tickets_taken"] == NODES, switch.counters
            return NODES

        return batch

    compiled, plain = _compiled(table, registrar), _plain(table, registrar)
    return [
        Contest("report", "report at the Switch", "/s", refresh(compiled), "in Python", refresh(plain)),
        Contest("reattach", "node back by ticket", "/s", again(_compiled), "in Python", again(_plain)),
    ]


def _ticketed(node: FakeNode, told: bytes) -> bytes:
    challenge = parse_report(told)
    assert isinstance(challenge, Challenge) and node.grant is not None
    boot_id = challenge.common.boot_id
    return node.report(ReportKind.REFRESH, cookie=challenge.cookie, ticket=node.grant.ticket, boot_id=boot_id)


def _plain(table: Table, registrar: Registrar) -> Handler:
    def handle(said: Arrived) -> list[bytes]:
        return [out.datagram for one, place in said for out in registrar.handle_report(one, place, START)]

    return handle


def _compiled(table: Table, registrar: Registrar) -> Handler:
    reports = Reports(table)

    def handle(said: Arrived) -> list[bytes]:
        answers: list[tuple[int, bytes]] = []
        for start in range(0, len(said), BATCH):
            records = [
                (ENDPOINT, place.packed() + bytes(16) + len(one).to_bytes(4, "big") + one)
                for one, place in said[start : start + BATCH]
            ]
            done = reports.answer(records, 0, lambda: registrar.terms(START), answers)
            assert done == len(records)
        return [datagram for _, datagram in answers]

    return handle
