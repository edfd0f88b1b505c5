"""The Switch's endpoint as its service runs it, but for sockets, disk and clock; and the laws of what it answers.

`Endpoint` is the real `SwitchService`: datagrams go in where the data path's events do, and what it would send is
looked at. The nodes are real too, but for TLS, which `node_control` drives.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.forwarding.registrar import Registrar
from ovng.forwarding.slowtable import SlowTable
from ovng.forwarding.store import Aead, Out
from ovng.ids import Locator, NodeID
from ovng.io.driver import Driver, Item
from ovng.io.switchpath import SwitchDataPath
from ovng.limits import HEADER_SIZE, MAX_CONTROL_DATAGRAM
from ovng.session.keys import master_keys
from ovng.session.manager import SessionManager
from ovng.switch.service import SwitchService
from ovng.switch.state import SwitchState
from ovng.wire.header import PacketType, parse_header
from ovng.wire.private import parse_private, parse_sealed
from ovng.wire.report import ReportKind, parse_report, verify
from tests.attachment_fixture import AWAY, EVIL, HOME, OFFICE, START, SWITCH, THIRD, TRUCK, FakeNode, after, prefix
from tests.fuzz.actors import make_aead, switch

PLACES = (HOME, AWAY, THIRD, EVIL)
CAPACITY = 2  # nodes: small, so that it is reached
_THIRD_NODE = NodeID(0x3333_0000_0000_0003)
_FACED = (PacketType.REPORT, PacketType.PRIVATE)


class _Outbox:
    """In place of the sockets."""

    def __init__(self) -> None:
        self.sent: list[Out] = []

    def send(self, datagram: bytes, locator: Locator) -> bool:
        self.sent.append(Out(datagram, locator))
        return True


class _Disk:
    """In place of the state directory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def write(self, name: str, data: bytes) -> None:
        self.kept[name] = data


class _Strict(Driver):
    """A driver that lets a fault out, where the real one writes it to the log and goes on."""

    def each(self, items: Iterable[Item], action: Callable[[Item, Now], object], now: Now) -> None:
        for item in items:
            action(item, now)


class Endpoint(SwitchService):
    """A Switch that has just started."""

    def __init__(self, now: Now, random: Callable[[int], bytes], table: SlowTable) -> None:
        self.trust = switch().trust
        self.table = table  # type: ignore[assignment]
        self.registrar = Registrar(SWITCH, table, random, make_aead, now, (prefix("10.77.0.0/16"),))
        self.sessions = SessionManager(SWITCH, "switch", self.trust, random)
        self.counters = Counter()
        self.outbox, self.disk = _Outbox(), _Disk()
        self.path = cast(SwitchDataPath, self.outbox)
        self.state = cast(SwitchState, self.disk)
        self._driver = _Strict(deadline=lambda now: None, on_timer=lambda now: None)

    def take(self, datagram: bytes, source: Locator, now: Now) -> list[Out]:
        """A datagram for the Switch itself; what it sends."""
        self._for_us(datagram, source, now)
        self._flush(now)
        return self.drain()

    def wait(self, now: Now) -> list[Out]:
        """Time has passed."""
        self.sessions.handle_timer(now)
        self._send(self.registrar.tick(now))
        self._flush(now)
        return self.drain()

    def drain(self) -> list[Out]:
        sent, self.outbox.sent = self.outbox.sent, []
        return sent

    @property
    def told(self) -> int:
        """Everything that was counted."""
        return sum(sum(each.values()) for each in (self.counters, self.registrar.counters, self.sessions.counters))


class Keys(NamedTuple):
    """What one attachment gave to its node and to the Switch."""

    report_up: bytes
    private_up: Aead
    private_down: Aead

    @classmethod
    def of(cls, node: FakeNode) -> Keys:
        private_up, private_down = master_keys(node.private_master)
        return cls(master_keys(node.report_master)[0], make_aead(1, private_up), make_aead(1, private_down))


