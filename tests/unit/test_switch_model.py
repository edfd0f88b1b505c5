"""The Switch's loop against a slow twin: random trains, judged one datagram after the other by plain Python."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from ovng.forwarding.slowtable import SlowTable
from ovng.ids import Locator
from tests.switch_fixture import (
    CONTROL,
    DATA,
    PRIVATE,
    REPORT,
    SWITCH,
    TABLE_KEY,
    FakeNode,
    World,
    header,
    wait_until,
    world,
)

LIVE, GRACE, UNKNOWN, NO_LOCATOR, NO_CREDIT, STRAY = 0, 2, -1, -2, -3, -4
RESOLVE_DROPS = {UNKNOWN: "drop_unknown_destination", NO_LOCATOR: "drop_no_locator", NO_CREDIT: "drop_no_credit"}
IDS = [id << 60 for id in range(1, 9)]
NOBODY = 15 << 60


class Model:
    """PROTOCOL 1 and 6.1 for one datagram at a time."""

    def __init__(self) -> None:
        self.table = SlowTable(64, TABLE_KEY)
        self.drops: Counter[str] = Counter()
        self.delivered: dict[Locator, list[bytes]] = defaultdict(list)
        self.endpoint = 0

    def receive(self, datagram: bytes, source: Locator) -> None:
        reason = self._judge(datagram, source)
        if reason is not None:
            self.drops[reason] += 1

    def _judge(self, datagram: bytes, source: Locator) -> str | None:
        if len(datagram) < 28:
            return "drop_too_short"
        kind = datagram[0] & 15
        dst, src = int.from_bytes(datagram[4:12], "big"), int.from_bytes(datagram[12:20], "big")
        if datagram[0] >> 4 != 1:
            return "drop_version"
        if dst == SWITCH:
            self.endpoint += 1
            return None
        if kind in (REPORT, PRIVATE):
            return "drop_misdirected"
        if self.table.locators(src) is None:
            return "drop_unattached"
        if kind == CONTROL and self.table.check_source(src, source.packed(), 0) != LIVE:
            return "drop_control_source"
        if self.table.check_source(src, source.packed(), len(datagram)) == STRAY:
            return "drop_stray_source"
        verdict, to = self.table.resolve(dst, len(datagram))
        if to is None:
            return RESOLVE_DROPS[verdict]
        self.delivered[Locator.unpack(to)].append(datagram)
        return None


def attach(w: World, model: Model, numbers: random.Random) -> list[FakeNode]:
    """Eight IDs with two sockets each; which of them is live, provisional or nothing differs."""
    nodes = []
    for id in IDS:
        first, second = w.node(id, attached=False), w.node(id, "::1", attached=False)
        nodes += [first, second]
        layouts: list[tuple[list[FakeNode | None], int, int, int]] = [
            ([first, None], 0, -1, 0),
            ([first, second], numbers.randrange(2), -1, 0),
            ([first, second], 1, 0, 0b10),
            ([None, second], 1, -1, 0b10),
            ([first, None], -1, -1, 0),
        ]
        slots, active, fallback, mask = numbers.choice(layouts)
        packed = [node.locator.packed() if node else None for node in slots] + [None, None]
        credits = numbers.randrange(8000), numbers.randrange(8000)
        for table in (w.table, model.table):
            table.put(id, b"")
            table.set_locators(id, packed, active, fallback, mask)
            table.set_credit(id, *credits)
    return nodes


def random_train(numbers: random.Random, src: int) -> list[bytes]:
    """Runs of one destination and kind, of 1 to 20 datagrams, in one segmented send."""
    size = numbers.choice((28, 60, 300, 1000))
    train: list[bytes] = []
    while len(train) < 3 or (len(train) < 50 and numbers.random() < 0.8):
        dst = numbers.choice([*IDS, NOBODY, SWITCH])
        kind = numbers.choice((DATA, DATA, DATA, CONTROL, REPORT))
        claimed = numbers.choice((src, src, src, src, NOBODY))
        if dst in (src, claimed) or (dst == SWITCH and kind == DATA):
            continue
        for _ in range(numbers.choice((1, 2, 20))):
            train.append(header(dst, claimed, kind, number=numbers.getrandbits(64)) + bytes(size - 28))
            if numbers.random() < 0.02:
                train[-1] = b"\x91" + train[-1][1:]
    train = train[: min(64, 60000 // size)]
    train[-1] = train[-1][: numbers.randrange(1, size + 1)]
    return train


def judged(w: World) -> int:
    """Datagrams with an outcome. Each is counted under exactly one."""
    return sum(w.drops().values()) + w.count("forwarded") + w.count("endpoint")


@pytest.mark.parametrize("seed", range(12))
def test_the_loop_judges_like_its_twin(seed: int) -> None:
    numbers, model = random.Random(seed), Model()
    with world(gro=seed % 4 != 3, gso=seed % 3 != 2) as w:
        nodes = attach(w, model, numbers)
        sent = 0
        for turn in range(60):
            node = numbers.choice(nodes)
            train = random_train(numbers, node.id)
            node.send_train(train)
            for datagram in train:
                model.receive(datagram, node.locator)
            sent += len(train)
            wait_until(lambda: judged(w) >= sent, "every datagram was judged")  # noqa: B023 - called here only
            list(w.path.events())
            if turn % 10 == 0:  # a confirmed report
                for table in (w.table, model.table):
                    table.set_credit(node.id, 3000, 1000)
        for node in nodes:
            expected = model.delivered[node.locator]
            got = node.receive(len(expected))
            flows = {datagram[12:20] for datagram in expected}
            assert sorted(got) == sorted(expected)
            for flow in flows:
                assert [d for d in got if d[12:20] == flow] == [d for d in expected if d[12:20] == flow]
            node.assert_silent()
        assert judged(w) == sent
        assert w.drops() == dict(model.drops)
        assert w.count("endpoint") == model.endpoint
        for id in IDS:
            assert w.table.credit(id) == model.table.credit(id)
