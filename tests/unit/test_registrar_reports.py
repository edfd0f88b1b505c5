"""Reports of an attached node: every rule of PROTOCOL 6 that needs no ticket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.ids import Locator, NodeID
from ovng.limits import GRACE_CREDIT, PROVISIONAL_BYTES_PER_SECOND
from ovng.wire.report import (
    NO_COOKIE,
    Ack,
    Challenge,
    Common,
    Mismatch,
    Nak,
    NakReason,
    Probed,
    ReportKind,
    echo_of,
    parse_report,
    verify,
)
from tests.attachment_fixture import (
    AWAY,
    EVIL,
    HOME,
    SWITCH,
    THIRD,
    TRUCK,
    FakeNode,
    only,
)
from tests.registrar_scene import Scene, ack, answer, mismatch, nak

REFRESH, MOVE, CONFIRM, BYE, GET_CRL, PROBE = (
    ReportKind.REFRESH,
    ReportKind.MOVE,
    ReportKind.CONFIRM,
    ReportKind.BYE,
    ReportKind.GET_CRL,
    ReportKind.PROBE,
)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_attached_by_tls_where_it_came_from(scene: Scene) -> None:
    assert scene.sends_to() == HOME
    assert scene.table.credit(TRUCK) == (GRACE_CREDIT, 0)
    assert scene.truck.grant is not None and scene.truck.grant.observed == HOME


# -- A probe of the path's size


@pytest.mark.parametrize("size", [1_233, 1_444, 8_952])
def test_a_probe_is_answered_by_as_much_once(scene: Scene, size: int) -> None:
    datagram = scene.truck.report(PROBE, size=size)
    (out,) = scene.switch.handle_report(datagram, HOME, scene.now)
    assert len(out.datagram) == len(datagram) == size and out.to == HOME
    assert verify(out.datagram, scene.truck.down)
    probed = parse_report(out.datagram)
    assert isinstance(probed, Probed) and (probed.size, probed.common.number) == (size, 1)
    assert scene.raw(datagram, HOME) == [], "a copy of it earns nothing"
    assert scene.switch.counters["probe_repeated"] == 1


def test_a_probe_moves_nothing_and_renews_nothing(scene: Scene) -> None:
    lease = scene.record().lease
    scene.pass_time(5)
    assert isinstance(answer(scene.report(PROBE, size=1_444), HOME), Probed)
    assert scene.record().lease == lease and scene.sends_to() == HOME


def test_a_probe_from_elsewhere_earns_a_hint(scene: Scene) -> None:
    datagram = scene.truck.report(PROBE, size=1_444)
    mismatch(scene.raw(datagram, EVIL), EVIL)
    assert isinstance(answer(scene.raw(datagram, HOME), HOME), Probed), "its number was not used up by that"


# -- The order of checks, each its own reason


def test_refresh_is_acknowledged_under_the_key(scene: Scene) -> None:
    datagram = scene.truck.report(REFRESH)
    out = scene.switch.handle_report(datagram, HOME, scene.now)
    reply = only(out, HOME)
    assert isinstance(reply, Ack)
    assert verify(out[0].datagram, scene.truck.down)
    assert not verify(out[0].datagram, scene.truck.up)
    assert (reply.common.dst, reply.common.src, reply.common.number) == (TRUCK, SWITCH, 1)
    assert reply.observed == HOME
    assert reply.lifetime == 75
    assert not any(reply.proof)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d[:-1], "report_length"),
        (lambda d: d[:1] + b"\x07" + d[2:], "report_kind"),
        (lambda d: d[:2] + b"\0\1" + d[4:], "flags"),
        (lambda d: b"\x23" + d[1:], "version"),
        (lambda d: d[:1] + b"\x10" + d[2:], "ack"),
        (lambda d: d[:4] + b"\0" * 8 + d[12:], "not_for_me"),
        (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "report_tag"),
    ],
)
def test_what_is_wrong_is_dropped_under_its_reason(scene: Scene, change: object, reason: str) -> None:
    before = scene.state()
    datagram: bytes = change(scene.truck.report(REFRESH))  # type: ignore[operator]
    assert scene.raw(datagram, HOME) == []
    if reason != "ack":  # an ACK is longer or shorter than a REFRESH, or is no report of a node
        assert scene.switch.counters[reason] == 1
    assert sum(scene.switch.counters.values()) >= 1
    assert scene.state() == before


def test_what_only_the_switch_says_is_dropped(scene: Scene) -> None:
    before = scene.state()
    (said,) = scene.switch.handle_report(scene.truck.report(REFRESH), HOME, scene.now)
    common = Common(SWITCH, TRUCK, 2, scene.switch.boot_id, 1)
    after_ack = scene.state()
    for datagram in (said.datagram, Ack(common, HOME, 75, 0, bytes(8)).pack(scene.truck.up)):
        assert scene.raw(datagram, HOME) == []
    assert scene.switch.counters["report_direction"] == 2
    assert scene.state() == after_ack != before


def test_another_boot_id_earns_a_challenge_and_nothing_else(scene: Scene) -> None:
    before = scene.state()
    datagram = scene.truck.report(REFRESH, boot_id=1)
    reply = answer(scene.raw(datagram, EVIL), EVIL)
    assert isinstance(reply, Challenge)
    assert reply.common.boot_id == scene.switch.boot_id
    assert reply.echo == echo_of(datagram)
    assert scene.state() == before


def test_another_grant_earns_a_challenge(scene: Scene) -> None:
    assert scene.truck.grant is not None
    before = scene.state()
    other = scene.truck.grant.grant ^ 1
    assert isinstance(answer(scene.report(MOVE, AWAY, grant=other), AWAY), Challenge)
    assert scene.state() == before


@given(st.binary(max_size=1_400))
def test_any_bytes_change_nothing(data: bytes) -> None:
    scene = Scene()
    before = scene.state()
    for handle in (scene.switch.handle_report, scene.switch.handle_private):
        for out in handle(data, EVIL, scene.now):
            assert len(out.datagram) <= len(data)
    assert scene.state() == before


@given(st.data())
def test_any_change_of_a_report_changes_nothing(data: st.DataObject) -> None:
    scene = Scene()
    before = scene.state()
    datagram = bytearray(scene.truck.report(data.draw(st.sampled_from([REFRESH, MOVE, CONFIRM, BYE, GET_CRL]))))
    at = data.draw(st.integers(0, len(datagram) - 1))
    datagram[at] ^= data.draw(st.integers(1, 255))
    out = scene.switch.handle_report(bytes(datagram), data.draw(st.sampled_from([HOME, AWAY])), scene.now)
    for answered in out:
        assert len(answered.datagram) <= len(datagram)
        assert isinstance(parse_report(answered.datagram), Challenge)
    assert scene.state() == before


# -- Sequence


def test_same_number_from_the_same_place_is_acknowledged_again(scene: Scene) -> None:
    datagram = scene.truck.report(REFRESH)
    assert ack(scene.raw(datagram, HOME), HOME).common.number == 1
    before = scene.state()
    assert ack(scene.raw(datagram, HOME), HOME).common.number == 1
    assert scene.state() == before


def test_copies_that_the_network_made_are_all_acknowledged(scene: Scene) -> None:
    """Answers to lower numbers are limited; the last one's are not, for its ACK may have been lost again."""
    datagram = scene.truck.report(REFRESH)
    for _ in range(8):
        assert ack(scene.raw(datagram, HOME), HOME).common.number == 1


