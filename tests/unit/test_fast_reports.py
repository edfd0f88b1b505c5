"""Reports answered in C: the same as in Python to the byte, over long random streams and at every edge by itself."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ovng._fast.reports import Reports
from ovng._fast.switch import UNMATCHED
from ovng._fast.table import Table
from ovng.forwarding.store import Out
from ovng.ids import UNKNOWN_LOCATOR, Locator, NodeID
from ovng.limits import CHALLENGES_PER_PREFIX, GRACE_CREDIT
from ovng.wire.report import NO_COOKIE, Ack, Challenge, Mismatch, Nak, NakReason, ReportKind, parse_report
from tests.attachment_fixture import AWAY, EVIL, HOME, OFFICE, SWITCH, THIRD, TRUCK, FakeNode, after
from tests.report_twins import Report, Twins, record, state

PLACES = (HOME, AWAY, THIRD, EVIL)
UPDATES = (ReportKind.REFRESH, ReportKind.MOVE, ReportKind.CONFIRM, ReportKind.BYE, ReportKind.GET_CRL)
TICKETED = (ReportKind.REFRESH, ReportKind.MOVE)


class Life:
    """Nodes that live wildly: what each says next is drawn, and so is what becomes of it on the way."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.twins = Twins(seed)
        self.nodes = [
            FakeNode(NodeID(0x1000 + i), f"10.77.{i}.1/32", f"fd00:{i:x}::/64", serial=1000 + i, seed=seed * 1000 + i)
            for i in range(12)
        ]
        self.at = {node.id: self.draw.choice(PLACES) for node in self.nodes}
        self.cookie = {node.id: NO_COOKIE for node in self.nodes}
        self.said: list[Report] = []
        self.revoked: list[int] = []
        for node in self.nodes:
            self.twins.attach(node, self.at[node.id])

    def live(self, reports: int) -> None:
        """Until so many were given, in batches, with all that can happen between them."""
        while reports > 0:
            batch = [self.say() for _ in range(self.draw.randint(1, 40))]
            reports -= len(batch)
            self.listen(self.twins.give(batch))
            self.said = (self.said + batch)[-400:]
            self.between()

    def say(self) -> Report:
        """Mostly what is right; the rest is everything that is not."""
        if self.said and self.draw.random() < 0.1:
            return self.draw.choice(self.said)
        node = self.draw.choice(self.nodes)
        if self.draw.random() < 0.05:
            self.at[node.id] = self.draw.choice(PLACES)
        place = self.at[node.id]
        usual = self.draw.random() < 0.6
        kind = ReportKind.REFRESH if usual else self.draw.choice(UPDATES)

        def odd() -> bool:
            return not usual and self.draw.random() < 0.1

        assert node.grant is not None
        datagram = node.report(
            kind,
            observed=self.draw.choice((place, *PLACES)) if odd() else UNKNOWN_LOCATOR,
            cookie=self.cookie[node.id] if self.draw.random() < 0.5 else NO_COOKIE,
            ticket=self.ticket(node) if kind in TICKETED and self.draw.random() < 0.5 else b"",
            number=self.draw.choice((0, 1, node.number, max(0, node.number - 1), 2**32 - 1, 2**32)) if odd() else None,
            path=self.draw.randrange(4) if not usual else 0,
            priority=self.draw.randrange(4),
            boot_id=None if odd() else self.twins.plain.boot_id,
            grant=node.grant.grant + self.draw.choice((-1, 1)) if odd() else None,
            keepalive=self.draw.choice((5, 25, 600)) if not odd() else self.draw.choice((4, 601)),
            key=bytes(32) if odd() else None,
        )
        return self.harm(datagram) if self.draw.random() < 0.05 else datagram, place

    def ticket(self, node: FakeNode) -> bytes:
        assert node.grant is not None
        whose = self.draw.choice(self.nodes).grant if self.draw.random() < 0.02 else node.grant
        assert whose is not None
        return self.harm(whose.ticket) if self.draw.random() < 0.02 else whose.ticket

    def harm(self, data: bytes) -> bytes:
        """Cut it, or turn a bit."""
        if not data or self.draw.random() < 0.3:
            return data[: self.draw.randrange(len(data) + 1)]
        at = self.draw.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self.draw.randrange(8)]) + data[at + 1 :]

    def listen(self, answers: list[list[Out]]) -> None:
        for out in (out for outs in answers for out in outs):
            told = parse_report(out.datagram)
            if isinstance(told, Challenge):
                self.cookie[told.common.dst] = told.cookie
            elif isinstance(told, Mismatch):
                self.cookie[told.dst] = told.cookie
            elif isinstance(told, Ack) and any(told.proof):
                self.cookie[told.common.dst] = told.proof + bytes(8)

    def between(self) -> None:
        chance = self.draw.random()
        if chance < 0.7:
            self.twins.pass_time(self.draw.choice((0.01, 0.25, 0.3, 1.0, 4.0, 30.0)))
        if chance < 0.02:
            self.twins.pass_time(self.draw.choice((61.0, 600.0, 82_000.0)))
        elif chance < 0.06:
            self.twins.restart()
        elif chance < 0.2:
            node = self.draw.choice(self.nodes)
            self.twins.attach(node, self.at[node.id], settled=self.draw.random() < 0.5)
        elif chance < 0.22:
            self.revoked.append(self.draw.choice(self.nodes[:3]).identity.serial)
            self.twins.set_crl(len(self.revoked), self.revoked)


