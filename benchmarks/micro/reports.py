"""Reports per second and core at the registrar: keep-alives of attached nodes, beside the two HMACs that each needs."""

from __future__ import annotations

import hmac
import os

from benchmarks.micro.timing import Contest, Stopwatch
from ovng._fast.table import Table
from ovng.forwarding.registrar import Registrar
from ovng.ids import Locator, NodeID
from ovng.io.libcrypto import make_aead
from ovng.wire.report import UPDATE_SIZE, ReportKind
from tests.attachment_fixture import START, SWITCH, FakeNode

NODES = 1000


def contests() -> list[Contest]:
    """REFRESH from the confirmed locator; every report has a number of its own and is answered."""
    registrar = Registrar(SWITCH, Table(NODES, bytes(16)), os.urandom, make_aead, START)
    nodes = [FakeNode(NodeID(0x1000 + number), seed=number) for number in range(NODES)]
    places = [Locator.of("192.0.2.1", 10_000 + number) for number in range(NODES)]
    for node, place in zip(nodes, places, strict=True):
        node.attach(registrar, place, START)

    def ours(watch: Stopwatch) -> int:
        reports = [(node.report(ReportKind.REFRESH), place) for node, place in zip(nodes, places, strict=True)]
        answered = 0
        with watch:
            for datagram, place in reports:
                answered += len(registrar.handle_report(datagram, place, START))
        assert answered == NODES, registrar.counters
        return NODES

    def hmacs(watch: Stopwatch) -> int:
        key, data = bytes(32), bytes(UPDATE_SIZE - 16)
        with watch:
            for _ in range(2 * NODES):
                hmac.digest(key, data, "sha256")
        return NODES

    return [Contest("report", "report at the Switch", "/s", ours, "two HMACs", hmacs)]
