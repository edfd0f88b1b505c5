"""The mobility rig's pure parts: what numbered datagrams tell, the slow cable, verdicts, the picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks.mobility.drive import Result
from benchmarks.mobility.figure import HIGHEST, bars, draw
from benchmarks.mobility.flow import INTERVAL, Flow, longest_pause
from benchmarks.mobility.relay import LATER, Line, Quality
from benchmarks.mobility.report import entry, failed, faults, percentile, render
from benchmarks.mobility.scenarios import SCENARIOS
from benchmarks.table import Document

DELAY = 0.04
SENT = [number * INTERVAL for number in range(1000)]


def flow(*, without: range = range(0), late: float = 0.0) -> Flow:
    """A second of datagrams, each 40 ms under way; some do not arrive, those after them `late`."""
    arrived = [(at + DELAY + (late if number > without.start else 0), number) for number, at in enumerate(SENT)]
    return Flow(SENT, [one for one in arrived if one[1] not in without])


# -- What numbered datagrams tell


def test_a_steady_flow_has_no_gap() -> None:
    steady = flow()
    assert steady.gap(0.1, 0.9) == pytest.approx(0, abs=1e-9)
    assert steady.lost(0, 1) == steady.duplicated(0, 1) == steady.reordered(0, 1) == 0


def test_what_is_lost_makes_a_gap_of_its_length() -> None:
    broken = flow(without=range(500, 530))
    assert broken.lost(0.0, 1.0) == 30
    assert broken.lost(0.51, 1.0) == 20
    assert broken.gap(0.1, 0.9) == pytest.approx(0.030)


def test_a_gap_counts_from_when_traffic_could_pass_again() -> None:
    broken = flow(without=range(500, 600))
    assert broken.gap(0.6, 0.9) == pytest.approx(0.04 - INTERVAL)
    assert broken.gap(0.7, 0.9) == pytest.approx(0, abs=1e-9)


def test_a_gap_at_the_end_counts() -> None:
    assert flow(without=range(500, 1000)).gap(0.1, 0.9) == pytest.approx(0.9 - 0.539 - 2 * INTERVAL, abs=0.002)


def test_the_senders_own_pause_is_not_a_gap() -> None:
    sent = [at if number < 500 else at + 0.02 for number, at in enumerate(SENT)]
    late = Flow(sent, [(at + DELAY, number) for number, at in enumerate(sent)])
    assert late.gap(0.1, 0.9) == pytest.approx(0, abs=1e-9)


def test_doubles_and_disorder_are_counted() -> None:
    arrived = [[0, 0.040], [2, 0.041], [1, 0.042], [2, 0.043], [3, 0.044]]
    mixed = Flow.of(SENT[:4], arrived)
    assert (mixed.duplicated(0, 1), mixed.reordered(0, 1), mixed.lost(0, 1)) == (1, 1, 0)
    assert mixed.first(0.041) == 0.042
    assert mixed.first(0.05) is None


def test_a_pause_counts_from_the_edges() -> None:
    assert longest_pause([1.0, 1.1, 1.5], 0.9, 1.6) == pytest.approx(0.4)
    assert longest_pause([], 2.0, 3.0) == 1.0


# -- The slow cable


def test_the_cable_keeps_the_order_and_the_delay() -> None:
    line = Line(Quality(jitter=0.01), 7)
    for number in range(100):
        line.put(bytes([number]), number * 0.001)
    assert line.due(0.0199) == []
    assert line.deadline is not None and line.deadline >= 0.020
    assert line.due(10.0) == [bytes([number]) for number in range(100)]
    assert line.deadline is None


def test_the_cable_does_as_much_harm_as_it_is_told_and_the_same_each_time() -> None:
    def outcome(quality: Quality, seed: int) -> list[bytes]:
        line = Line(quality, seed)
        for number in range(10_000):
            line.put(number.to_bytes(40, "big"), number * 0.001)
        return line.due(100.0)

    assert len(outcome(Quality(loss=0.2), 1)) == pytest.approx(8_000, rel=0.05)
    assert len(outcome(Quality(duplicate=0.1), 1)) == pytest.approx(11_000, rel=0.05)
    whole = [number.to_bytes(40, "big") for number in range(10_000)]
    damaged = sum(a != b for a, b in zip(outcome(Quality(corrupt=0.1), 1), whole, strict=True))
    assert damaged == pytest.approx(1_000, rel=0.15)
    mixed = outcome(Quality(reorder=0.1), 1)
    assert sorted(mixed) == whole and mixed != whole
    quality = Quality(loss=0.1, jitter=0.01, reorder=0.1)
    assert outcome(quality, 5) == outcome(quality, 5) != outcome(quality, 6)


def test_a_late_packet_does_not_hold_the_others() -> None:
    line = Line(Quality(reorder=1.0), 1)
    line.put(b"late", 0.0)
    assert line.deadline == pytest.approx(0.020 + LATER)


# -- Verdicts


def sample(**values: float) -> dict[str, float]:
    return {"gap_up": 1.0, "gap_down": 50.0, "lost": 0.0, "tcp": 60.0, "failed": 0.0, "duplicated": 0.0} | values


S2 = next(scenario for scenario in SCENARIOS if scenario.key == "S2")


def document(ours: Result) -> Document:
    theirs = Result([sample(gap_up=900.0)], {"stream_alive": True}, {"up": [0.0], "down": [0.001, 0.002]})
    results = {"ovng": {"S2": entry(S2, ours)}, "openvpn": {"S2": entry(S2, theirs)}}
    return {"machine": {"CPU": "one"}, "settings": {}, "missing": {}, "notes": {}, "results": results}


def test_percentiles_are_values_of_the_samples() -> None:
    assert percentile([3.0], 0.95) == 3.0
    assert percentile(list(range(1, 101)), 0.95) == 95
    assert percentile([1.0, 2.0, 3.0, 4.0, 5.0], 0.95) == 5.0


def test_a_row_within_its_limits_is_ok() -> None:
    good = document(Result([sample()], {"stream_alive": True, "idle_alive": True, "same_sessions": True}))
    assert not failed(good)
    (row,) = [line for line in render(good).splitlines() if " ovng " in line]
    assert row.endswith("ok") and "50 / 50 / 50" in row


@pytest.mark.parametrize(
    ("values", "facts", "words"),
    [
        ({"gap_down": 61.0}, {}, "G_down 61.0 > 60.0"),
        ({"lost": 1.0}, {}, "L 1.00 > 0.000"),
        ({"failed": 1.0}, {}, "not back 1 of 1 times"),
        ({}, {"idle_alive": False}, "not idle alive"),
    ],
)
def test_each_fault_is_named(values: dict[str, float], facts: dict[str, float | bool | str], words: str) -> None:
    bad = document(Result([sample(**values)], facts))
    assert failed(bad)
    assert faults(bad["results"]["ovng"]["S2"]) == [words]
    assert words in render(bad)


def test_what_was_not_measured_is_a_fault() -> None:
    assert "G_up not measured" in faults(entry(S2, Result()))


def test_every_scenario_has_a_key_of_its_own_and_a_limit() -> None:
    assert len({scenario.key for scenario in SCENARIOS}) == len(SCENARIOS)
    assert [scenario.key for scenario in SCENARIOS if not scenario.limits] == ["S0"]


# -- The picture


def test_bars_say_how_many_arrived() -> None:
    drawn = bars([0.0001, 0.001, 0.0049, 0.0051, 99.0, *[0.1] * 1000])
    assert sorted(drawn.values()) == pytest.approx([0.2, 0.6, HIGHEST])


def test_the_picture_has_a_strip_per_system_and_direction() -> None:
    ours = Result([sample()], {}, {"up": [0.001], "down": [0.2, 0.3]})
    picture = ElementTree.fromstring(draw(document(ours), "S2"))
    words = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert words.count("ovng") == words.count("openvpn") == 2
    boxes = [box for box in picture.iter("{http://www.w3.org/2000/svg}rect") if "bar" in box.get("class", "")]
    assert sum("ours" in box.get("class", "") for box in boxes) == 3
