"""Resolution, routes, pushes, and who may ask (PROTOCOL 7)."""

from __future__ import annotations

import ipaddress

import pytest

from ovng.forwarding.store import Out
from ovng.ids import Locator, NodeID
from ovng.limits import MAX_CONTROL_DATAGRAM
from ovng.session.keys import master_keys
from ovng.wire.header import PacketType, parse_header
from ovng.wire.private import (
    ROUTES_PER_PAGE,
    Changed,
    Private,
    Resolve,
    Resolved,
    ResolveStatus,
    Route,
    RouteList,
    Routes,
    parse_private,
    parse_sealed,
    private_header,
)
from ovng.wire.report import Mismatch, Nak, NakReason, ReportKind, parse_report, verify
from tests.attachment_fixture import AWAY, EVIL, HOME, OFFICE, SWITCH, TRUCK, FakeNode, TestAead, prefix
from tests.registrar_scene import Scene, ack, challenge, read

NETWORK = (prefix("10.77.0.0/16"),)
ADDRESS = ipaddress.ip_address("10.77.0.2")
THERE = Locator.of("203.0.113.50", 9_000)


def sealed(node: FakeNode, message: Private, *, dst: NodeID = SWITCH, key: bytes | None = None) -> bytes:
    header, nonce = private_header(dst, node.id), node.random(12)
    up = key or master_keys(node.private_master)[0]
    return header + nonce + TestAead(1, up).seal(nonce, header, message.pack())


def opened(node: FakeNode, datagram: bytes) -> Private:
    header, nonce, rest = parse_sealed(datagram)
    plaintext = TestAead(1, master_keys(node.private_master)[1]).open(nonce, header, rest)
    assert plaintext is not None
    return parse_private(plaintext)


def is_private(out: Out) -> bool:
    return parse_header(out.datagram).type == PacketType.PRIVATE


class Pair(Scene):
    """A truck that asks, and an office it asks for; the Switch has run for 10 s."""

    def __init__(self) -> None:
        super().__init__(network=NETWORK)
        self.office = FakeNode(OFFICE, "10.77.0.2/32", "192.168.8.0/24", serial=8, seed=9)
        self.office.attach(self.switch, AWAY, self.now)
        self.pass_time(10)

    def ask(self, message: Private, source: Locator = HOME) -> list[Out]:
        return self.switch.handle_private(sealed(self.truck, message), source, self.now)

    def answer(self, message: Private) -> Private:
        (out,) = self.ask(message)
        assert out.to == HOME
        return opened(self.truck, out.datagram)

    def pushes(self, node: FakeNode) -> list[Changed]:
        found = [opened(node, out.datagram) for out in self.pushed if is_private(out)]
        self.pushed.clear()
        assert all(isinstance(one, Changed) for one in found)
        return found  # type: ignore[return-value]


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_who_attached_with_an_address(pair: Pair) -> None:
    assert pair.answer(Resolve(5, ADDRESS)) == Resolved(5, ResolveStatus.FOUND, 300, prefix("10.77.0.2/32"), (OFFICE,))
    behind = ipaddress.ip_address("192.168.8.77")
    assert pair.answer(Resolve(6, behind)) == Resolved(6, ResolveStatus.FOUND, 300, prefix("192.168.8.0/24"), (OFFICE,))


def test_nobody_is_said_after_five_seconds_only() -> None:
    pair = Pair()
    nobody = ipaddress.ip_address("10.77.9.9")
    assert pair.answer(Resolve(1, nobody)) == Resolved(1, ResolveStatus.NOBODY, 30, prefix("10.77.9.9/32"))
    fresh = Scene(network=NETWORK)
    out = fresh.switch.handle_private(sealed(fresh.truck, Resolve(1, nobody)), HOME, fresh.now)
    assert opened(fresh.truck, out[0].datagram) == Resolved(1, ResolveStatus.NOT_YET, 1, prefix("10.77.9.9/32"))