@pytest.mark.parametrize("seed", range(4))
def test_equal_over_a_random_life(seed: int) -> None:
    life = Life(seed)
    life.live(4_000)
    assert life.twins.alone > 1_000, "the compiled path had its share"
    counters = life.twins.plain.counters
    for name in ("tickets_taken", "challenge_boot_id", "challenge_grant", "report_tag", "sequence", "moves"):
        assert counters[name], f"{name}: the stream did not reach it"


@pytest.mark.parametrize("broken", [b"", bytes(7) + b"\x09" + bytes(18), bytes(8) + HOME.packed()])
def test_the_same_nodes_are_called_after_a_start(broken: bytes) -> None:
    """Not those that are back, nobody, nowhere; what each gets is the same to the byte."""
    twins, truck = Twins(), FakeNode(TRUCK, "10.77.0.1/32")
    twins.attach(truck, HOME)
    twins.attach(FakeNode(OFFICE, "10.77.0.2/32", seed=9), AWAY)
    data = b"".join(twins.plain.snapshot()) + broken
    twins.restart()
    twins.attach(truck, HOME)
    for one in (twins.plain, twins.quick):
        one.restore(data, twins.now)
    twins.now = after(twins.now, 2.0)
    twins.plain.terms(twins.now)  # cookie secrets are drawn when first asked for
    wanted = twins.plain.tick(twins.now)
    got = twins.start_hints()
    assert [out.to for out in wanted] == [AWAY]
    assert isinstance(parse_report(wanted[0].datagram), Challenge)
    assert got == wanted
    assert twins.quick.tick(twins.now) == [], "each is called once"


# -- One node


class Stage:
    """Twins, and TRUCK attached at HOME a second ago."""

    def __init__(self, capacity: int = 10) -> None:
        self.twins = Twins(capacity=capacity)
        self.truck = FakeNode(TRUCK, "10.77.0.1/32", "fd00::1/128", serial=0x99)
        self.twins.attach(self.truck, HOME)
        self.twins.pass_time(1.0)

    def tell(self, kind: ReportKind, source: Locator = HOME, *, alone: bool, **fields: object) -> list[Out]:
        """One report of TRUCK's; `alone`: the compiled path is expected to answer it."""
        return self.raw(self.truck.report(kind, **fields), source, alone=alone)  # type: ignore[arg-type]

    def raw(self, datagram: bytes, source: Locator = HOME, *, alone: bool) -> list[Out]:
        before = self.twins.alone
        (answers,) = self.twins.give([(datagram, source)])
        assert self.twins.alone - before == alone, "who answers it"
        return answers

    def restart(self) -> bytes:
        """A new Switch; the cookie it gives TRUCK at HOME."""
        self.twins.restart()
        (out,) = self.tell(ReportKind.REFRESH, alone=True)
        told = parse_report(out.datagram)
        assert isinstance(told, Challenge)
        return told.cookie

    def show(self, cookie: bytes, *, alone: bool, ticket: bytes | None = None, **fields: object) -> list[Out]:
        """TRUCK's ticket to the new Switch."""
        assert self.truck.grant is not None
        shown = self.truck.grant.ticket if ticket is None else ticket
        boot_id = self.twins.plain.boot_id
        shown_by = self.truck.report(ReportKind.REFRESH, cookie=cookie, ticket=shown, boot_id=boot_id, **fields)  # type: ignore[arg-type]
        return self.raw(shown_by, alone=alone)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def read(answers: list[Out]) -> object:
    assert len(answers) == 1
    return parse_report(answers[0].datagram)


