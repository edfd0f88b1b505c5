"""Grants and tickets: attaching by TLS, a Switch that restarts, a copied profile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.forwarding.attachments import newer, next_grant
from ovng.ids import Locator, NodeID
from ovng.wire.inner import Attach, AttachMode, GrantStatus
from ovng.wire.report import Ack, Nak, NakReason, ReportKind, parse_report, verify
from tests.attachment_fixture import AWAY, EVIL, HOME, OFFICE, TRUCK, FakeNode, identity
from tests.registrar_scene import Replies, Scene, ack, answer, challenge, nak, read

REFRESH, MOVE, BYE = ReportKind.REFRESH, ReportKind.MOVE, ReportKind.BYE
START, CONTINUE = AttachMode.START, AttachMode.CONTINUE


@pytest.fixture
def scene() -> Scene:
    return Scene()


def present_ticket(scene: Scene, node: FakeNode, source: Locator, kind: ReportKind = REFRESH) -> Replies:
    """What a node does after a CHALLENGE: the same again, with cookie and ticket."""
    hint = challenge(scene.report(kind, source, node, boot_id=scene.switch.boot_id), source)
    assert node.grant is not None
    ticketed = node.report(kind, cookie=hint.cookie, ticket=node.grant.ticket, boot_id=hint.common.boot_id)
    return scene.raw(ticketed, source)


# -- Grant numbers


@given(st.integers(1, 65_535), st.floats(0, 4e9))
def test_the_next_grant_is_newer(last: int, wall: float) -> None:
    following = next_grant(last, wall)
    assert 1 <= following <= 65_535
    assert newer(following, last)


def test_grants_of_two_boots_are_in_order() -> None:
    assert newer(next_grant(0, 1e9 + 86_400), next_grant(0, 1e9))
    assert not newer(5, 5)


# -- By TLS


def test_a_grant_says_all_that_is_needed(scene: Scene) -> None:
    grant = scene.truck.grant
    assert grant is not None
    assert grant.status == GrantStatus.GRANTED
    assert grant.lifetime == 86_400
    assert grant.boot_id == scene.switch.boot_id
    assert grant.observed == HOME
    assert 0 < len(grant.ticket) <= 512


def test_a_grant_holds_from_settle_on(scene: Scene) -> None:
    other = FakeNode(TRUCK, "10.77.0.1/32", instance=78, seed=6)
    other.report_master, other.private_master = other.random(32), other.random(32)
    grant = scene.switch.attach(
        other.identity, Attach(1, 0, 78, 25), AWAY.packed(), other.report_master, other.private_master, scene.now
    )
    ack(scene.report(REFRESH), HOME)
    scene.switch.settle(TRUCK, other.report_master, scene.now)
    assert scene.record().grant == grant.grant
    assert scene.sends_to() == AWAY


def test_a_report_under_a_pending_grant_settles_it(scene: Scene) -> None:
    """The acknowledgement of GRANT was lost; that it arrived is proved all the same."""
    truck = scene.truck
    truck.report_master, truck.private_master = truck.random(32), truck.random(32)
    truck.grant = scene.switch.attach(
        truck.identity,
        Attach(1, 0, truck.instance, 25),
        AWAY.packed(),
        truck.report_master,
        truck.private_master,
        scene.now,
    )
    forged = truck.report(REFRESH, key=b"x" * 32)
    challenge(scene.raw(forged, EVIL), EVIL)
    truck.number = 0
    ack(scene.report(REFRESH, AWAY), AWAY)
    assert scene.record().private_master == truck.private_master
    assert scene.switch.settle(TRUCK, truck.report_master, scene.now) == []
    assert scene.record().sequence[0] == 1, "settling late changes nothing else"


def test_settling_what_is_not_pending_changes_nothing(scene: Scene) -> None:
    before = scene.state()
    assert scene.switch.settle(TRUCK, b"a" * 32, scene.now) == []
    assert scene.switch.settle(OFFICE, b"a" * 32, scene.now) == []
    assert scene.state() == before


def test_a_full_switch_refuses_newcomers_only() -> None:
    scene = Scene(capacity=1)
    other = FakeNode(OFFICE, "10.77.0.2/32")
    other.attach(scene.switch, AWAY, scene.now)
    assert other.refused == GrantStatus.FULL
    scene.truck.attach(scene.switch, AWAY, scene.now)
    assert scene.sends_to() == AWAY


def test_the_last_place_is_given_once() -> None:
    scene = Scene(capacity=2)
    nodes = [FakeNode(NodeID(9_000 + i), f"10.77.1.{i}/32", seed=i) for i in range(2)]
    for node in nodes:
        node.grant = scene.switch.attach(
            node.identity, Attach(1, 0, 5, 25), AWAY.packed(), node.report_master, node.private_master, scene.now
        )
    for node in nodes:
        scene.switch.settle(node.id, node.report_master, scene.now)
    assert len(scene.switch) == 2
    assert scene.table.record(nodes[1].id) is None


def test_a_report_that_comes_too_late_for_the_last_place(scene: Scene) -> None:
    """Under a grant on its way, when others have taken the table's last entry meanwhile."""
    scene = Scene(capacity=2)
    nodes = [FakeNode(NodeID(9_000 + i), f"10.77.1.{i}/32", seed=i) for i in range(2)]
    for node in nodes:
        masters = node.report_master, node.private_master
        node.grant = scene.switch.attach(node.identity, Attach(1, 0, 5, 25), AWAY.packed(), *masters, scene.now)
    scene.switch.settle(nodes[0].id, nodes[0].report_master, scene.now)
    before = scene.state()
    assert scene.report(REFRESH, AWAY, node=nodes[1]) == []
    assert scene.switch.counters["table_full"] == 1
    assert scene.state() == before