def test_cluster_members_are_all_named_reachable_ones_first(pair: Pair) -> None:
    members = [FakeNode(NodeID(100 + i), "10.77.5.5/32", seed=50 + i) for i in range(10)]
    for i, member in enumerate(members):
        member.attach(pair.switch, Locator(THERE.address, 1_000 + i), pair.now)
    pair.report(ReportKind.BYE, Locator(THERE.address, 1_000), members[0])
    found = pair.answer(Resolve(5, ipaddress.ip_address("10.77.5.5")))
    assert isinstance(found, Resolved)
    assert len(found.nodes) == 8
    if members[0].id in found.nodes:
        assert found.nodes[-1] == members[0].id


def test_only_confirmed_locators_are_answered(pair: Pair) -> None:
    assert [type(report) for report, _ in read(pair.ask(Resolve(1, ADDRESS), EVIL))] == [Mismatch]
    proof = ack(pair.report(ReportKind.MOVE, THERE), THERE).proof
    assert pair.ask(Resolve(1, ADDRESS), THERE) == []
    assert pair.switch.counters["private_provisional"] == 1
    pair.report(ReportKind.CONFIRM, THERE, observed=THERE, cookie=proof + bytes(8))
    assert is_private(pair.ask(Resolve(1, ADDRESS), THERE)[0])


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (lambda pair: sealed(pair.truck, Resolve(1, ADDRESS), key=b"k" * 32), "private_forged"),
        (lambda pair: sealed(pair.truck, Resolve(1, ADDRESS), dst=NodeID(7)), "not_for_me"),
        (lambda pair: sealed(pair.truck, Changed(1, 1)), "private_direction"),
        (lambda pair: sealed(pair.truck, Resolve(1, ADDRESS))[:60], "private_length"),
        (lambda pair: b"\x14\x01" + sealed(pair.truck, Resolve(1, ADDRESS))[2:], "private_header"),
        (lambda pair: b"\x14\0\0\1" + sealed(pair.truck, Resolve(1, ADDRESS))[4:], "private_header"),
    ],
)
def test_what_is_wrong_is_dropped_under_its_reason(pair: Pair, datagram: object, reason: str) -> None:
    before = pair.state()
    assert pair.switch.handle_private(datagram(pair), HOME, pair.now) == []  # type: ignore[operator]
    assert pair.switch.counters[reason] == 1
    assert pair.state() == before


def test_an_answer_is_no_request(pair: Pair) -> None:
    down = master_keys(pair.truck.private_master)[1]
    forged = sealed(pair.truck, Resolve(1, ADDRESS), key=down)
    assert pair.switch.handle_private(forged, HOME, pair.now) == []


def test_requests_are_limited_per_node(pair: Pair) -> None:
    answered = sum(len(pair.ask(Resolve(i, ADDRESS))) for i in range(500))
    assert answered == 200
    pair.pass_time(1)
    assert len(pair.ask(Resolve(1, ADDRESS))) == 1


def test_strangers_are_challenged(pair: Pair) -> None:
    stranger = FakeNode(NodeID(0x9999))
    reply = challenge(read(pair.switch.handle_private(sealed(stranger, Resolve(1, ADDRESS)), EVIL, pair.now)), EVIL)
    assert reply.echo == bytes(8)


def test_lost_private_keys_are_said_under_the_report_keys(pair: Pair) -> None:
    pair.restart()
    hint = challenge(pair.report(ReportKind.REFRESH, HOME), HOME)
    assert pair.truck.grant is not None
    boot = pair.switch.boot_id
    pair.report(ReportKind.REFRESH, cookie=hint.cookie, ticket=pair.truck.grant.ticket, boot_id=boot)
    datagram = sealed(pair.truck, Resolve(1, ADDRESS))
    (out,) = pair.switch.handle_private(datagram, HOME, pair.now)
    assert len(out.datagram) <= len(datagram)
    reply = parse_report(out.datagram)
    assert isinstance(reply, Nak) and reply.reason == NakReason.NO_PRIVATE_KEYS
    assert reply.common.number == int.from_bytes(datagram[28:36], "big")
    assert verify(out.datagram, pair.truck.down)


# -- Routes


