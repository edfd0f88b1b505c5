"""The benchmarks' words: tables, verdicts and files from a stored run, and what is read out of other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bounds import judge
from benchmarks.latency import read_first, read_ping
from benchmarks.metrics import TUNNELS
from benchmarks.micro.__main__ import document
from benchmarks.micro.__main__ import render as render_parts
from benchmarks.micro.timing import Contest, Stopwatch
from benchmarks.report import add_most, median, render
from benchmarks.table import Document, aligned, figure, write
from benchmarks.tcp import read_transfer
from ovng.errors import SystemProblem

STORED = Path(__file__).parents[1] / "vectors" / "benchmark_run.json"


@pytest.fixture
def run() -> Document:
    stored: Document = json.loads(STORED.read_text())
    return stored


def row(text: str, title: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"{title}  "))
    return line.removeprefix(title).split()


def test_rows_are_medians_and_ratios(run: Document) -> None:
    medians, ratios = render(run, TUNNELS).split("ovng ÷ …")
    assert row(medians, "TCP 1 stream, a → b") == ["Gbit/s", "18.0", "2.50", "0.329"]
    assert row(ratios, "TCP 1 stream, a → b") == ["0.139", "7.59"]
    assert row(medians, "CPU, process on hub") == ["s/GB", "–", "0.556", "11.5"]
    assert row(ratios, "CPU, process on hub") == ["–", "0.0484"]
    assert "UDP 64 B" not in medians + ratios, "a row that nobody measured"


def test_everything_that_explains_the_figures_is_printed(run: Document) -> None:
    text = render(run, TUNNELS)
    for words in ("Linux 6.18.44", "cubic", "offloads vnet_hdr, tso", "gro off", "nebula is not installed"):
        assert words in text
    assert "others used 50% of the machine (median of 12), 68% at most" in text


def test_a_peak_is_that_of_the_whole_run() -> None:
    result: Document = {"samples": {}}
    for most in (30.0, 41.0, 35.0):
        add_most(result, {"rss_a": most})
    assert median({"systems": {"ovng": result}}, "ovng", "rss_a") == 41.0


def test_a_run_of_one_system(run: Document) -> None:
    for alone in ("ovng", "plain"):
        document = {**run, "systems": {alone: run["systems"][alone]}}
        assert all(verdict.holds is None for verdict in judge(document))
        assert "÷" not in render(document, TUNNELS)


def test_metrics_are_told_apart() -> None:
    assert len({metric.key for metric in TUNNELS}) == len({metric.title for metric in TUNNELS}) == len(TUNNELS)


def test_columns_stand_under_each_other() -> None:
    text = aligned(["", "one", "a long one"], [["first", "1", "2"], ["the second", "100", "–"]])
    assert text.splitlines() == [
        "            one  a long one",
        "----------  ---  ----------",
        "first         1           2",
        "the second  100           –",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0, "0.000"), (0.0064, "0.00640"), (0.4, "0.400"), (1.239, "1.24"), (27.44, "27.4"),
        (99.96, "100"), (123.4, "123"), (999.4, "999"), (1000, "1,000"), (19_300_000.7, "19,300,001"),
    ],
)  # fmt: skip
def test_figures(value: float | None, text: str) -> None:
    assert figure(value) == text


def test_files_hold_what_was_printed_and_more(run: Document, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    write({"old": "x" * 10_000}, "tunnels", folder)
    path = write(run, "tunnels", folder)
    assert path == folder / "tunnels.json"
    assert json.loads(path.read_text()) == run


def transfer(received: int, **end: Any) -> str:
    return json.dumps({"end": {"sum_received": {"bytes": received, "bits_per_second": received * 4.0}, **end}})


def test_iperf3_is_believed_as_the_receiver_counts() -> None:
    output = transfer(500_000_000, sum_sent={"bytes": 7}, sender_tcp_congestion="cubic")
    got = read_transfer(output)
    assert (got.bytes, got.gbit_s) == (500_000_000, 2.0)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ('{"error": "unable to connect to server"}', "unable to connect to server"),
        ("iperf3: not found\n", "iperf3: not found"),
        ("", "nothing"),
        (transfer(0), "nothing arrived"),
        (transfer(1, sender_tcp_congestion="bbr"), "bbr, not cubic"),
    ],
)
def test_iperf3_that_failed_is_no_measurement(output: str, words: str) -> None:
    with pytest.raises(SystemProblem, match=words):
        read_transfer(output)


def test_ping() -> None:
    lines = [f"64 bytes from 10.0.0.1: icmp_seq={n} ttl=64 time={ms} ms" for n, ms in enumerate((0.3, 0.1, 2.0))]
    assert read_ping("\n".join(lines)) == (0.1, 0.3)
    with pytest.raises(SystemProblem, match="no ping"):
        read_ping("3 packets transmitted, 0 received, 100% packet loss, time 2ms")


def test_the_first_answer_is_the_first_that_came() -> None:
    """As `ping -D` printed it while a tunnel came up."""
    before = (
        "PING 10.77.0.2 (10.77.0.2) 56(84) bytes of data.\n"
        "[1795387300.250101] From 10.1.0.1 icmp_seq=1 Destination Net Unreachable\n"
    )
    assert read_first(before) is None
    came = "[1795387301.052790] 64 bytes from 10.77.0.2: icmp_seq=79 ttl=64 time=4.20 ms\n"
    after = "[1795387301.062790] 64 bytes from 10.77.0.2: icmp_seq=80 ttl=64 time=0.20 ms\n"
    assert read_first(before + came + after) == 1795387301.05279


def test_parts_are_ratios_of_speed() -> None:
    """Whatever the unit: above 1 is faster than what stands beside it."""

    def nothing(watch: Stopwatch) -> int:
        raise AssertionError("only rendered")

    contests = [Contest(unit, f"by {unit}", unit, nothing, "another", nothing) for unit in ("ns", "/s")]
    samples = [{"ours": [200.0, 100.0, 90.0], "other": [400.0]}, {"ours": [100.0], "other": [400.0, 300.0, 500.0]}]
    text = render_parts(contests, samples)
    assert row(text, "by ns") == ["ns", "100", "400", "4.00", "another"]
    assert row(text, "by /s") == ["/s", "100", "400", "0.250", "another"]
    kept = document({"kernel": "x"}, contests, samples)
    assert kept["parts"]["ns"] == {"unit": "ns", "beside": "another", "samples": samples[0]}