def test_same_number_from_elsewhere_is_counted_and_moves_nothing(scene: Scene) -> None:
    datagram = scene.truck.report(REFRESH)
    scene.raw(datagram, HOME)
    before = scene.state()
    replies = scene.raw(datagram, EVIL)
    mismatch(replies, EVIL)
    assert scene.switch.counters["sequence_other_locator"] == 1
    assert scene.state() == before


def test_a_lower_number_earns_the_last_one(scene: Scene) -> None:
    old = scene.truck.report(REFRESH)
    scene.report(REFRESH, number=50)
    before = scene.state()
    reply = answer(scene.raw(old, HOME), HOME)
    assert isinstance(reply, Nak)
    assert (reply.reason, reply.last) == (NakReason.SEQUENCE, 50)
    assert scene.state() == before


def test_replays_of_old_numbers_are_answered_at_most_five_times_a_second(scene: Scene) -> None:
    captured = [scene.truck.report(REFRESH) for _ in range(100)]
    scene.report(REFRESH, number=1_000)
    answered = sum(len(scene.raw(datagram, EVIL)) for datagram in captured)
    assert answered == 1
    assert scene.switch.counters["sequence"] == 100


def test_numbers_are_per_path_and_the_active_path_changes_by_the_newest(scene: Scene) -> None:
    scene.report(MOVE, AWAY, path=1, number=20)
    scene.pass_time(0.1)
    assert scene.sends_to() == AWAY
    ack(scene.report(REFRESH, HOME, path=0, number=5), HOME)
    ack(scene.report(MOVE, HOME, path=0, number=6), HOME)
    assert scene.sends_to() == AWAY, "6 is above its path's last, but not above the change by 20"
    ack(scene.report(MOVE, HOME, path=0, number=21), HOME)
    assert scene.sends_to() == HOME