def test_the_route_list_comes_in_pages(pair: Pair) -> None:
    gateway = FakeNode(NodeID(500), *(f"172.{16 + i // 250}.{i % 250}.0/24" for i in range(100)), seed=70)
    gateway.attach(pair.switch, THERE, pair.now)
    routes: list[Route] = []
    version = 0
    while True:
        page = pair.answer(Routes(1, len(routes)))
        assert isinstance(page, RouteList)
        assert page.total == 101
        assert page.start == len(routes)
        assert version in (0, page.version)
        version = page.version
        routes += page.routes
        if len(routes) == page.total:
            break
        assert len(page.routes) == ROUTES_PER_PAGE
    assert len(set(routes)) == 101


def test_a_page_fits_a_datagram(pair: Pair) -> None:
    gateway = FakeNode(NodeID(500), *(f"fd00:{i:x}::/64" for i in range(60)), seed=70)
    gateway.attach(pair.switch, THERE, pair.now)
    (out,) = pair.ask(Routes(1, 0))
    assert len(out.datagram) <= MAX_CONTROL_DATAGRAM


def test_beyond_the_end_there_is_an_empty_page(pair: Pair) -> None:
    page = pair.answer(Routes(1, 60_000))
    assert isinstance(page, RouteList) and (page.total, page.start, page.routes) == (1, 1, ())


def test_who_asked_for_routes_is_told_of_changes(pair: Pair) -> None:
    page = pair.answer(Routes(1, 0))
    assert isinstance(page, RouteList)
    gateway = FakeNode(NodeID(500), "172.16.0.0/24", seed=70)
    gateway.attach(pair.switch, THERE, pair.now)
    pair.pass_time(2)
    (told,) = pair.pushes(pair.truck)
    assert told.prefix is None
    assert told.version > page.version
    pair.pass_time(5)
    assert pair.pushes(pair.truck) == []


# -- Changes


def test_who_asked_is_told_when_somebody_appears(pair: Pair) -> None:
    late = ipaddress.ip_address("10.77.0.3")
    pair.answer(Resolve(1, late))
    newcomer = FakeNode(NodeID(600), "10.77.0.3/32", seed=71)
    newcomer.attach(pair.switch, THERE, pair.now)
    pair.pass_time(2)
    (told,) = pair.pushes(pair.truck)
    assert told.prefix == prefix("10.77.0.3/32")


def test_who_asked_is_told_when_a_holder_goes_and_comes(pair: Pair) -> None:
    pair.answer(Resolve(1, ADDRESS))
    pair.switch.set_crl(1, b"crl", [8])
    pair.pass_time(3)
    first = [told.prefix for told in pair.pushes(pair.truck)]
    assert first == [prefix("10.77.0.2/32")]
    nobody = pair.answer(Resolve(2, ADDRESS))
    assert isinstance(nobody, Resolved) and nobody.status == ResolveStatus.NOBODY
    again = FakeNode(OFFICE, "10.77.0.2/32", serial=9, seed=72)
    again.attach(pair.switch, AWAY, pair.now)
    pair.pass_time(3)
    second = pair.pushes(pair.truck)
    assert [told.prefix for told in second] == [prefix("10.77.0.2/32")]


def test_attaching_again_is_no_change(pair: Pair) -> None:
    pair.answer(Resolve(1, ADDRESS))
    pair.office.attach(pair.switch, AWAY, pair.now)
    pair.pass_time(3)
    assert pair.pushes(pair.truck) == []


def test_counters_of_pushes_rise(pair: Pair) -> None:
    counters = []
    for i in range(5):
        pair.answer(Resolve(i, ipaddress.ip_address(f"10.77.3.{i}")))
        FakeNode(NodeID(700 + i), f"10.77.3.{i}/32", seed=80 + i).attach(pair.switch, THERE, pair.now)
        pair.pass_time(2)
        counters += [told.counter for told in pair.pushes(pair.truck)]
    assert len(counters) == 5
    assert counters == sorted(set(counters))


def test_nothing_is_pushed_to_a_node_without_locator(pair: Pair) -> None:
    pair.answer(Resolve(1, ipaddress.ip_address("10.77.0.3")))
    pair.report(ReportKind.BYE)
    FakeNode(NodeID(600), "10.77.0.3/32", seed=71).attach(pair.switch, THERE, pair.now)
    pair.pass_time(2)
    assert pair.pushes(pair.truck) == []
    assert pair.sends_to(node=TRUCK) is None
