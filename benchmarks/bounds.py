"""What ovng must reach beside others in the same run, and a verdict for each.

A bound holds for every figure it names (both directions, all three processes), and for ovng with each libcrypto that
took part. Beside the prototype it is the one with the same libcrypto that counts. Where the cipher decides, more is
asked with OpenSSL 3.5 or newer, whose AES-GCM is about twice as fast.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.report import SUBJECT, median, ratio
from benchmarks.systems.base import ALT
from benchmarks.table import Document, aligned, figure

FAST_OPENSSL = (3, 5)


class Bound(NamedTuple):
    """Each of `metrics` of ovng, divided by that of `other`, is at least (or `most`: at most) `factor`."""

    title: str
    metrics: tuple[str, ...]
    other: str
    factor: float
    fast_factor: float | None = None
    """In place of `factor` with OpenSSL 3.5 or newer."""
    most: bool = False


TCP1, TCP4 = ("tcp1_ab", "tcp1_ba"), ("tcp4_ab", "tcp4_ba")
PROTOTYPE = "prototype"

BOUNDS = (
    Bound("TCP 1 stream", TCP1, "wireguard-go", 3.3, 4.5),
    Bound("TCP 1 stream, veths without segmentation", ("tcp1_ab_cut", "tcp1_ba_cut"), "wireguard-go", 2.6),
    Bound("TCP 1 stream", TCP1, "openvpn", 10),
    Bound("TCP 4 streams", TCP4, "wireguard-go", 4.0, 4.5),
    Bound("TCP 1 stream", TCP1, PROTOTYPE, 0.9),
    Bound("TCP 4 streams", TCP4, PROTOTYPE, 0.9),
    Bound("UDP 64 B at 1 % loss", ("udp64_rate",), PROTOTYPE, 0.85),
    Bound("UDP 1372 B at 1 % loss", ("udp1372_rate",), PROTOTYPE, 0.85),
    Bound("CPU per GB, whole machine", ("cpu_machine",), "wireguard-go", 0.33, 0.28, most=True),
    Bound("ping idle, median", ("ping_median",), "openvpn", 1.0, most=True),
    Bound("peak memory: a, hub, b", ("rss_a", "rss_hub", "rss_b"), "wireguard-go", 0.2, most=True),
    Bound("Switch: 1400 B trains, one destination", ("switch_train_1400",), "kernel", 0.35),
    Bound("Switch: single mixed datagrams, 64 B, 1400 B", ("switch_single_64", "switch_single_1400"), PROTOTYPE, 1.0),
)

LOADED = Bound("ping loaded, less the plain path's growth", ("loaded_median",), "itself idle", 3.0, most=True)
"""Of the same tunnel without load: queues are short."""


class Verdict(NamedTuple):
    """What became of a bound. `ratios` and `holds` are None where one side was not measured."""

    bound: Bound
    subject: str
    limit: float
    ratios: tuple[float, ...] | None
    holds: bool | None

    def row(self) -> list[str]:
        """For people."""
        wanted = f"{'≤' if self.bound.most else '≥'} {self.limit:g}"
        measured = "–" if self.ratios is None else ", ".join(map(figure, self.ratios))
        word = "not measured" if self.holds is None else "holds" if self.holds else "FALLS SHORT"
        return [self.bound.title, f"{self.subject} ÷ {self.bound.other}", wanted, measured, word]


def judge(document: Document, bounds: Sequence[Bound] = BOUNDS) -> list[Verdict]:
    """A verdict for every bound, and for the ovng with the other libcrypto where it took part in that."""
    verdicts = []
    for bound in (*bounds, LOADED):
        for subject in (SUBJECT, SUBJECT + ALT):
            if subject == SUBJECT or median(document, subject, bound.metrics[0]) is not None:
                verdicts.append(_loaded(document, subject) if bound is LOADED else _beside(document, bound, subject))
    return verdicts


def render_verdicts(verdicts: Sequence[Verdict]) -> str:
    """One row each."""
    return aligned(["must reach", "", "wanted", "measured", ""], [verdict.row() for verdict in verdicts], left=2)


def openssl_version(words: str) -> tuple[int, ...]:
    """(3, 5) of `OpenSSL 3.5.8 …`; empty when they do not say."""
    found = re.search(r"\bOpenSSL (\d+)\.(\d+)", words)
    return (int(found[1]), int(found[2])) if found else ()


def _beside(document: Document, bound: Bound, subject: str) -> Verdict:
    if bound.other == PROTOTYPE:
        bound = bound._replace(other=PROTOTYPE + subject.removeprefix(SUBJECT))
    ratios = [ratio(median(document, subject, key), median(document, bound.other, key)) for key in bound.metrics]
    return _verdict(bound, subject, _limit(document, bound, subject), ratios)


def _loaded(document: Document, subject: str) -> Verdict:
    figures = [
        median(document, system, key) for system in (subject, "plain") for key in ("loaded_median", "ping_median")
    ]
    value = None
    if all(figures):
        loaded, idle, plain_loaded, plain_idle = (figure or 0.0 for figure in figures)
        value = (loaded - max(0.0, plain_loaded - plain_idle)) / idle
    return _verdict(LOADED, subject, LOADED.factor, [value])


def _limit(document: Document, bound: Bound, subject: str) -> float:
    notes = document["systems"].get(subject, {}).get("notes", {})
    fast = openssl_version(notes.get("libcrypto", "")) >= FAST_OPENSSL
    return bound.fast_factor if fast and bound.fast_factor is not None else bound.factor


def _verdict(bound: Bound, subject: str, limit: float, ratios: Sequence[float | None]) -> Verdict:
    measured = tuple(value for value in ratios if value is not None)
    if len(measured) < len(ratios):
        return Verdict(bound, subject, limit, None, None)
    return Verdict(
        bound, subject, limit, measured, all((value <= limit) if bound.most else (value >= limit) for value in measured)
    )
