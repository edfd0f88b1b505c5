"""Several paths of one node, against a real Switch: made known, activated, probed, and told of after a restart."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from ovng.forwarding.clientevents import LocatorChanged, PathAnswered, PathSilent
from ovng.forwarding.store import Replay, Slots
from ovng.ids import Locator
from ovng.limits import PROBE_MIN, PROBES_LOST_MAX
from ovng.wire.header import PacketType, parse_header
from ovng.wire.report import ReportFlags, ReportKind, Update, parse_report
from tests.attachment_fixture import HOME, TRUCK, after
from tests.client_scene import ClientScene

AWAY = Locator.of("198.18.2.2", 4_000)
PLACES = {0: HOME, 1: AWAY}


def pass_all(scene: ClientScene, broken: Collection[int] = ()) -> list[tuple[int, Update]]:
    """Everything passes at once by the paths that are not broken; the reports that were sent, and by which."""
    reports: list[tuple[int, Update]] = []
    for _ in range(20):
        sent = scene.client.outgoing()
        if not sent:
            return reports
        for index, datagram in sent:
            if parse_header(datagram).type != PacketType.REPORT:
                continue
            report = parse_report(datagram)
            assert isinstance(report, Update)
            reports.append((index, report))
            for out in [] if index in broken else scene.switch.handle_report(datagram, PLACES[index], scene.now):
                for came, place in PLACES.items():
                    if out.to == place and came not in broken:
                        scene.client.receive_report(out.datagram, scene.now, came)
        scene.drain()
    raise AssertionError("client and Switch do not come to an end")


def wait(scene: ClientScene, seconds: float, broken: Collection[int] = ()) -> list[tuple[float, int, Update]]:
    """Time passes for the client, with traffic; what it sent, and when."""
    until = after(scene.now, seconds)
    sent: list[tuple[float, int, Update]] = []
    for _ in range(10_000):
        scene.client.sent_traffic(scene.now.mono)
        due = scene.client.deadline(scene.now)
        if due is None or due > until.mono:
            scene.now = until
            return sent
        scene.now = after(scene.now, max(0.001, due - scene.now.mono))
        scene.client.handle_timer(scene.now)
        sent += [(scene.now.mono, index, report) for index, report in pass_all(scene, broken)]
        scene.drain()
    raise AssertionError("a deadline that is always due")


def slots(scene: ClientScene) -> tuple[Slots, int]:
    state = scene.table.locators(TRUCK)
    assert state is not None
    return state[0], state[1]


@pytest.fixture
def two() -> ClientScene:
    """Both paths known, the first active."""
    scene = ClientScene()
    scene.client.add_path(1, 5, scene.now)
    pass_all(scene)
    scene.log.clear()
    return scene


def test_a_second_path_is_made_known_while_data_stays_where_it_is() -> None:
    scene = ClientScene()
    scene.client.add_path(1, 5, scene.now)
    sent = pass_all(scene)
    assert [(index, report.kind) for index, report in sent] == [(1, ReportKind.REFRESH), (1, ReportKind.REFRESH)]
    assert sent[1][1].observed == AWAY and any(sent[1][1].cookie)
    assert {report.common.priority for _, report in sent} == {5}
    assert slots(scene) == ((HOME.packed(), AWAY.packed(), None, None), 0)
    assert scene.seen(PathAnswered) == [PathAnswered(1)] and not scene.seen(LocatorChanged)


@pytest.mark.parametrize("lost", [True, False])
def test_one_report_moves_the_data_to_a_known_path(two: ClientScene, lost: bool) -> None:
    two.client.activate(1, two.now, lost=lost)
    ((index, report),) = pass_all(two)
    assert (index, report.kind) == (1, ReportKind.MOVE)
    assert (ReportFlags.REPLAY in report.common.flags) == lost
    assert slots(two)[1] == 1
    assert two.switch.replays() == ([Replay(TRUCK, rest=False)] if lost else [])
    assert [event.observed for event in two.seen(LocatorChanged)] == [AWAY]


def test_an_answer_that_comes_after_the_next_move_takes_no_data_back(two: ClientScene) -> None:
    """Path 0 has moved, too; its answer, with a proof, comes when data goes by path 1 already."""
    there = Locator.of("198.18.3.3", 5_000)
    two.client.network_changed(two.now, 0)
    ((index, move),) = two.client.outgoing()
    assert index == 0
    (answer,) = two.switch.handle_report(move, there, two.now)
    two.client.activate(1, two.now, lost=True)
    pass_all(two)
    assert slots(two)[1] == 1
    two.client.receive_report(answer.datagram, two.now, 0)
    ((index, proof),) = two.client.outgoing()
    report = parse_report(proof)
    assert isinstance(report, Update)
    assert (index, report.kind, any(report.cookie)) == (0, ReportKind.REFRESH, True)
    for out in two.switch.handle_report(proof, there, two.now):
        two.client.receive_report(out.datagram, two.now, 0)
    assert two.client.outgoing() == []
    locators, active = slots(two)
    assert (locators[0], locators[1], active) == (there.packed(), AWAY.packed(), 1)


def test_all_nodes_want_their_tail_kept(two: ClientScene) -> None:
    assert two.table.wishes(TRUCK) == (True, 0)


def test_the_active_path_is_dead_after_three_lost_probes_and_the_others_are_asked(two: ClientScene) -> None:
    began = two.now.mono
    sent = wait(two, 2.0, broken=[0])
    assert two.seen(PathSilent) == [PathSilent(0)]
    probes = [at - began for at, index, report in sent if index == 0 and report.kind == ReportKind.REFRESH]
    assert len(probes) >= PROBES_LOST_MAX
    asked = next(at - began for at, index, _ in sent if index == 1)
    assert asked <= probes[0] + PROBES_LOST_MAX * PROBE_MIN + 0.01


def test_with_one_path_nothing_is_probed_so_soon() -> None:
    scene = ClientScene()
    assert [index for at, index, _ in wait(scene, 0.25, broken=[0])] == []


def test_a_path_that_was_removed_says_nothing_more(two: ClientScene) -> None:
    two.client.remove_path(1)
    assert {index for _, index, _ in wait(two, 60.0)} == {0}
    two.client.remove_path(0)
    assert two.client.path(0) is not None, "the active path stays until another one is"


def test_after_a_restart_of_the_switch_all_paths_are_known_again_and_data_is_where_it_was(two: ClientScene) -> None:
    two.client.activate(1, two.now, lost=False)
    pass_all(two)
    two.restart_switch()
    for _ in range(3):
        two.client.network_changed(two.now, 0)
        pass_all(two)
        two.now = after(two.now, 1.1)
        wait(two, 2.0)
    assert slots(two) == ((HOME.packed(), AWAY.packed(), None, None), 1)


def test_there_are_four_paths_at_most() -> None:
    with pytest.raises(ValueError, match="0 to 3"):
        ClientScene().client.add_path(4, 0, after(ClientScene().now, 0))