# -- REFRESH


def test_refresh_from_elsewhere_never_moves(scene: Scene) -> None:
    before = scene.table.locators(TRUCK)
    hint = mismatch(scene.report(REFRESH, AWAY), AWAY)
    assert any(hint.cookie)
    assert scene.table.locators(TRUCK) == before


def test_refresh_that_names_another_place_earns_a_mismatch(scene: Scene) -> None:
    mismatch(scene.report(REFRESH, HOME, observed=AWAY), HOME)
    ack(scene.report(REFRESH, HOME, observed=HOME), HOME)


def test_refresh_renews_the_lease(scene: Scene) -> None:
    scene.pass_time(60)
    assert scene.sends_to() == HOME
    scene.report(REFRESH)
    scene.pass_time(70)
    assert scene.sends_to() == HOME
    scene.pass_time(20)
    assert scene.sends_to() is None
    assert scene.switch.counters["lease_ended"] == 1


def test_lapsed_lease_leaves_the_attachment(scene: Scene) -> None:
    scene.pass_time(3_600)
    assert scene.sends_to() is None
    assert len(scene.switch) == 1
    hint = mismatch(scene.report(REFRESH, HOME), HOME)
    reply = ack(scene.report(MOVE, HOME, observed=HOME, cookie=hint.cookie), HOME)
    assert not any(reply.proof)
    assert scene.sends_to() == HOME


def test_refresh_refills_the_grace_credit(scene: Scene) -> None:
    scene.table.set_credit(TRUCK, 5, 0)
    scene.report(REFRESH, AWAY)
    assert scene.table.credit(TRUCK) == (5, 0)
    scene.report(REFRESH, HOME)
    assert scene.table.credit(TRUCK) == (GRACE_CREDIT, 0)


def test_keepalive_decides_the_lease(scene: Scene) -> None:
    assert ack(scene.report(REFRESH, keepalive=600), HOME).lifetime == 1_800
    scene.pass_time(1_700)
    assert scene.sends_to() == HOME


# -- MOVE, CONFIRM


def test_move_acts_at_once_and_is_provisional(scene: Scene) -> None:
    reply = ack(scene.report(MOVE, AWAY), AWAY)
    assert reply.observed == AWAY
    assert any(reply.proof)
    assert scene.sends_to() == AWAY


def test_what_exceeds_the_credit_goes_to_the_old_locator(scene: Scene) -> None:
    scene.report(MOVE, AWAY)
    sent = 0
    while scene.sends_to(1_000) == AWAY:
        sent += 1_000
    assert sent <= 3 * 92 + PROVISIONAL_BYTES_PER_SECOND
    assert scene.sends_to(1_000) == HOME
    scene.pass_time(1.01)
    again = 0
    while scene.sends_to(1_000) == AWAY:
        again += 1_000
    assert PROVISIONAL_BYTES_PER_SECOND - 1_000 <= again <= PROVISIONAL_BYTES_PER_SECOND + 1_000


