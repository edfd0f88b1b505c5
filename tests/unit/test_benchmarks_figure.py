"""The benchmarks' picture, and what the runs of several parts amount to together."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks.conclude import merged
from benchmarks.figure import PANELS, WIDTH, draw
from benchmarks.report import median
from benchmarks.table import Document
from tests.unit.test_benchmarks_report import STORED

_SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run() -> Document:
    stored: Document = json.loads(STORED.read_text())
    return stored


def test_bars_are_as_long_as_the_figures(run: Document) -> None:
    picture = ElementTree.fromstring(draw(run))
    bars = [bar for bar in picture.iter(f"{_SVG}rect") if "bar" in bar.get("class", "")]
    systems = [name for name in run["systems"] if name != "plain"]
    assert len(bars) == len(PANELS) * len(systems)
    for panel in PANELS:
        drawn, bars = bars[: len(systems)], bars[len(systems) :]
        values = [median(run, name, panel.metric) or 0.0 for name in systems]
        widths = [int(bar.get("width", 0)) for bar in drawn]
        assert widths == pytest.approx([value / max(values) * max(widths) for value in values], abs=1)
        assert all(int(bar.get("x", 0)) + int(bar.get("width", 0)) < WIDTH for bar in drawn)


def test_words_are_escaped_and_gaps_are_named(run: Document) -> None:
    run["machine"]["CPU"] = "R&D <2 cores>"
    del run["systems"]["openvpn"]["samples"]["cpu_machine"]
    words = [text.text or "" for text in ElementTree.fromstring(draw(run)).iter(f"{_SVG}text")]
    assert any("R&D <2 cores>" in one for one in words)
    assert words.count("not measured") == 1


def test_parts_are_judged_as_one(run: Document) -> None:
    switch = {
        "systems": {
            "ovng": {"notes": {"workers": "1"}, "samples": {"switch_train_1400": [2000.0]}},
            "kernel": {"notes": {}, "samples": {"switch_train_1400": [5000.0]}},
        }
    }
    both = merged(run, switch)
    assert median(both, "ovng", "switch_train_1400") == 2000.0
    assert median(both, "ovng", "tcp1_ab") == median(run, "ovng", "tcp1_ab")
    assert "version" in both["systems"]["ovng"]["notes"]
    assert set(both["systems"]) == {*run["systems"], "kernel"}
