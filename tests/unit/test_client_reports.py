"""The node's reports: moves, hints, refusals, tickets, silence (PROTOCOL 6)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.forwarding.clientevents import (
    AttachedNow,
    Left,
    LocatorChanged,
    NeedTls,
    Reachable,
    Revoked,
    SupersededEvent,
    SwitchRestarted,
    Unreachable,
)
from ovng.ids import Locator, NodeID
from ovng.wire.inner import AttachMode
from ovng.wire.report import (
    Ack,
    Challenge,
    Common,
    Mismatch,
    Nak,
    NakReason,
    ReportKind,
    Update,
    echo_of,
    parse_report,
)
from tests.attachment_fixture import AWAY, EVIL, HOME, SWITCH, TRUCK, after, identity
from tests.client_scene import ClientScene

REFRESH, MOVE, CONFIRM, BYE = ReportKind.REFRESH, ReportKind.MOVE, ReportKind.CONFIRM, ReportKind.BYE


@pytest.fixture
def scene() -> ClientScene:
    return ClientScene()


def update(datagram: bytes) -> Update:
    report = parse_report(datagram)
    assert isinstance(report, Update)
    return report


def common(scene: ClientScene, number: int, **changes: Any) -> Common:
    held = scene.client.grant
    assert held is not None
    return Common(TRUCK, SWITCH, number, held.boot_id, held.grant)._replace(**changes)


def nak(scene: ClientScene, reason: NakReason, number: int, last: int = 0) -> None:
    scene.give(Nak(common(scene, number), reason, last).pack(scene.down))


# -- Attaching


def test_a_start_takes_over_and_a_renewal_continues(scene: ClientScene) -> None:
    fresh = ClientScene(attach=False)
    (need,) = fresh.seen(NeedTls)
    assert need.request.flags == AttachMode.START and not need.background
    fresh.attach()
    assert fresh.seen(AttachedNow) == [AttachedNow(SWITCH, HOME)]
    scene.pass_time(79_000)
    needs = scene.seen(NeedTls)
    assert {event.request.flags for event in needs} == {AttachMode.CONTINUE}
    assert needs[0].background
    assert needs[0].request.grant == scene.client.grant.grant  # type: ignore[union-attr]
    assert needs[0].request.instance == need.request.instance


def test_renewal_is_spread_over_hours() -> None:
    scene = ClientScene()
    held = scene.client.grant
    assert held is not None
    assert 0.75 * 86_400 <= held.renew_at - scene.now.boot <= 0.9 * 86_400


def test_a_switch_that_cannot_be_reached_is_tried_for_ever() -> None:
    scene = ClientScene(attach=False)
    waits = []
    for _ in range(12):
        asked = len(scene.seen(NeedTls))
        scene.client.tls_failed("timeout", False, scene.now)
        began = scene.now.mono
        while len(scene.seen(NeedTls)) == asked:
            due = scene.client.deadline(scene.now)
            assert due is not None and due < began + 61
            scene.now = after(scene.now, max(0.0, due - scene.now.mono))
            scene.client.handle_timer(scene.now)
        waits.append(scene.now.mono - began)
    assert 0.8 <= waits[0] <= 1.2
    assert all(48 <= wait <= 60 for wait in waits[7:])
    assert scene.seen(Unreachable)
    scene.attach()
    assert scene.client.attached
    (reached,) = scene.seen(Reachable)
    assert reached.seconds == pytest.approx(sum(waits), abs=0.1)


def test_refusals_of_tls_end_the_client() -> None:
    for reason, event in (("refused_superseded", SupersededEvent), ("refused_revoked", Revoked)):
        scene = ClientScene(attach=False)
        scene.client.tls_failed(reason, True, scene.now)
        assert scene.seen(event)
        assert scene.client.deadline(scene.now) is None


# -- Keepalive


def test_keepalive_with_jitter(scene: ClientScene) -> None:
    times = []
    for _ in range(16):
        began = scene.now.mono
        while not (reports := scene.reports()):
            due = scene.client.deadline(scene.now)
            assert due is not None
            scene.now = after(scene.now, max(0.0, due - scene.now.mono))
            scene.client.handle_timer(scene.now)
        times.append(scene.now.mono - began)
        (report,) = reports
        assert report.kind == REFRESH
        scene.give(Ack(common(scene, report.common.number), HOME, 75, 0, bytes(8)).pack(scene.down))
    assert min(times) >= 20 and max(times) <= 25.001
    assert max(times) - min(times) > 0.5, "not all at the same distance"
    scene.pass_time(3_600)
    assert scene.client.grant is not None
    assert scene.client.grant.sequence <= len(times) + 3_600 / 20 + 2, "early, as the Switch of this scene ticks"


# -- Moves


def test_a_move_is_one_datagram_at_once(scene: ClientScene) -> None:
    scene.place = AWAY
    scene.client.network_changed(scene.now)
    (datagram,) = scene.sent()
    report = update(datagram)
    assert report.kind == MOVE and not report.observed.known and not any(report.cookie)
    assert len(datagram) == 92


def test_a_move_is_confirmed_and_its_gap_measured(scene: ClientScene) -> None:
    scene.place = AWAY
    scene.client.network_changed(scene.now)
    (first,) = scene.sent()
    scene.now = after(scene.now, 0.05)
    (answer,) = scene.at_switch(first)
    scene.give(answer.datagram)
    (event,) = scene.seen(LocatorChanged)
    assert event.observed == AWAY and event.gap == pytest.approx(0.05)
    (confirm,) = scene.reports()
    assert confirm.kind == CONFIRM and confirm.observed == AWAY and any(confirm.cookie[:8])
    scene.client.handle_timer(scene.now)
    assert scene.client.observed == AWAY
    assert scene.client.history.stays()[-1][::2] == (AWAY, 50.0)


def test_a_move_is_repeated_until_answered(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    sent = scene.run_client(20)
    times = [at for at, _ in sent]
    gaps = [b - a for a, b in pairwise(times)]
    assert 0.24 <= gaps[0] <= 0.36
    assert all(gap <= 2.4 for gap in gaps)
    assert len(sent) >= 9
    numbers = [update(datagram).common.number for _, datagram in sent]
    assert numbers == list(range(numbers[0], numbers[0] + len(sent))), "each try has its own number"


def test_an_answer_from_before_the_change_ends_nothing(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    (first,) = scene.sent()
    (old_answer,) = scene.at_switch(first)
    scene.place = AWAY
    scene.client.network_changed(scene.now)
    (second,) = scene.reports()
    assert second.kind == MOVE
    scene.give(old_answer.datagram)
    assert scene.seen(LocatorChanged) == []
    scene.pass_time(2)
    assert scene.client.observed == AWAY


def test_the_last_eight_places_are_kept(scene: ClientScene) -> None:
    for i in range(12):
        scene.place = Locator(AWAY.address, 1_000 + i)
        scene.client.network_changed(scene.now)
        scene.pass_time(1.5)
    stays = scene.client.history.stays()
    assert [stay.observed.port for stay in stays] == [1_000 + i for i in range(4, 12)]


def test_round_trips_are_measured_from_each_try(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    (first,) = scene.sent()
    scene.run_client(0.4)
    scene.now = after(scene.now, 0.1)
    (answer,) = scene.at_switch(first)
    scene.give(answer.datagram)
    assert scene.client.rtt.latest == pytest.approx(0.5)


# -- Hints


def hint_mismatch(observed: Locator = AWAY) -> bytes:
    return Mismatch(TRUCK, SWITCH, 1, observed, b"c" * 16).pack()


def test_a_mismatch_earns_one_move_a_second(scene: ClientScene) -> None:
    for _ in range(20):
        scene.give(hint_mismatch())
    (report,) = scene.reports()
    assert (report.kind, report.observed, report.cookie) == (MOVE, AWAY, b"c" * 16)
    assert scene.run_client(0.9) == [], "a hint starts nothing that would be repeated"
    scene.give(hint_mismatch())
    assert scene.sent() == []
    scene.now = after(scene.now, 0.2)
    scene.give(hint_mismatch())
    assert len(scene.sent()) == 1


def test_a_challenge_that_echoes_nothing_earns_one_plain_refresh(scene: ClientScene) -> None:
    held = scene.client.grant
    assert held is not None
    boot = held.boot_id
    forged = Challenge(common(scene, 77, boot_id=666), b"c" * 16, bytes(8)).pack()
    for _ in range(20):
        scene.give(forged)
    (report,) = scene.reports()
    assert report.kind == REFRESH and report.ticket == b"" and not any(report.cookie)
    assert report.common.boot_id == boot
    assert scene.run_client(0.9) == []


def test_a_challenge_with_a_wrong_echo_is_nothing(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    (sent,) = scene.sent()
    number = update(sent).common.number
    for forged in (
        Challenge(common(scene, number, boot_id=666), b"c" * 16, b"x" * 8),
        Challenge(common(scene, number + 1, boot_id=666), b"c" * 16, echo_of(sent)),
    ):
        scene.give(forged.pack())
    assert scene.sent() == []
    assert scene.client.grant is not None and scene.client.grant.candidate is None


def test_a_boot_id_is_adopted_only_under_the_key(scene: ClientScene) -> None:
    held = scene.client.grant
    assert held is not None
    boot = held.boot_id
    scene.client.network_changed(scene.now)
    (sent,) = scene.sent()
    number = update(sent).common.number
    scene.give(Challenge(common(scene, number, boot_id=666), b"c" * 16, echo_of(sent)).pack())
    (tried,) = scene.reports()
    assert tried.common.boot_id == 666 and tried.ticket == held.ticket and tried.cookie == b"c" * 16
    assert held.boot_id == boot
    scene.pass_time(3)
    assert held.boot_id == boot, "the real Switch has corrected it"
    assert scene.seen(SwitchRestarted) == []


def test_hints_for_others_or_from_others_are_nothing(scene: ClientScene) -> None:
    scene.give(Mismatch(NodeID(9), SWITCH, 1, AWAY, b"c" * 16).pack())
    scene.give(Mismatch(TRUCK, NodeID(9), 1, AWAY, b"c" * 16).pack())
    assert scene.sent() == []
    assert scene.client.counters["not_for_me"] == 2


# -- Answers that are none


def test_an_answer_needs_key_grant_boot_and_echo(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    (report,) = scene.reports()
    number = report.common.number
    for reason, forged in (
        ("report_tag", Ack(common(scene, number), EVIL, 75, 0, bytes(8)).pack(b"k" * 32)),
        ("report_tag", Ack(common(scene, number, grant=1), EVIL, 75, 0, bytes(8)).pack(scene.down)),
        ("boot_id", Ack(common(scene, number, boot_id=5), EVIL, 75, 0, bytes(8)).pack(scene.down)),
        ("echo", Ack(common(scene, number + 1), EVIL, 75, 0, bytes(8)).pack(scene.down)),
        ("report_unexpected", report.pack(scene.down)),
        ("not_for_me", Ack(common(scene, number, dst=9), EVIL, 75, 0, bytes(8)).pack(scene.down)),
    ):
        before = scene.client.counters[reason]
        scene.give(forged)
        assert scene.client.counters[reason] == before + 1
    assert scene.client.observed == HOME
    assert scene.seen(LocatorChanged) == []


def test_an_answer_counts_once(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    (report,) = scene.reports()
    answer = Ack(common(scene, report.common.number), AWAY, 75, 0, b"p" * 8).pack(scene.down)
    scene.give(answer)
    assert len(scene.sent()) == 1
    for _ in range(5):
        scene.give(answer)
    assert scene.sent() == []


@given(st.binary(max_size=200))
def test_any_bytes_change_nothing(data: bytes) -> None:
    scene = ClientScene()
    scene.client.receive_report(data, scene.now)
    scene.client.receive_private(data, scene.now)
    scene.drain()
    assert scene.log == [] and scene.client.datagrams() == []


@given(st.data())
def test_any_change_of_an_answer_changes_nothing(data: st.DataObject) -> None:
    scene = ClientScene()
    scene.client.network_changed(scene.now)
    (first,) = scene.sent()
    (answer,) = scene.at_switch(first)
    forged = bytearray(answer.datagram)
    forged[data.draw(st.integers(0, len(forged) - 1))] ^= data.draw(st.integers(1, 255))
    scene.client.receive_report(bytes(forged), scene.now)
    scene.drain()
    assert scene.log == []
    assert len(scene.client.datagrams()) <= 1


# -- NAKs


def test_nak_sequence_raises_the_number(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    (report,) = scene.reports()
    nak(scene, NakReason.SEQUENCE, report.common.number, 500)
    (again,) = scene.reports()
    assert again.common.number == 501 and again.kind == MOVE


def test_nak_move_limit_waits_a_second(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    (report,) = scene.reports()
    nak(scene, NakReason.MOVE_LIMIT, report.common.number)
    sent = scene.run_client(3)
    assert 0.99 <= sent[0][0] <= 1.01


def test_nak_grant_and_attach_again_need_tls() -> None:
    for reason in (NakReason.GRANT, NakReason.ATTACH_AGAIN):
        scene = ClientScene()
        scene.client.network_changed(scene.now)
        (report,) = scene.reports()
        nak(scene, reason, report.common.number)
        (need,) = scene.seen(NeedTls)
        assert need.background and need.request.flags == AttachMode.CONTINUE


def test_attach_again_is_no_use_to_a_grant_that_was_short_from_the_start() -> None:
    """A certificate in its last hour gives no longer grant: attaching at each keepalive would gain nothing."""
    scene = ClientScene(attach=False)
    scene.days = 0.5 / 24
    grant = scene.attach()
    assert grant.lifetime <= 1_800
    scene.log.clear()
    scene.pass_time(0.75 * grant.lifetime - 1)
    assert scene.seen(NeedTls) == []
    scene.pass_time(0.15 * grant.lifetime + 1)
    assert {need.reason for need in scene.seen(NeedTls)} == {"grant_ends"}, "at its own time"


@pytest.mark.parametrize(("reason", "event"), [(NakReason.SUPERSEDED, SupersededEvent), (NakReason.REVOKED, Revoked)])
def test_superseded_and_revoked_end_the_client(reason: NakReason, event: type[SupersededEvent | Revoked]) -> None:
    for pushed in (False, True):
        scene = ClientScene()
        scene.client.network_changed(scene.now)
        (report,) = scene.reports()
        forged = Nak(common(scene, 0 if pushed else report.common.number), reason, 0).pack(b"k" * 32)
        scene.give(forged)
        assert scene.seen(event) == []
        nak(scene, reason, 0 if pushed else report.common.number)
        assert len(scene.seen(event)) == 1
        assert scene.client.deadline(scene.now) is None
        scene.client.network_changed(scene.now)
        assert scene.sent() == []


def test_other_naks_are_not_believed_when_pushed(scene: ClientScene) -> None:
    for reason in (NakReason.GRANT, NakReason.SEQUENCE, NakReason.NO_PRIVATE_KEYS, NakReason.ATTACH_AGAIN):
        nak(scene, reason, 0, 1_000)
    assert scene.seen(NeedTls) == []
    assert scene.client.grant is not None and scene.client.grant.sequence < 1_000


# -- A Switch that restarted


def test_a_ticket_instead_of_tls(scene: ClientScene) -> None:
    scene.restart_switch()
    scene.client.network_changed(scene.now)
    assert scene.exchange() == 2
    assert scene.seen(SwitchRestarted) == [SwitchRestarted(scene.switch.boot_id)]
    assert scene.seen(NeedTls) == []
    assert scene.client.grant is not None and not scene.client.grant.private_keys
    assert len(scene.switch) == 1


def test_three_unanswered_tickets_need_tls(scene: ClientScene) -> None:
    scene.restart_switch()
    scene.client.network_changed(scene.now)
    (first,) = scene.sent()
    (challenge,) = scene.at_switch(first)
    scene.give(challenge.datagram)
    sent = [scene.sent()[0]]
    while not scene.seen(NeedTls):
        sent += [datagram for _, datagram in scene.run_client(0.05)]
    ticketed = [update(datagram) for datagram in sent if update(datagram).ticket]
    assert 3 <= len(ticketed) <= 4
    assert len({report.common.number for report in ticketed}) == len(ticketed)
    scene.attach()
    scene.exchange()
    assert scene.client.attached


def test_hints_put_no_try_off(scene: ClientScene) -> None:
    """Traffic earns a CHALLENGE every second, and the ticket is worth nothing: TLS comes all the same."""
    scene.restart_switch()
    scene.client.network_changed(scene.now)
    (first,) = scene.sent()
    scene.give(scene.at_switch(first)[0].datagram)
    began = scene.now.mono
    while not scene.seen(NeedTls):
        scene.give(Challenge(common(scene, 0), b"c" * 16, bytes(8)).pack())
        scene.run_client(0.3)
        assert scene.now.mono < began + 4


def test_without_a_ticket_a_challenge_needs_tls() -> None:
    scene = ClientScene(attach=False)
    scene.prefixes = tuple(f"10.77.1.{i}/32" for i in range(20))
    scene.attach()
    scene.exchange()
    scene.log.clear()
    scene.restart_switch()
    scene.client.network_changed(scene.now)
    scene.exchange()
    (need,) = scene.seen(NeedTls)
    assert need.reason == "no_ticket"


def test_challenges_that_do_not_end_are_answered_once_a_second(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    count = 0
    for _ in range(50):
        for datagram in scene.sent():
            count += 1
            report = update(datagram)
            scene.give(Challenge(common(scene, report.common.number, boot_id=9), b"c" * 16, echo_of(datagram)).pack())
    assert count == 2


def test_a_sequence_that_is_used_up_needs_tls(scene: ClientScene) -> None:
    assert scene.client.grant is not None
    scene.client.grant.sequence = (1 << 32) - 1
    scene.client.network_changed(scene.now)
    scene.client.handle_timer(scene.now)
    assert [need.reason for need in scene.seen(NeedTls)] == ["sequence_used_up"]


# -- Silence


def test_silence_under_traffic_is_probed_after_300_ms(scene: ClientScene) -> None:
    scene.run_client(1.0)
    scene.client.heard_from_switch(scene.now.mono)
    scene.now = after(scene.now, 0.01)
    scene.client.sent_traffic(scene.now.mono)
    sent = scene.run_client(5)
    assert 0.29 <= sent[0][0] <= 0.31
    assert update(sent[0][1]).kind == REFRESH
    times = [at for at, _ in sent]
    assert all(b - a <= 2.4 for a, b in pairwise(times))


def test_one_way_traffic_is_not_probed_three_times_a_second(scene: ClientScene) -> None:
    count = 0
    for _ in range(300):
        scene.client.sent_traffic(scene.now.mono)
        scene.pass_time(0.1, connected=False)
        for datagram in scene.sent():
            count += 1
            scene.client.heard_from_switch(scene.now.mono)
            scene.give(scene.at_switch(datagram)[0].datagram)
    assert 14 <= count <= 22, "30 s, a probe every 2 s"


def test_an_idle_node_does_not_probe(scene: ClientScene) -> None:
    scene.client.sent_traffic(scene.now.mono)
    scene.client.heard_from_switch(scene.now.mono)
    scene.run_client(11)
    scene.exchange()
    before = scene.client.grant.sequence  # type: ignore[union-attr]
    scene.pass_time(100)
    assert scene.client.grant is not None
    assert scene.client.grant.sequence - before <= 6


def test_a_silent_switch_is_told_to_people_and_so_is_its_return(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    scene.run_client(50)
    seconds = [event.seconds for event in scene.seen(Unreachable)]
    assert 5 <= seconds[0] <= 8
    assert len(seconds) == 4
    scene.pass_time(3)
    (back,) = scene.seen(Reachable)
    assert back.seconds >= 50


def test_after_minutes_of_silence_tls_is_tried(scene: ClientScene) -> None:
    scene.client.network_changed(scene.now)
    scene.run_client(290)
    assert scene.seen(NeedTls) == []
    scene.run_client(20)
    assert [need.reason for need in scene.seen(NeedTls)] == ["silence"]


# -- Leaving


def test_bye_is_said_and_answered(scene: ClientScene) -> None:
    scene.client.leave(scene.now)
    (datagram,) = scene.sent()
    assert update(datagram).kind == BYE
    (answer,) = scene.at_switch(datagram)
    scene.give(answer.datagram)
    assert scene.seen(Left) == [Left()]
    assert scene.table.resolve(TRUCK, 100)[1] is None


def test_bye_without_an_answer_ends_too(scene: ClientScene) -> None:
    scene.client.leave(scene.now)
    sent = scene.run_client(5)
    assert len(sent) >= 3
    assert all(update(datagram).kind == BYE for _, datagram in sent)
    assert scene.seen(Left) == [Left()]


def test_leaving_before_attaching() -> None:
    scene = ClientScene(attach=False)
    scene.client.leave(scene.now)
    assert scene.seen(Left) == [Left()]


def test_a_move_while_tls_goes_on_is_reported_after_it() -> None:
    scene = ClientScene(attach=False)
    request = scene.seen(NeedTls)[-1].request
    report, private = scene.random(32), scene.random(32)
    grant = scene.switch.attach(identity(TRUCK), request, HOME.packed(), report, private, scene.now)
    scene.switch.settle(TRUCK, report, scene.now)
    scene.place = AWAY
    scene.client.network_changed(scene.now)
    scene.client.granted(SWITCH, grant, report, private, scene.now)
    scene.exchange()
    assert scene.client.observed == AWAY
    assert Locator.unpack(scene.table.resolve(TRUCK, 100)[1] or b"") == AWAY