@pytest.mark.parametrize("kind", [ReportKind.REFRESH, ReportKind.MOVE, ReportKind.CONFIRM])
@pytest.mark.parametrize("observed", [UNKNOWN_LOCATOR, HOME])
def test_what_is_right_is_answered_at_once(stage: Stage, kind: ReportKind, observed: Locator) -> None:
    stage.twins.quick_table.set_credit(TRUCK, 5, 6)
    stage.twins.plain_table.set_credit(TRUCK, 5, 6)
    told = read(stage.tell(kind, alone=True, observed=observed, keepalive=600, priority=9))
    assert isinstance(told, Ack)
    assert (told.observed, told.lifetime, told.proof) == (HOME, 1800, bytes(8))
    assert stage.twins.quick_table.credit(TRUCK) == (GRACE_CREDIT, 6)


def test_a_move_to_another_path_of_its_own_makes_it_active(stage: Stage) -> None:
    stage.twins.pass_time(2.0)
    (out,) = stage.tell(ReportKind.MOVE, AWAY, alone=False, path=1)
    told = parse_report(out.datagram)
    assert isinstance(told, Ack)
    stage.tell(ReportKind.CONFIRM, AWAY, alone=False, path=1, observed=AWAY, cookie=told.proof + bytes(8))
    for path, place in ((0, HOME), (1, AWAY)):
        stage.tell(ReportKind.MOVE, place, alone=True, path=path)
        located = stage.twins.quick_table.locators(TRUCK)
        assert located is not None and located[1] == path
    older = stage.truck.report(ReportKind.MOVE, path=0)
    stage.tell(ReportKind.MOVE, AWAY, alone=True, path=1)
    stage.raw(older, alone=True)
    located = stage.twins.quick_table.locators(TRUCK)
    assert located is not None and located[1] == 1, "an older move renews, and changes nothing"


@pytest.mark.parametrize("path", range(4))
def test_every_path_has_its_own_locator(stage: Stage, path: int) -> None:
    stage.twins.pass_time(2.0)
    (out,) = stage.tell(ReportKind.MOVE, THIRD, alone=False, path=path)
    told = parse_report(out.datagram)
    assert isinstance(told, Ack)
    stage.tell(ReportKind.CONFIRM, THIRD, alone=False, path=path, observed=THIRD, cookie=told.proof + bytes(8))
    assert isinstance(read(stage.tell(ReportKind.REFRESH, THIRD, alone=True, path=path)), Ack)
    stage.tell(ReportKind.REFRESH, EVIL, alone=False, path=path)


def test_what_a_rule_refuses_goes_to_python(stage: Stage) -> None:
    said = stage.truck.report(ReportKind.REFRESH)
    stage.raw(said, alone=True)
    stage.raw(said, alone=False)  # the same number again: the ACK again
    stage.tell(ReportKind.REFRESH, alone=True)
    stage.raw(said, alone=False)  # an older one
    stage.tell(ReportKind.REFRESH, AWAY, alone=False)
    stage.tell(ReportKind.REFRESH, alone=False, observed=AWAY)
    stage.tell(ReportKind.REFRESH, alone=False, path=3)
    stage.tell(ReportKind.GET_CRL, alone=False)
    stage.tell(ReportKind.MOVE, AWAY, alone=False)  # and now a move is under way
    stage.tell(ReportKind.REFRESH, alone=False)
    stage.tell(ReportKind.BYE, alone=False)


def test_a_wrong_tag_is_counted_and_changes_nothing(stage: Stage) -> None:
    before = state(stage.twins.quick_table)
    assert stage.tell(ReportKind.REFRESH, alone=True, key=bytes(32)) == []
    assert state(stage.twins.quick_table) == before
    assert stage.twins.quick.counters["report_tag"] == 1