def test_a_grant_does_not_outlive_the_certificate(scene: Scene) -> None:
    short = identity(OFFICE, "10.77.0.2/32", days=0.25)
    grant = scene.switch.attach(short, Attach(1, 0, 5, 25), AWAY.packed(), b"m" * 32, b"p" * 32, scene.now)
    assert abs(grant.lifetime - 21_600) < 10


def test_the_same_process_attaches_again_and_keeps_its_paths(scene: Scene) -> None:
    proof = ack(scene.report(MOVE, AWAY, path=1), AWAY).proof
    scene.report(ReportKind.CONFIRM, AWAY, path=1, observed=AWAY, cookie=proof + bytes(8))
    scene.pass_time(5)
    before = scene.truck.grant
    assert before is not None
    scene.truck.attach(scene.switch, AWAY, scene.now, CONTINUE)
    assert scene.truck.grant is not None and newer(scene.truck.grant.grant, before.grant)
    state = scene.table.locators(TRUCK)
    assert state is not None and state[0][:2] == (HOME.packed(), AWAY.packed())
    assert scene.sends_to() == AWAY
    ack(scene.report(REFRESH, HOME, path=0), HOME)


# -- A copied profile


def test_a_start_takes_over_and_the_other_is_told_at_once(scene: Scene) -> None:
    copy = FakeNode(TRUCK, "10.77.0.1/32", instance=78, seed=6)
    out = copy.attach(scene.switch, AWAY, scene.now)
    assert [one.to for one in out] == [HOME]
    told = parse_report(out[0].datagram)
    assert isinstance(told, Nak) and told.reason == NakReason.SUPERSEDED
    assert told.common.grant == scene.truck.grant.grant  # type: ignore[union-attr]
    assert verify(out[0].datagram, scene.truck.down)
    assert scene.sends_to() == AWAY
    ack(scene.report(REFRESH, AWAY, copy), AWAY)


def test_the_superseded_one_hears_it_under_its_tickets_key(scene: Scene) -> None:
    copy = FakeNode(TRUCK, "10.77.0.1/32", instance=78, seed=6)
    copy.attach(scene.switch, AWAY, scene.now)
    before = scene.state()
    hint = challenge(scene.report(REFRESH), HOME)
    assert scene.truck.grant is not None
    datagram = scene.truck.report(REFRESH, cookie=hint.cookie, ticket=scene.truck.grant.ticket)
    out = scene.switch.handle_report(datagram, HOME, scene.now)
    assert nak(read(out), HOME) == NakReason.SUPERSEDED
    assert verify(out[0].datagram, scene.truck.down)
    assert scene.state() == before