def test_confirm_ends_the_limit(scene: Scene) -> None:
    proof = ack(scene.report(MOVE, AWAY), AWAY).proof
    reply = ack(scene.report(CONFIRM, AWAY, observed=AWAY, cookie=proof + bytes(8)), AWAY)
    assert not any(reply.proof)
    assert all(scene.sends_to(60_000) == AWAY for _ in range(10))
    scene.pass_time(10)
    assert scene.sends_to() == AWAY
    state = scene.table.locators(TRUCK)
    assert state is not None and state[0] == (AWAY.packed(), None, None, None)


def test_without_confirm_the_old_locator_is_back_after_3_seconds(scene: Scene) -> None:
    scene.report(MOVE, AWAY)
    scene.pass_time(2.9)
    assert scene.sends_to() == AWAY
    scene.pass_time(0.2)
    assert scene.sends_to() == HOME
    assert scene.switch.counters["moves_restored"] == 1
    state = scene.table.locators(TRUCK)
    assert state is not None and AWAY.packed() not in state[0]


def test_a_late_confirm_is_a_proved_move(scene: Scene) -> None:
    proof = ack(scene.report(MOVE, AWAY), AWAY).proof
    scene.pass_time(5)
    ack(scene.report(CONFIRM, AWAY, observed=AWAY, cookie=proof + bytes(8)), AWAY)
    assert scene.sends_to() == AWAY


@pytest.mark.parametrize("cookie", [NO_COOKIE, b"x" * 16, b"y" * 8 + bytes(8), bytes(8) + b"z" * 8])
def test_confirm_without_the_proof_confirms_nothing(scene: Scene, cookie: bytes) -> None:
    """Who forges its source knows the locator, and does not receive there."""
    scene.report(MOVE, AWAY)
    scene.report(CONFIRM, AWAY, observed=AWAY, cookie=cookie)
    scene.pass_time(3.1)
    assert scene.sends_to() == HOME


def test_half_a_cookie_and_something_else_confirms_nothing(scene: Scene) -> None:
    proof = ack(scene.report(MOVE, AWAY), AWAY).proof
    scene.report(CONFIRM, AWAY, observed=AWAY, cookie=proof + b"x" * 8)
    scene.pass_time(3.1)
    assert scene.sends_to() == HOME


def test_confirm_from_another_place_confirms_nothing(scene: Scene) -> None:
    proof = ack(scene.report(MOVE, AWAY), AWAY).proof
    mismatch(scene.report(CONFIRM, EVIL, observed=AWAY, cookie=proof + bytes(8)), EVIL)
    mismatch(scene.report(CONFIRM, THIRD, observed=THIRD, cookie=proof + bytes(8)), THIRD)
    scene.pass_time(3.1)
    assert scene.sends_to() == HOME


def test_move_that_names_its_place_is_accepted_only_from_there(scene: Scene) -> None:
    hint = mismatch(scene.report(REFRESH, AWAY), AWAY)
    mismatch(scene.report(MOVE, EVIL, observed=AWAY, cookie=hint.cookie), EVIL)
    assert scene.sends_to() == HOME
    reply = ack(scene.report(MOVE, AWAY, observed=AWAY, cookie=hint.cookie), AWAY)
    assert not any(reply.proof), "confirmed at once"
    scene.pass_time(5)
    assert scene.sends_to() == AWAY


def test_a_cookie_of_another_place_proves_nothing(scene: Scene) -> None:
    hint = mismatch(scene.report(REFRESH, AWAY), AWAY)
    reply = ack(scene.report(MOVE, THIRD, cookie=hint.cookie), THIRD)
    assert any(reply.proof)
    scene.pass_time(3.1)
    assert scene.sends_to() == HOME


def test_a_cookie_lives_two_minutes_at_most(scene: Scene) -> None:
    hint = mismatch(scene.report(REFRESH, AWAY), AWAY)
    scene.pass_time(60)
    scene.report(REFRESH)
    scene.pass_time(61)
    reply = ack(scene.report(MOVE, AWAY, observed=AWAY, cookie=hint.cookie), AWAY)
    assert any(reply.proof), "provisional only"


