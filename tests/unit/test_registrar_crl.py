"""Revocation lists, hints, snapshots: what concerns many nodes at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.forwarding.snapshot import StartHints, pack_snapshot, parse_entries
from ovng.ids import Locator, NodeID
from ovng.limits import CRL_PIECE
from ovng.wire.header import Header, PacketType
from ovng.wire.inner import GrantStatus
from ovng.wire.report import CrlPiece, Nak, NakReason, ReportKind, verify
from tests.attachment_fixture import AWAY, EVIL, HOME, OFFICE, SWITCH, TRUCK, FakeNode
from tests.registrar_scene import Scene, ack, answer, challenge, mismatch, nak, read

REFRESH, MOVE, GET_CRL = ReportKind.REFRESH, ReportKind.MOVE, ReportKind.GET_CRL


@pytest.fixture
def scene() -> Scene:
    return Scene()


# -- Revocation


def test_a_revoked_attachment_ends_and_is_told(scene: Scene) -> None:
    office = FakeNode(OFFICE, "10.77.0.2/32", serial=8, seed=9)
    office.attach(scene.switch, AWAY, scene.now)
    down = scene.truck.down
    scene.switch.set_crl(3, b"a list", [7, 1 << 100])
    scene.pass_time(0.2)
    assert scene.table.record(TRUCK) is None
    told = [out for out in scene.pushed if out.to == HOME]
    (report,) = [report for report, _ in read(told)]
    assert isinstance(report, Nak) and report.reason == NakReason.REVOKED and report.common.number == 0
    assert verify(told[0].datagram, down)
    ack(scene.report(REFRESH, AWAY, office), AWAY)


def test_a_revoked_certificate_does_not_attach(scene: Scene) -> None:
    scene.switch.set_crl(3, b"a list", [9])
    other = FakeNode(OFFICE, "10.77.0.2/32", serial=9)
    other.attach(scene.switch, AWAY, scene.now)
    assert other.refused == GrantStatus.REVOKED


def test_a_revoked_ticket_earns_an_authenticated_no(scene: Scene) -> None:
    scene.restart()
    scene.switch.set_crl(3, b"a list", [7])
    boot = scene.switch.boot_id
    hint = challenge(scene.report(REFRESH, boot_id=boot), HOME)
    assert scene.truck.grant is not None
    out = scene.report(REFRESH, boot_id=boot, cookie=hint.cookie, ticket=scene.truck.grant.ticket)
    assert nak(out, HOME) == NakReason.REVOKED
    assert len(scene.switch) == 0


def test_a_revoked_node_is_refused_before_the_walk_comes_by(scene: Scene) -> None:
    scene.switch.set_crl(3, b"a list", [7])
    assert nak(scene.report(MOVE, AWAY), AWAY) == NakReason.REVOKED
    assert len(scene.switch) == 0


def test_every_ack_carries_the_number(scene: Scene) -> None:
    assert ack(scene.report(REFRESH), HOME).crl_number == 0
    scene.switch.set_crl(3, b"a list", [])
    assert ack(scene.report(REFRESH), HOME).crl_number == 3


@pytest.mark.parametrize(("size", "pieces"), [(1, 1), (1_024, 1), (1_025, 2), (4_096, 4), (4_097, 1), (60_000, 1)])
def test_a_new_list_is_pushed_to_all_confirmed_locators(scene: Scene, size: int, pieces: int) -> None:
    der = bytes(i % 251 for i in range(size))
    office = FakeNode(OFFICE, "10.77.0.2/32", serial=8, seed=9)
    office.attach(scene.switch, AWAY, scene.now)
    scene.report(MOVE, EVIL)  # provisional: the list goes to the old locator
    scene.switch.set_crl(3, der, [])
    scene.pass_time(0.5)
    for place, node in ((HOME, scene.truck), (AWAY, office)):
        pushed = [out for out in scene.pushed if out.to == place]
        assert len(pushed) == pieces
        assert all(verify(out.datagram, node.down) for out in pushed)
        found = [report for report, _ in read(pushed) if isinstance(report, CrlPiece)]
        assert b"".join(piece.piece for piece in found) == der[: CRL_PIECE * pieces]
        assert {piece.total for piece in found} == {size}
    assert not [out for out in scene.pushed if out.to == EVIL]


def test_missing_pieces_are_asked_for(scene: Scene) -> None:
    der = bytes(i % 251 for i in range(5_000))
    scene.switch.set_crl(3, der, [])
    got = b""
    while len(got) < len(der):
        piece = answer(scene.report(GET_CRL, offset=len(got)), HOME)
        assert isinstance(piece, CrlPiece) and piece.offset == len(got)
        got += piece.piece
    assert got == der
    assert scene.report(GET_CRL, offset=5_000) == []
    assert scene.report(GET_CRL, offset=0xFFFF_FFFF) == []


def test_pieces_are_given_without_a_list_to_nobody(scene: Scene) -> None:
    assert scene.report(GET_CRL) == []


def test_pushes_are_spread_over_ticks() -> None:
    scene = Scene(capacity=3_000)
    for i in range(2_500):
        place = Locator(AWAY.address, i + 1)
        FakeNode(NodeID(10_000 + i), f"10.78.{i >> 8}.{i & 255}/32", serial=100 + i, seed=i).attach(
            scene.switch, place, scene.now
        )
    scene.pass_time(2)
    scene.pushed.clear()
    scene.switch.set_crl(3, b"short", [])
    sizes = []
    for _ in range(12):
        scene.pass_time(0.05)
        sizes.append(len(scene.pushed))
        scene.pushed.clear()
    assert max(sizes) <= 300
    assert sum(sizes) == 2_501


# -- Hints about what was forwarded


def header(src: NodeID, number: int = 9) -> bytes:
    return Header(PacketType.DATA, 1, 0, NodeID(5), src, number).pack()


def test_data_from_elsewhere_earns_a_mismatch(scene: Scene) -> None:
    hint = mismatch(read(scene.switch.handle_unmatched(header(TRUCK), AWAY, True, 100, scene.now)), AWAY)
    assert (hint.dst, hint.src, hint.number) == (TRUCK, SWITCH, 9)
    ack(scene.report(MOVE, AWAY, observed=AWAY, cookie=hint.cookie), AWAY)
    assert scene.sends_to() == AWAY


def test_data_of_an_unknown_id_earns_a_challenge(scene: Scene) -> None:
    reply = challenge(read(scene.switch.handle_unmatched(header(OFFICE), AWAY, False, 100, scene.now)), AWAY)
    assert reply.echo == bytes(8)
    assert reply.common.boot_id == scene.switch.boot_id


@pytest.mark.parametrize(("attached", "size"), [(True, 62), (False, 64)])
def test_never_for_a_datagram_smaller_than_the_hint(scene: Scene, attached: bool, size: int) -> None:
    assert scene.switch.handle_unmatched(header(TRUCK), AWAY, attached, size - 1, scene.now) == []
    (out,) = scene.switch.handle_unmatched(header(TRUCK), AWAY, attached, size, scene.now)
    assert len(out.datagram) == size


def test_one_hint_per_second_source_and_id(scene: Scene) -> None:
    def hints(source: Locator = AWAY, node: NodeID = TRUCK) -> int:
        return len(scene.switch.handle_unmatched(header(node), source, True, 100, scene.now))

    assert [hints(), hints(), hints(EVIL), hints(node=OFFICE)] == [1, 0, 1, 1]
    scene.pass_time(1)
    assert [hints(), hints()] == [1, 0]


def test_a_hint_to_data_does_not_use_up_the_answer_to_a_report(scene: Scene) -> None:
    """DATA of a node that the Switch forgot: CHALLENGE, its report: CHALLENGE, its ticket: ACK; within an instant."""
    scene.restart()
    boot = scene.switch.boot_id
    challenge(read(scene.switch.handle_unmatched(header(TRUCK), HOME, False, 100, scene.now)), HOME)
    hint = challenge(scene.report(REFRESH), HOME)
    assert scene.truck.grant is not None
    ack(scene.report(REFRESH, boot_id=boot, cookie=hint.cookie, ticket=scene.truck.grant.ticket), HOME)


@given(st.binary(max_size=40), st.booleans(), st.integers(0, 2_000))
def test_any_header_changes_nothing(data: bytes, attached: bool, length: int) -> None:
    scene = Scene()
    before = scene.state()
    for out in scene.switch.handle_unmatched(data, AWAY, attached, length, scene.now):
        assert len(out.datagram) <= length
    assert scene.state() == before


# -- Snapshots


def crowd(count: int) -> Scene:
    scene = Scene(capacity=count + 1)
    for i in range(count):
        place = Locator(AWAY.address, i + 1)
        FakeNode(NodeID(10_000 + i), "10.78.0.1/32", seed=i).attach(scene.switch, place, scene.now)
    return scene


def test_the_nodes_of_a_snapshot_are_called_within_a_second() -> None:
    scene = crowd(200)
    data = b"".join(scene.switch.snapshot())
    assert len(data) == 13 + 201 * 26
    scene.restart(capacity=300)
    assert scene.switch.restore(data, scene.now) == 201
    scene.pass_time(0.5)
    half = len(scene.pushed)
    assert 80 <= half <= 125
    scene.pass_time(0.6)
    assert len({out.to for out in scene.pushed}) == len(scene.pushed) == 201
    assert len(scene.switch) == 0, "nothing of a snapshot is believed"
    challenge(read([out for out in scene.pushed if out.to == HOME]), HOME)


def test_who_is_back_already_is_not_called(scene: Scene) -> None:
    data = b"".join(scene.switch.snapshot())
    scene.restart()
    scene.truck.attach(scene.switch, HOME, scene.now)
    scene.switch.restore(data, scene.now)
    scene.pass_time(2)
    assert scene.pushed == []


def test_a_node_without_locator_is_in_no_snapshot(scene: Scene) -> None:
    scene.report(ReportKind.BYE)
    assert b"".join(pack_snapshot(scene.table)) == b"ovng nodes 1\n"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_snapshot_or_malformed(data: bytes) -> None:
    hints = StartHints()
    for whole in (data, b"ovng nodes 1\n" + data, b"ovng nodes 1\n" + data[: len(data) // 26 * 26]):
        try:
            hints.load(whole, 10.0)
        except Malformed:
            continue
        called = list(parse_entries(hints.due(12.0, 0)))
        assert len(called) <= len(data) // 26
        assert all(node and place.known for node, place in called)


# -- Status


def test_status_shows_every_node(scene: Scene) -> None:
    scene.report(MOVE, AWAY)
    (info,) = scene.switch.nodes(scene.now)
    assert (info.node, info.locator, info.provisional) == (TRUCK, HOME, AWAY)
    assert info.has_private_keys
    assert 86_390 < info.grant_seconds <= 86_400
    assert 70 < info.lease_seconds <= 76


def large() -> StartHints:
    hints = StartHints()
    hints.load(b"ovng nodes 1\n" + ((9).to_bytes(8, "big") + HOME.packed()) * 50_000, 10.0)
    return hints


def due(hints: StartHints, at: float, returned: int = 0) -> int:
    return len(list(parse_entries(hints.due(at, returned))))


def test_a_large_snapshot_is_called_at_a_steady_pace_while_all_answer() -> None:
    hints, called, now = large(), 0, 10.0
    steps = []
    while hints.active:
        deadline = hints.deadline()
        assert deadline is not None and deadline > now
        now = deadline
        steps.append(due(hints, now, called))
        called += steps[-1]
    assert called == 50_000 and hints.deadline() is None
    assert max(steps) <= 401, "no burst"
    assert now == pytest.approx(11.25, abs=0.02)


def test_who_does_not_answer_slows_the_calls_and_ends_nothing() -> None:
    hints = large()
    first = sum(due(hints, 10 + 0.05 * step) for step in range(1, 11))
    assert 2_500 < first < 5_000
    calls = [due(hints, 10 + 0.05 * step) for step in range(11, 500)]
    assert max(calls) <= 126, "as many as are given up"
    assert not hints.active and first + sum(calls) == 50_000


def test_a_long_pause_is_not_made_up_for_at_once() -> None:
    assert due(large(), 20.0) == 2_500
