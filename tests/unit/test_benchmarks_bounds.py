"""Verdicts of the benchmarks on a stored run: what is asked of which libcrypto, and beside whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.bounds import BOUNDS, Bound, Verdict, judge, openssl_version, render_verdicts
from benchmarks.metrics import TUNNELS
from benchmarks.table import Document
from tests.unit.test_benchmarks_report import STORED

OLD, NEW = "OpenSSL 3.0.22 25 Aug 2026 (libcrypto.so.3)", "OpenSSL 3.5.9 29 Sep 2026 (/opt/libcrypto.so.3)"


def document(**systems: dict[str, Any]) -> Document:
    """Systems by name (`_` for `-`) with one sample per metric; `libcrypto` is a note."""
    made = {}
    for name, figures in systems.items():
        notes = {"libcrypto": figures["libcrypto"]} if "libcrypto" in figures else {}
        samples = {key: [value] for key, value in figures.items() if key != "libcrypto"}
        made[name.replace("_", "-")] = {"notes": notes, "samples": samples}
    return {"systems": made}


def only(verdicts: list[Verdict], title: str, subject: str = "ovng") -> Verdict:
    (found,) = (one for one in verdicts if one.bound.title == title and one.subject == subject)
    return found


def test_every_direction_has_to_hold() -> None:
    run = json.loads(STORED.read_text())
    bounds = [
        Bound("a → b", ("tcp1_ab",), "openvpn", 7.0),
        Bound("both", ("tcp1_ab", "tcp1_ba"), "openvpn", 7.0),
        Bound("another", ("tcp1_ab",), "wireguard-go", 3.3),
    ]
    verdicts = judge(run, bounds)
    assert [verdict.holds for verdict in verdicts] == [True, False, None, False]
    text = render_verdicts(verdicts).splitlines()
    assert [line.split()[-1] for line in text[2:]] == ["holds", "SHORT", "measured", "SHORT"]
    assert "7.59, 6.59" in text[3]
    assert "≥ 3.3" in text[4]


@pytest.mark.parametrize(("ours", "holds"), [(0.33, True), (0.331, False)])
def test_at_most(ours: float, holds: bool) -> None:
    run = document(ovng={"cpu_machine": ours, "libcrypto": OLD}, wireguard_go={"cpu_machine": 1.0})
    assert only(judge(run), "CPU per GB, whole machine").holds is holds


def test_a_newer_openssl_is_asked_for_more() -> None:
    bound = Bound("TCP", ("tcp1_ab",), "wireguard-go", 3.3, 4.5)
    run = document(
        ovng={"tcp1_ab": 4.0, "libcrypto": OLD},
        ovng_alt={"tcp1_ab": 4.0, "libcrypto": NEW},
        wireguard_go={"tcp1_ab": 1.0},
    )
    verdicts = judge(run, [bound])
    assert (only(verdicts, "TCP").limit, only(verdicts, "TCP").holds) == (3.3, True)
    assert (only(verdicts, "TCP", "ovng-alt").limit, only(verdicts, "TCP", "ovng-alt").holds) == (4.5, False)


def test_the_prototype_with_the_same_libcrypto() -> None:
    bound = Bound("TCP", ("tcp1_ab",), "prototype", 0.9)
    systems = {"ovng": {"tcp1_ab": 3.0}, "ovng_alt": {"tcp1_ab": 6.0}, "prototype": {"tcp1_ab": 3.0}}
    with_both = judge(document(**systems, prototype_alt={"tcp1_ab": 12.0}), [bound])
    assert only(with_both, "TCP").ratios == (1.0,)
    assert only(with_both, "TCP", "ovng-alt").ratios == (0.5,)
    without = only(judge(document(**systems), [bound]), "TCP", "ovng-alt")
    assert without.holds is None, "a prototype with another libcrypto says nothing"


@pytest.mark.parametrize(("loaded", "holds"), [(0.65, True), (0.7, False)])
def test_a_loaded_ping_beside_the_idle_one(loaded: float, holds: bool) -> None:
    """Three times 0.2 ms and the 0.05 ms that the plain path grew by."""
    run = document(
        ovng={"ping_median": 0.2, "loaded_median": loaded}, plain={"ping_median": 0.01, "loaded_median": 0.06}
    )
    verdict = judge(run, [])[-1]
    assert verdict.holds is holds
    assert judge(document(ovng={"ping_median": 0.2, "loaded_median": loaded}), [])[-1].holds is None


def test_bounds_name_metrics_that_there_are() -> None:
    known = {metric.key for metric in TUNNELS}
    assert {key for bound in BOUNDS for key in bound.metrics if not key.startswith("switch_")} <= known


@pytest.mark.parametrize(
    ("words", "version"),
    [(OLD, (3, 0)), (NEW, (3, 5)), ("OpenSSL 4.0.3", (4, 0)), ("the system's", ()), ("", ())],
)
def test_versions_of_openssl(words: str, version: tuple[int, ...]) -> None:
    assert openssl_version(words) == version
