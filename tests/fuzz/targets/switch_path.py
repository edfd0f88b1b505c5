"""The Switch's forwarding loop, running, against a slow twin: any datagrams, singly and in trains, from anywhere.

Each has one outcome, counted under its own name; what is forwarded arrives as it was, where the table says and nowhere
else; the table itself changes in its credits only, to the byte.
"""

from __future__ import annotations

import functools
import select
from collections import Counter, defaultdict

from ovng._fast.table import Table
from ovng.errors import Malformed
from ovng.forwarding.slowtable import LIVE, NO_CREDIT, NO_LOCATOR, STRAY, UNKNOWN, SlowTable
from ovng.ids import Locator, NodeID
from ovng.limits import MAX_CONTROL_DATAGRAM
from ovng.wire.header import FLAG_SPARSE, PacketType, parse_header
from tests.fuzz.choices import Choices
from tests.switch_fixture import SWITCH, TABLE_KEY, FakeNode, World, header, wait_until

STEPS_MAX = 8
NODES = (NodeID(0x11), NodeID(0x22), NodeID(0x33))
NOBODY = NodeID(0x99)
TRAIN_MAX = 60_000
_DROPS = {UNKNOWN: "drop_unknown_destination", NO_LOCATOR: "drop_no_locator", NO_CREDIT: "drop_no_credit"}
_LAYOUTS = ((0, -1, 0), (1, -1, 0), (1, 0, 0b10), (1, -1, 0b10), (-1, -1, 0))
"""(active, fallback, provisional mask) over two locators."""
_OUTCOMES = ("forwarded", "endpoint")


@functools.cache
def _world() -> World:
    """A loop in its thread. Every ID has two sockets; which of them are its locators is the program's."""
    world = World()
    world.path.start()
    for id in NODES:
        world.node(id, attached=False)
        world.node(id, "::1", attached=False)
    return world


class Stage:
    """One arrangement of the table, and its twin."""

    def __init__(self, choices: Choices) -> None:
        self.world, self.twin = _world(), SlowTable(16, TABLE_KEY)
        self.arrived: dict[Locator, list[bytes]] = defaultdict(list)
        tables: tuple[Table | SlowTable, ...] = (self.world.table, self.twin)
        for index, id in enumerate(NODES):
            self.world.table.remove(id)
            if choices.below(8) == 7:
                continue
            locators = [node.locator.packed() for node in self.world.nodes[2 * index : 2 * index + 2]]
            layout, credit = choices.pick(_LAYOUTS), (choices.u16() % 4_000, choices.u16() % 4_000)
            for table in tables:
                table.put(id, b"record")
                table.set_locators(id, [*locators, None, None], *layout)
                table.set_credit(id, *credit)

    def send(self, node: FakeNode, datagrams: list[bytes], *, train: bool) -> None:
        """From one node's socket: all in one segmented send, or one by one."""
        if not train and len({_is_sparse(datagram) for datagram in datagrams}) > 1:  # which comes first is open
            for datagram in datagrams:
                self.send(node, [datagram], train=False)
            return
        before = self._figures()
        in_order = _served(datagrams) if train else datagrams
        expected = Counter(self._judge(datagram, node.locator) for datagram in in_order)
        if train:
            node.send_train(datagrams)
        else:
            for datagram in datagrams:
                node.send_raw(datagram)
        wait_until(lambda: (self._figures() - before).total() >= len(datagrams), "every datagram has an outcome")
        got = self._figures() - before
        assert got == expected, f"{got} instead of {expected}"
        list(self.world.path.events())

    def check(self) -> None:
        """What arrived, and the table."""
        for node in self.world.nodes:
            expected = self.arrived[node.locator]
            assert sorted(node.receive(len(expected))) == sorted(expected)
        ready = select.select([node.sock for node in self.world.nodes], [], [], 0)[0]
        assert not ready, "more came out than went in"
        for id in NODES:
            assert self.world.table.locators(id) == self.twin.locators(id)
            assert self.world.table.credit(id) == self.twin.credit(id)

    def _figures(self) -> Counter[str]:
        stats = self.world.path.stats()
        return Counter({k: v for k, v in stats.items() if k in _OUTCOMES or k.startswith("drop_")})

    def _judge(self, datagram: bytes, source: Locator) -> str:
        """PROTOCOL 1 and 6.1."""
        try:
            head = parse_header(datagram)
        except Malformed as error:
            return f"drop_{error.reason}"
        if head.src == SWITCH:
            return "drop_src_is_switch"
        if head.dst in (0, SWITCH):
            if head.type == PacketType.DATA:
                return "drop_endpoint_type"
            return "endpoint" if len(datagram) <= MAX_CONTROL_DATAGRAM else "drop_endpoint_size"
        if head.type in (PacketType.REPORT, PacketType.PRIVATE):
            return "drop_misdirected"
        if self.twin.locators(head.src) is None:
            return "drop_unattached"
        if head.type == PacketType.CONTROL and self.twin.check_source(head.src, source.packed(), 0) != LIVE:
            return "drop_control_source"
        if self.twin.check_source(head.src, source.packed(), len(datagram)) == STRAY:
            return "drop_stray_source"
        verdict, to = self.twin.resolve(head.dst, len(datagram))
        if to is None:
            return _DROPS[verdict]
        self.arrived[Locator.unpack(to)].append(datagram)
        return "forwarded"


def _is_sparse(datagram: bytes) -> bool:
    return len(datagram) >= 4 and bool(datagram[3] & FLAG_SPARSE)


def _served(train: list[bytes]) -> list[bytes]:
    """In the order in which the Switch judges one message: the sparse ones that begin it and end it first."""
    first = next((i for i, datagram in enumerate(train) if not _is_sparse(datagram)), len(train))
    last = len(train) - (first < len(train) and _is_sparse(train[-1]))
    return train[:first] + train[last:] + train[first:last]


def _datagram(choices: Choices, node: FakeNode) -> bytes:
    """One with a plausible header, and perhaps not."""
    src = choices.pick((node.id, node.id, node.id, *NODES, NOBODY, SWITCH))
    dst = choices.pick((*NODES, NOBODY, SWITCH, 0))
    kind, flags = choices.pick((1, 1, 1, 2, 3, 4, 5)), choices.pick((0, 0, 0, 1, 2, FLAG_SPARSE, 8))
    head = header(dst, src, kind, key_id=choices.u8(), flags=flags, number=choices.integer())
    return choices.changed(head + bytes(choices.u16() % 1_400))


def _send(stage: Stage, choices: Choices) -> None:
    node = choices.pick(stage.world.nodes)
    first = _datagram(choices, node)
    match choices.below(4):
        case 0:
            stage.send(node, [choices.chunk(2_000)], train=False)
        case 1:
            stage.send(node, [first, first, choices.changed(first)], train=False)
        case 2 if first:
            _send_train(stage, choices, node, first)
        case _:
            stage.send(node, [first], train=False)


def _send_train(stage: Stage, choices: Choices, node: FakeNode, first: bytes) -> None:
    """Equal lengths but for the last; runs of the same first 20 bytes, with changes in between."""
    datagrams = [first]
    for _ in range(min(1 + choices.below(60), TRAIN_MAX // len(first))):
        changed = choices.changed(datagrams[-1] if choices.flag() else first)
        datagrams.append(changed if len(changed) == len(first) else first)
    datagrams[-1] = datagrams[-1][: 1 + choices.u16() % len(first)]
    stage.send(node, datagrams, train=True)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices = Choices(data)
    stage = Stage(choices)
    for _ in range(STEPS_MAX):
        if not choices:
            break
        _send(stage, choices)
    stage.check()
