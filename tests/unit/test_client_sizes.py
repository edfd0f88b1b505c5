"""How large datagrams may be on a path, as the attachment finds it out, against a real Switch over a narrow wire."""

from __future__ import annotations

import pytest

from ovng.forwarding.pathsize import State
from ovng.ids import Locator
from ovng.limits import SIZE_BASE, SIZE_STEP
from ovng.wire.report import ReportKind, Update, parse_report
from tests.client_scene import ClientScene

MOST = 1_444
AWAY = Locator.of("198.18.2.2", 4_000)


def scene_of(passes: int) -> ClientScene:
    scene = ClientScene(attach=False, datagram_max=MOST)
    scene.passes = passes
    scene.attach()
    scene.exchange()
    scene.pass_time(3)
    return scene


@pytest.mark.parametrize("passes", [MOST, 1_372, SIZE_BASE])
def test_the_path_is_measured_when_the_switch_knows_it(passes: int) -> None:
    scene = scene_of(passes)
    assert passes - SIZE_STEP < scene.client.reach <= passes


def test_nothing_large_is_sent_while_nobody_sends() -> None:
    scene = scene_of(MOST)
    sent = [datagram for _, datagram in scene.run_client(3_600)]
    assert sent and all(len(datagram) <= SIZE_BASE for datagram in sent)


def test_a_path_that_narrows_under_traffic_is_noticed() -> None:
    scene = scene_of(MOST)
    traffic(scene, 1.0)
    assert scene.client.reach == MOST
    scene.passes = 1_300
    traffic(scene, 1.0)
    path = scene.client.path(0)
    assert path is not None and path.size.black_holes == 1
    assert 1_300 - SIZE_STEP < scene.client.reach <= 1_300


def traffic(scene: ClientScene, seconds: float) -> None:
    """A megabyte a second in large packets."""
    step = 0.01
    for _ in range(round(seconds / step)):
        scene.client.sent_traffic(scene.now.mono)
        scene.client.passed_bulk(int(1e6 * scene.now.mono), scene.now.mono)
        scene.pass_time(step)


def test_another_address_is_measured_anew() -> None:
    scene = scene_of(MOST)
    scene.place, scene.passes = AWAY, SIZE_BASE
    scene.client.network_changed(scene.now)
    assert scene.client.reach == SIZE_BASE, "until it is known"
    scene.exchange()
    scene.passes = MOST
    scene.pass_time(3)
    assert scene.client.reach == MOST


def test_a_metered_path_is_asked_only_while_it_is_used() -> None:
    scene = scene_of(MOST)
    scene.client.add_path(1, 5, scene.now, metered=True)
    scene.exchange()
    scene.pass_time(3)
    path = scene.client.path(1)
    assert path is not None and (path.size.size, path.size.state) == (SIZE_BASE, State.SEARCH)


def test_a_probe_is_padded_to_its_size() -> None:
    scene = ClientScene(attach=False, datagram_max=MOST)
    scene.attach()
    scene.exchange()
    scene.client.handle_timer(scene.now)
    reports = [(parse_report(datagram), len(datagram)) for datagram in scene.sent()]
    kinds = [(report.kind, size) for report, size in reports if isinstance(report, Update)]
    assert kinds == [(ReportKind.PROBE, MOST), (ReportKind.REFRESH, 92)], "a small one behind it"