def test_continuing_after_another_took_over_is_refused(scene: Scene) -> None:
    copy = FakeNode(TRUCK, "10.77.0.1/32", instance=78, seed=6)
    copy.attach(scene.switch, AWAY, scene.now)
    old = scene.truck.grant
    scene.truck.attach(scene.switch, HOME, scene.now, CONTINUE)
    assert scene.truck.refused == GrantStatus.SUPERSEDED
    assert scene.truck.grant == old
    assert scene.sends_to() == AWAY


def test_an_old_grant_of_the_same_process_is_not_superseded(scene: Scene) -> None:
    """GRANT n+1 was lost on its way: the process must attach again, not end."""
    old = scene.truck.grant
    assert old is not None
    keys = scene.truck.report_master
    scene.pass_time(5)
    scene.truck.attach(scene.switch, HOME, scene.now, CONTINUE)
    scene.truck.grant, scene.truck.report_master, scene.truck.number = old, keys, 10
    assert nak(present_ticket(scene, scene.truck, HOME), HOME) == NakReason.GRANT


def test_a_superseded_ticket_does_not_come_back_after_a_restart(scene: Scene) -> None:
    copy = FakeNode(TRUCK, "10.77.0.1/32", instance=78, seed=6)
    scene.pass_time(1)
    copy.attach(scene.switch, AWAY, scene.now)
    scene.restart()
    assert isinstance(answer(present_ticket(scene, scene.truck, HOME), HOME), Ack)
    assert isinstance(answer(present_ticket(scene, copy, AWAY), AWAY), Ack)
    assert scene.sends_to() == AWAY, "the newer ticket takes over"
    scene.pass_time(1)
    assert nak(present_ticket(scene, scene.truck, HOME), HOME) == NakReason.SUPERSEDED


# -- After a restart


def test_a_ticket_makes_the_attachment_again(scene: Scene) -> None:
    scene.restart()
    reply = answer(present_ticket(scene, scene.truck, AWAY), AWAY)
    assert isinstance(reply, Ack) and reply.observed == AWAY and not any(reply.proof)
    assert scene.sends_to() == AWAY
    record = scene.record()
    assert not record.has_private_keys
    assert record.instance == scene.truck.instance
    assert abs(record.ends - scene.now.boot - 86_400) < 5
    ack(scene.report(REFRESH, AWAY, boot_id=scene.switch.boot_id), AWAY)


def test_nothing_is_stored_before_proof(scene: Scene) -> None:
    scene.restart()
    truck, boot = scene.truck, scene.switch.boot_id
    assert truck.grant is not None
    ticket = truck.grant.ticket
    hint = challenge(scene.report(REFRESH, HOME, boot_id=boot), HOME)
    scene.pass_time(0.5)
    attempts = [
        (truck.report(REFRESH, boot_id=boot, ticket=ticket), HOME, "challenge_grant"),
        (truck.report(REFRESH, boot_id=boot, cookie=hint.cookie), HOME, "challenge_grant"),
        (truck.report(REFRESH, boot_id=boot, cookie=b"x" * 16, ticket=ticket), HOME, "challenge_grant"),
        (truck.report(REFRESH, boot_id=boot, cookie=hint.cookie, ticket=ticket), EVIL, "challenge_grant"),
        (truck.report(REFRESH, boot_id=boot, cookie=hint.cookie, ticket=ticket, key=b"k" * 32), HOME, "report_tag"),
        (truck.report(REFRESH, boot_id=boot, cookie=hint.cookie, ticket=bytes(200)), HOME, "ticket_key"),
        (truck.report(REFRESH, boot_id=boot, cookie=hint.cookie, ticket=ticket[:-1]), HOME, "ticket_forged"),
        (truck.report(REFRESH, boot_id=boot, cookie=hint.cookie, ticket=ticket[:20]), HOME, "truncated"),
        (truck.report(REFRESH, boot_id=boot, grant=1, cookie=hint.cookie, ticket=ticket), HOME, "ticket_of_another"),
        (truck.report(BYE, boot_id=boot, cookie=hint.cookie), HOME, "challenge_grant"),
        (truck.report(ReportKind.GET_CRL, boot_id=boot, cookie=hint.cookie), HOME, "challenge_grant"),
    ]
    for datagram, source, reason in attempts:
        before = scene.switch.counters[reason]
        scene.raw(datagram, source)
        assert scene.switch.counters[reason] == before + 1, reason
        assert len(scene.switch) == 0