def test_retries_from_one_locator_are_one_move(scene: Scene) -> None:
    for _ in range(8):
        assert any(ack(scene.report(MOVE, AWAY), AWAY).proof)
        scene.pass_time(0.2)
    assert scene.switch.counters["moves"] == 1


def test_unconfirmed_moves_are_limited_per_second(scene: Scene) -> None:
    ack(scene.report(MOVE, AWAY), AWAY)
    assert nak(scene.report(MOVE, THIRD), THIRD) == NakReason.MOVE_LIMIT
    assert scene.sends_to() == AWAY
    scene.pass_time(1.0)
    ack(scene.report(MOVE, THIRD), THIRD)
    assert scene.sends_to() == THIRD


def test_unconfirmed_moves_are_limited_per_ten_seconds(scene: Scene) -> None:
    for i in range(4):
        ack(scene.report(MOVE, Locator(AWAY.address, 1_000 + i)), Locator(AWAY.address, 1_000 + i))
        scene.pass_time(1.1)
    assert nak(scene.report(MOVE, THIRD), THIRD) == NakReason.MOVE_LIMIT
    scene.pass_time(6)
    ack(scene.report(MOVE, THIRD), THIRD)


def test_honest_roaming_is_not_limited(scene: Scene) -> None:
    for i in range(50):
        place = Locator(AWAY.address, 1_000 + i)
        proof = ack(scene.report(MOVE, place), place).proof
        ack(scene.report(CONFIRM, place, observed=place, cookie=proof + bytes(8)), place)
        assert scene.sends_to() == place
        scene.pass_time(0.05)


def test_a_limited_move_cannot_be_copied_later(scene: Scene) -> None:
    scene.report(MOVE, AWAY)
    limited = scene.truck.report(MOVE)
    assert nak(scene.raw(limited, THIRD), THIRD) == NakReason.MOVE_LIMIT
    scene.pass_time(1.5)
    scene.raw(limited, EVIL)
    assert scene.sends_to() != EVIL


def test_moving_back_ends_the_move(scene: Scene) -> None:
    scene.report(MOVE, AWAY)
    ack(scene.report(MOVE, HOME), HOME)
    assert scene.sends_to() == HOME
    scene.pass_time(4)
    assert scene.sends_to() == HOME
    assert scene.switch.counters["moves_restored"] == 0


# -- Copy and race


def test_copy_and_race_is_healed_by_the_mismatch(scene: Scene) -> None:
    captured = scene.truck.report(MOVE)
    ack(scene.raw(captured, EVIL), EVIL)
    assert scene.sends_to() == EVIL, "the copy came first"
    replies = scene.raw(captured, AWAY)
    hint = next(report for report, to in replies if to == AWAY)
    assert isinstance(hint, Mismatch)
    scene.pass_time(0.3)
    healing = scene.truck.report(MOVE, observed=AWAY, cookie=hint.cookie)
    mismatch(scene.raw(healing, EVIL), EVIL)
    assert scene.sends_to() == EVIL, "a copy of this one moves nothing"
    fresh = scene.truck.report(MOVE, observed=AWAY, cookie=hint.cookie)
    ack(scene.raw(fresh, AWAY), AWAY)
    assert scene.sends_to() == AWAY
    scene.pass_time(5)
    assert scene.sends_to() == AWAY


def test_copy_and_race_lasts_three_seconds_at_most(scene: Scene) -> None:
    captured = scene.truck.report(MOVE)
    scene.raw(captured, EVIL)
    scene.pass_time(3.1)
    assert scene.sends_to() == HOME
    scene.raw(captured, EVIL)
    assert scene.sends_to() == HOME


def test_a_replayed_confirm_confirms_nothing(scene: Scene) -> None:
    proof = ack(scene.report(MOVE, AWAY), AWAY).proof
    confirm = scene.truck.report(CONFIRM, observed=AWAY, cookie=proof + bytes(8))
    scene.raw(confirm, AWAY)
    proof = ack(scene.report(MOVE, THIRD), THIRD).proof
    scene.report(CONFIRM, THIRD, observed=THIRD, cookie=proof + bytes(8))
    before = scene.table.locators(TRUCK)
    scene.raw(confirm, AWAY)
    assert scene.table.locators(TRUCK) == before