class Theatre:
    """One Switch, two attached nodes and one too many, and all that has been said. Every step is held to the laws."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self.random, self.now = random, START
        self.nodes = (
            FakeNode(TRUCK, "10.77.0.2/32"),
            FakeNode(OFFICE, "10.77.0.3/32", "192.168.7.0/24", serial=8),
            FakeNode(_THIRD_NODE, "192.168.7.0/24", serial=9),
        )
        self.said: list[tuple[bytes, Locator]] = []
        """Datagrams to the Switch, for replays."""
        self.answers: list[Out] = []
        self.keys: dict[NodeID, list[Keys]] = defaultdict(list)
        self.table = SlowTable(CAPACITY, bytes(16))
        self.endpoint = Endpoint(self.now, self.random, self.table)
        for node, place in zip(self.nodes, (HOME, AWAY, THIRD), strict=True):
            self.attach(node, place)

    def restart(self, *, remembers: bool) -> None:
        """The Switch starts again; it may remember what its files hold."""
        before = self.endpoint.registrar
        self.table = SlowTable(CAPACITY, bytes(16))
        self.endpoint = Endpoint(self.now, self.random, self.table)
        if remembers:
            self.endpoint.registrar.load_ticket_keys(before.ticket_keys(), self.now)
            self.endpoint.registrar.restore(b"".join(before.snapshot()), self.now)

    def attach(self, node: FakeNode, place: Locator) -> None:
        """What TLS leads to."""
        node.attach(self.endpoint.registrar, place, self.now)
        self.keys[node.id].append(Keys.of(node))

    def advance(self, seconds: float) -> None:
        self.now = after(self.now, seconds)
        for out in self.endpoint.wait(self.now):
            self._check_form(out)
            self.answers.append(out)

    def say(self, datagram: bytes, source: Locator) -> list[Out]:
        """A datagram that anybody may have sent."""
        proved = self._is_proved(datagram)
        before, told = self.state(), self.endpoint.told
        answers = self.endpoint.take(datagram, source, self.now)
        if not proved:
            assert self.state() == before, "what proves nothing has changed something"
        assert answers or self.endpoint.told > told or self.state() != before or self._is_control(datagram), (
            "neither answered nor counted"
        )
        self._check_answers(datagram, source, answers)
        self.said.append((datagram, source))
        self.answers += answers
        return answers

    def say_unmatched(self, header: bytes, source: Locator, attached: bool, length: int) -> None:
        """The forwarding loop tells of a source that is not where the table says."""
        before = self.state()
        answers = self.endpoint.registrar.handle_unmatched(header, source, attached, length, self.now)
        assert self.state() == before
        for out in answers:
            self._check_form(out)
            assert out.to == source and len(out.datagram) <= length, "a hint larger than what caused it"
        assert len(answers) <= 1
        self.answers += answers

    def state(self) -> object:
        """All that nodes have at the Switch."""
        nodes = {id: (self.table.record(id), self.table.locators(id), self.table.credit(id)) for id in self.table.ids()}
        return nodes, self.endpoint.trust.crl_number, len(self.endpoint.sessions.sessions())

    # -- Laws

    def _is_control(self, datagram: bytes) -> bool:
        return datagram[:1] == b"\x12"

    def _is_proved(self, datagram: bytes) -> bool:
        """A report or request under keys that its node was given."""
        if len(datagram) < HEADER_SIZE or datagram[0] & 15 not in _FACED:
            return False
        held = self.keys.get(NodeID(int.from_bytes(datagram[12:20], "big")), [])
        if datagram[0] & 15 == PacketType.REPORT:
            return any(verify(datagram, keys.report_up) for keys in held)
        try:
            parts = parse_sealed(datagram)
        except Malformed:
            return False
        return any(keys.private_up.open(parts.nonce, parts.header, parts.sealed) is not None for keys in held)

    def _check_answers(self, datagram: bytes, source: Locator, answers: list[Out]) -> None:
        places = Counter[Locator]()
        for out in answers:
            self._check_form(out)
            places[out.to] += len(out.datagram)
        if self._is_control(datagram):
            self._check_control(datagram, places, source)
        elif answers and answers[0].datagram[0] & 15 == PacketType.PRIVATE:
            assert self._is_proved(datagram) and set(places) == {source} and len(answers) == 1
        else:
            assert all(size <= len(datagram) for size in places.values()), "an answer larger than what it answers"
            strangers = set(places) - {source} - self._locators_of(datagram)
            assert not strangers, "an answer to somebody who has nothing to do with it"

    def _check_control(self, datagram: bytes, places: Counter[Locator], source: Locator) -> None:
        src, attempt = int.from_bytes(datagram[12:20], "big"), int.from_bytes(datagram[29:37], "big")
        assert set(places) <= {source}
        if self.endpoint.sessions._table.find(NodeID(src), attempt, initiator=False) is None:
            assert places[source] <= len(datagram), "a stranger without cookie was answered with more than it sent"

    def _locators_of(self, datagram: bytes) -> set[Locator]:
        state = self.table.locators(int.from_bytes(datagram[12:20], "big"))
        return set() if state is None else {Locator.unpack(slot) for slot in state[0] if slot is not None}

    def _check_form(self, out: Out) -> None:
        """What the Switch says, others can read."""
        assert len(out.datagram) <= MAX_CONTROL_DATAGRAM or out.datagram[1] == ReportKind.PROBED
        header = parse_header(out.datagram)
        assert header.src == SWITCH
        if header.type == PacketType.REPORT:
            parse_report(out.datagram)
        elif header.type == PacketType.PRIVATE:
            parts = parse_sealed(out.datagram)
            held = self.keys[header.dst]
            opened = [keys.private_down.open(parts.nonce, parts.header, parts.sealed) for keys in held]
            parse_private(next(plain for plain in opened if plain is not None))