def test_near_its_end_a_grant_is_told_so_by_python(stage: Stage) -> None:
    """Time goes on without a tick, which would take the locator."""
    stage.twins.now = after(stage.twins.now, 86_400 - 3_600 - 2)
    assert isinstance(read(stage.tell(ReportKind.REFRESH, alone=True)), Ack)
    stage.twins.now = after(stage.twins.now, 2)
    told = read(stage.tell(ReportKind.REFRESH, alone=False))
    assert isinstance(told, Nak) and told.reason == NakReason.ATTACH_AGAIN
    assert isinstance(read(stage.tell(ReportKind.MOVE, alone=True)), Ack)
    stage.twins.now = after(stage.twins.now, 3_600)
    assert isinstance(read(stage.tell(ReportKind.REFRESH, alone=False)), Challenge)


def test_revoked_is_for_python_to_say(stage: Stage) -> None:
    stage.twins.set_crl(1, [0x98])
    told = read(stage.tell(ReportKind.REFRESH, alone=True))
    assert isinstance(told, Ack) and told.crl_number == 1
    stage.twins.set_crl(2, [0x99])
    assert isinstance(read(stage.tell(ReportKind.REFRESH, alone=False)), Nak)


# -- Without an attachment


def test_a_ticket_attaches_again(stage: Stage) -> None:
    cookie = stage.restart()
    told = read(stage.show(cookie, alone=True, path=2, priority=7, keepalive=30))
    assert isinstance(told, Ack) and told.lifetime == 90
    located = stage.twins.quick_table.locators(TRUCK)
    assert located == ((None, None, HOME.packed(), None), 2, -1, 0)
    assert isinstance(read(stage.tell(ReportKind.REFRESH, alone=True, boot_id=told.common.boot_id, path=2)), Ack)


def test_half_a_cookie_proves_too(stage: Stage) -> None:
    assert isinstance(read(stage.show(stage.restart()[:8] + bytes(8), alone=True)), Ack)


def test_a_cookie_is_good_for_one_change_of_secrets(stage: Stage) -> None:
    cookie = stage.restart()
    stage.twins.pass_time(61)
    assert isinstance(read(stage.show(cookie, alone=True)), Ack)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: bytes(16),
        lambda c: bytes(8) + c[8:],
        lambda c: c[:15] + bytes([c[15] ^ 1]),
        lambda c: c[:7] + bytes(9),
    ],
)
def test_a_wrong_cookie_earns_another_challenge(stage: Stage, spoil: Callable[[bytes], bytes]) -> None:
    cookie = stage.restart()
    stage.twins.pass_time(0.3)
    assert isinstance(read(stage.show(spoil(cookie), alone=True)), Challenge)
    assert stage.twins.quick_table.record(TRUCK) is None


def test_a_cookie_of_another_place_or_time_is_none(stage: Stage) -> None:
    cookie = stage.restart()
    ticket = stage.truck.grant.ticket if stage.truck.grant else b""
    boot_id = stage.twins.plain.boot_id
    report = stage.truck.report(ReportKind.REFRESH, cookie=cookie, ticket=ticket, boot_id=boot_id)
    assert isinstance(read(stage.raw(report, AWAY, alone=True)), Challenge)
    stage.twins.pass_time(130)
    assert isinstance(read(stage.show(cookie, alone=True)), Challenge)


def test_what_is_wrong_with_a_ticket_python_says(stage: Stage) -> None:
    cookie = stage.restart()
    assert stage.truck.grant is not None
    ticket = stage.truck.grant.ticket
    office = FakeNode(OFFICE, seed=9)
    stage.twins.attach(office, AWAY)
    assert office.grant is not None
    for shown in (ticket[:31], ticket[:-1], bytes(4) + ticket[4:], ticket[:40] + b"\0" + ticket[41:]):
        assert stage.show(cookie, alone=False, ticket=shown) == []
    assert stage.show(cookie, alone=False, ticket=office.grant.ticket) == []
    assert stage.show(cookie, alone=False, key=bytes(32)) == []
    counters = stage.twins.quick.counters
    assert [counters[name] for name in ("truncated", "ticket_key", "ticket_forged")] == [1, 1, 2]
    assert [counters[name] for name in ("ticket_of_another", "report_tag")] == [1, 1]