def test_another_nodes_ticket_is_refused(scene: Scene) -> None:
    other = FakeNode(OFFICE, "10.77.0.2/32", seed=9)
    other.attach(scene.switch, AWAY, scene.now)
    scene.restart()
    boot = scene.switch.boot_id
    hint = challenge(scene.report(REFRESH, HOME, boot_id=boot), HOME)
    assert other.grant is not None
    scene.report(
        REFRESH,
        HOME,
        boot_id=boot,
        grant=other.grant.grant,
        cookie=hint.cookie,
        ticket=other.grant.ticket,
        key=other.up,
    )
    assert scene.switch.counters["ticket_of_another"] == 1
    assert len(scene.switch) == 0


def test_a_capture_from_before_the_restart_is_worth_nothing(scene: Scene) -> None:
    captured = [scene.truck.report(kind) for kind in (REFRESH, MOVE, BYE)]
    scene.restart()
    present_ticket(scene, scene.truck, HOME)
    before = scene.state()
    for datagram in captured:
        challenge(scene.raw(datagram, EVIL), EVIL)
        scene.pass_time(0.3)
    assert scene.state() == before


def test_a_ticketed_report_cannot_be_replayed(scene: Scene) -> None:
    scene.restart()
    truck, boot = scene.truck, scene.switch.boot_id
    hint = challenge(scene.report(MOVE, HOME, boot_id=boot), HOME)
    assert truck.grant is not None
    ticketed = truck.report(MOVE, boot_id=boot, cookie=hint.cookie, ticket=truck.grant.ticket)
    ack(scene.raw(ticketed, HOME), HOME)
    before = scene.state()
    scene.raw(ticketed, EVIL)
    ack(scene.raw(ticketed, HOME), HOME)
    assert scene.state() == before


@pytest.mark.parametrize("seconds", [86_400, 86_401])
def test_an_expired_ticket_earns_an_authenticated_no(scene: Scene, seconds: int) -> None:
    scene.restart(seconds)
    out = present_ticket(scene, scene.truck, HOME)
    assert nak(out, HOME) == NakReason.GRANT
    assert len(scene.switch) == 0


def test_a_ticket_lives_no_longer_for_a_restart(scene: Scene) -> None:
    scene.restart(80_000)
    present_ticket(scene, scene.truck, HOME)
    assert 6_390 < scene.record().ends - scene.now.boot <= 6_401


def test_a_clock_set_back_does_not_lock_out_nor_grant_for_ever(scene: Scene) -> None:
    keys = scene.switch.ticket_keys()
    scene.restart()
    scene.now = scene.now._replace(wall=0.0)
    scene.switch.load_ticket_keys(keys, scene.now)
    present_ticket(scene, scene.truck, HOME)
    assert scene.record().ends - scene.now.boot <= 86_400


def test_a_table_that_is_smaller_now_takes_whom_it_can(scene: Scene) -> None:
    other = FakeNode(OFFICE, "10.77.0.2/32", seed=9)
    other.attach(scene.switch, AWAY, scene.now)
    scene.restart(capacity=1)
    present_ticket(scene, scene.truck, HOME)
    assert present_ticket(scene, other, AWAY) == []
    assert scene.switch.counters["table_full"] == 1


def test_a_node_without_a_ticket_is_challenged_and_that_is_all() -> None:
    scene = Scene()
    many = FakeNode(OFFICE, *(f"10.77.2.{i}/32" for i in range(17)), seed=9)
    many.attach(scene.switch, AWAY, scene.now)
    assert many.grant is not None and many.grant.ticket == b""
    assert many.grant.status == GrantStatus.GRANTED


def test_a_removed_node_that_comes_back_gets_another_grant_number(scene: Scene) -> None:
    first = scene.truck.grant
    scene.switch.set_crl(1, b"crl", [7])
    scene.pass_time(0.5)
    assert len(scene.switch) == 0
    renewed = FakeNode(TRUCK, "10.77.0.9/32", serial=8)
    renewed.attach(scene.switch, HOME, scene.now)
    assert first is not None and renewed.grant is not None
    assert newer(renewed.grant.grant, first.grant)


def test_boot_ids_differ(scene: Scene) -> None:
    first = scene.switch.boot_id
    scene.restart()
    assert scene.switch.boot_id != first