# -- Paths


def test_four_paths_live_side_by_side(scene: Scene) -> None:
    places = [HOME, AWAY, THIRD, Locator.of("203.0.113.77", 1)]
    for path, place in enumerate(places[1:], 1):
        proof = ack(scene.report(MOVE, place, path=path), place).proof
        ack(scene.report(CONFIRM, place, path=path, observed=place, cookie=proof + bytes(8)), place)
    state = scene.table.locators(TRUCK)
    assert state == (tuple(place.packed() for place in places), 3, -1, 0)
    for path, place in enumerate(places):
        ack(scene.report(REFRESH, place, path=path), place)


def test_a_fifth_locator_takes_a_path_not_in_use(scene: Scene) -> None:
    test_four_paths_live_side_by_side(scene)
    scene.pass_time(11)
    reply = ack(scene.report(MOVE, EVIL, path=3), EVIL)
    assert any(reply.proof)
    assert scene.sends_to() == EVIL
    scene.pass_time(3.1)
    assert scene.sends_to() == Locator.of("203.0.113.77", 1), "the path's own locator was kept for that"
    mismatch(scene.report(REFRESH, THIRD, path=2), THIRD)
    ack(scene.report(REFRESH, HOME, path=0), HOME)


def test_when_the_active_path_ends_the_best_live_one_follows(scene: Scene) -> None:
    for path, place, priority in ((1, AWAY, 9), (2, THIRD, 1)):
        proof = ack(scene.report(MOVE, place, path=path, priority=priority), place).proof
        scene.report(CONFIRM, place, path=path, priority=priority, observed=place, cookie=proof + bytes(8))
    scene.report(REFRESH, HOME, priority=5)
    assert scene.sends_to() == THIRD
    for _ in range(4):
        scene.pass_time(20)
        scene.report(REFRESH, AWAY, path=1, priority=9)
        scene.report(REFRESH, HOME, path=0, priority=5)
    assert scene.sends_to() == HOME, "priority 5 before 9"


# -- BYE, grants


def test_bye_ends_all_leases_at_once(scene: Scene) -> None:
    proof = ack(scene.report(MOVE, AWAY, path=1), AWAY).proof
    scene.report(CONFIRM, AWAY, path=1, observed=AWAY, cookie=proof + bytes(8))
    assert ack(scene.report(BYE, AWAY, path=1), AWAY).lifetime == 0
    assert scene.sends_to() is None
    state = scene.table.locators(TRUCK)
    assert state is not None and state[0] == (None,) * 4
    assert len(scene.switch) == 1


def test_bye_during_a_move(scene: Scene) -> None:
    scene.report(MOVE, AWAY)
    scene.report(BYE, AWAY)
    assert scene.sends_to() is None
    scene.pass_time(5)
    assert scene.sends_to() is None


def test_the_attachment_ends_with_its_grant(scene: Scene) -> None:
    scene.pass_time(86_400 - 30)
    assert len(scene.switch) == 1
    scene.pass_time(62)
    assert len(scene.switch) == 0
    assert isinstance(answer(scene.report(REFRESH), HOME), Challenge)


def test_near_its_end_the_node_is_told_to_attach_again(scene: Scene) -> None:
    scene.pass_time(86_400 - 3_500)
    hint = mismatch(scene.report(REFRESH), HOME)
    ack(scene.report(MOVE, HOME, observed=HOME, cookie=hint.cookie), HOME)
    assert nak(scene.report(REFRESH), HOME) == NakReason.ATTACH_AGAIN
    assert scene.sends_to() == HOME


def test_reports_of_strangers_leave_nothing_behind(scene: Scene) -> None:
    stranger = FakeNode(NodeID(0x9999))
    stranger.grant = scene.truck.grant
    for i in range(300):
        scene.raw(stranger.report(MOVE), Locator(EVIL.address, i + 1))
        scene.raw(stranger.report(REFRESH, ticket=bytes(200)), Locator(EVIL.address, i + 1))
    assert len(scene.switch) == 1
    assert scene.table.record(stranger.id) is None