def test_a_ticket_that_is_over_or_revoked_or_finds_no_room(stage: Stage) -> None:
    cookie = stage.restart()
    stage.twins.set_crl(3, [0x99])
    assert isinstance(read(stage.show(cookie, alone=False)), Nak)
    late = Stage()
    late.twins.pass_time(86_400)
    assert isinstance(read(late.show(late.restart(), alone=False)), Nak)
    full = Stage(capacity=1)
    cookie = full.restart()
    full.twins.attach(FakeNode(OFFICE, seed=9), AWAY)
    assert full.show(cookie, alone=False) == []
    assert full.twins.quick.counters["table_full"] == 1


def test_a_grant_on_its_way_is_for_python(stage: Stage) -> None:
    stage.restart()
    stage.twins.attach(stage.truck, HOME, settled=False)
    assert isinstance(read(stage.tell(ReportKind.REFRESH, alone=False)), Ack)


def test_challenges_are_limited(stage: Stage) -> None:
    stage.twins.restart()
    batch = [(FakeNodeAt(i).report(stage), HOME) for i in range(CHALLENGES_PER_PREFIX + 50)]
    assert sum(map(len, stage.twins.give(batch))) == CHALLENGES_PER_PREFIX
    assert stage.twins.alone == len(batch)


class FakeNodeAt:
    """Somebody whom the Switch does not know."""

    def __init__(self, number: int) -> None:
        self.id = NodeID(0x9000_0000 + number)

    def report(self, stage: Stage) -> bytes:
        known = stage.truck.report(ReportKind.REFRESH)
        return known[:12] + self.id.packed() + known[20:]


# -- Bad input


def test_every_length_and_every_changed_byte(stage: Stage) -> None:
    report = stage.truck.report(ReportKind.REFRESH)
    rng = random.Random(7)
    batch = [(report[:length], HOME) for length in range(len(report))]
    batch += [(report[:at] + bytes([rng.randrange(256)]) + report[at + 1 :], HOME) for at in range(92) for _ in "1234"]
    stage.twins.give(batch)


def test_a_changed_byte_of_a_ticket(stage: Stage) -> None:
    cookie = stage.restart()
    assert stage.truck.grant is not None
    ticket = stage.truck.grant.ticket
    boot_id = stage.twins.plain.boot_id
    shown = [ticket[:at] + bytes([ticket[at] ^ 0x40]) + ticket[at + 1 :] for at in range(len(ticket))]
    shown += [ticket[:length] for length in range(1, len(ticket))] + [ticket + bytes(i) for i in (1, 100)]
    reports = [stage.truck.report(ReportKind.MOVE, cookie=cookie, ticket=one, boot_id=boot_id) for one in shown]
    assert stage.twins.give([(report, HOME) for report in reports]) == [[]] * len(reports)


def test_records_that_are_no_reports_are_left_alone() -> None:
    reports, answers = Reports(Table(4, bytes(16))), []  # type: ignore[var-annotated]

    def never() -> object:
        raise AssertionError("nothing here needs the terms")

    unmatched = UNMATCHED, record(bytes(100), HOME)[1]
    for one in (record(b"", HOME), record(bytes(92), HOME), unmatched, (1, b""), (1, bytes(37)), (0, bytes(500))):
        assert reports.answer([one], 0, never, answers) == 0  # type: ignore[arg-type]
    assert reports.answer([], 0, never, answers) == 0  # type: ignore[arg-type]
    assert answers == []
    with pytest.raises(TypeError):
        reports.answer([b"not a record"], 0, never, answers)  # type: ignore[list-item, arg-type]


def test_a_fault_in_the_directory_leaves_the_table_as_it_was(stage: Stage) -> None:
    cookie = stage.restart()
    terms = stage.twins.quick.terms(stage.twins.now)

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    assert stage.truck.grant is not None
    report = stage.truck.report(
        ReportKind.REFRESH, cookie=cookie, ticket=stage.truck.grant.ticket, boot_id=terms.boot_id
    )
    table = Table(4, bytes(16))
    with pytest.raises(ZeroDivisionError):
        Reports(table).answer([record(report, HOME)], 0, lambda: terms._replace(learn=fails), [])
    assert len(table) == 0 and terms.switch_id == SWITCH


def test_a_knock_is_left_to_python(stage: Stage) -> None:
    (out,) = stage.tell(ReportKind.KNOCK, AWAY, alone=False)
    assert out.to == HOME
