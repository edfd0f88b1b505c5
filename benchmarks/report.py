"""From the samples of a run to what a reader sees: medians, ratios, and a verdict for each bound.

A run's document, which is also its JSON:

    {"machine": {name: value}, "settings": {name: value}, "noise": [share, …], "missing": {system: why},
     "systems": {system: {"notes": {name: value}, "samples": {metric: [value per round, …]}}}}

and, once `conclude` has added them, "medians" in each system and "verdicts".
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.table import Document, aligned, described, figure

SUBJECT = "ovng"


class Metric(NamedTuple):
    """One row."""

    key: str
    title: str
    unit: str


METRICS = (
    Metric("tcp1_ab", "TCP 1 stream, a → b", "Gbit/s"),
    Metric("tcp1_ba", "TCP 1 stream, b → a", "Gbit/s"),
    Metric("tcp4_ab", "TCP 4 streams, a → b", "Gbit/s"),
    Metric("tcp4_ba", "TCP 4 streams, b → a", "Gbit/s"),
    Metric("ping_min", "ping idle, smallest", "ms"),
    Metric("ping_median", "ping idle, median", "ms"),
    Metric("cpu_machine", "CPU, whole machine", "s/GB"),
    Metric("cpu_processes", "CPU, its processes", "s/GB"),
    Metric("cpu_a", "CPU, process on a", "s/GB"),
    Metric("cpu_hub", "CPU, process on hub", "s/GB"),
    Metric("cpu_b", "CPU, process on b", "s/GB"),
    Metric("rss_a", "peak memory on a", "MiB"),
    Metric("rss_hub", "peak memory on hub", "MiB"),
    Metric("rss_b", "peak memory on b", "MiB"),
)


class Bound(NamedTuple):
    """`metric` of ovng is at least `factor` times that of `other`, in the same run."""

    metric: str
    other: str
    factor: float


BOUNDS = (Bound("tcp1_ab", "openvpn", 2.0), Bound("tcp1_ba", "openvpn", 2.0))


class Verdict(NamedTuple):
    """What became of a bound. `holds` is None where the other did not take part."""

    bound: Bound
    ratio: float | None
    holds: bool | None

    def line(self) -> str:
        """For people."""
        metric = next(metric for metric in METRICS if metric.key == self.bound.metric)
        wanted = f"{metric.title} ≥ {self.bound.factor:g} × {self.bound.other}"
        if self.ratio is None:
            return f"{wanted}: not measured"
        return f"{wanted}: {figure(self.ratio)} ×, {'holds' if self.holds else 'FALLS SHORT'}"


def conclude(document: Document, bounds: Sequence[Bound] = BOUNDS) -> list[Verdict]:
    """Add medians and verdicts to the document; the verdicts."""
    for system in document["systems"].values():
        system["medians"] = {key: statistics.median(values) for key, values in system["samples"].items() if values}
    verdicts = [_judge(document, bound) for bound in bounds]
    document["verdicts"] = [
        {**verdict.bound._asdict(), "ratio": verdict.ratio, "holds": verdict.holds} for verdict in verdicts
    ]
    return verdicts


def render(document: Document, verdicts: Sequence[Verdict]) -> str:
    """Everything a reader needs, in the order in which it is needed. The document has been concluded."""
    systems = document["systems"]
    others = [name for name in systems if name != SUBJECT] if SUBJECT in systems else []
    rows = []
    for metric in METRICS:
        values = {name: system["medians"].get(metric.key) for name, system in systems.items()}
        if any(value is not None for value in values.values()):
            ratios = [figure(_ratio(values[SUBJECT], values[other])) for other in others]
            rows.append([metric.title, metric.unit, *map(figure, values.values()), *ratios])
    header = ["", "", *systems, *(f"{SUBJECT} ÷ {other}" for other in others)]
    facts = {**document["machine"], **document["settings"], **_noise(document["noise"])}
    parts = [described(facts)]
    for name, system in systems.items():
        parts.append(f"{name}: " + "; ".join(f"{key} {value}" for key, value in system["notes"].items()))
    parts += [f"{name}: did not take part, {why}" for name, why in document["missing"].items()]
    parts += ["", aligned(header, rows), "", *(verdict.line() for verdict in verdicts)]
    return "\n".join(parts)


def _judge(document: Document, bound: Bound) -> Verdict:
    ours, theirs = (
        document["systems"].get(name, {}).get("medians", {}).get(bound.metric) for name in (SUBJECT, bound.other)
    )
    ratio = _ratio(ours, theirs)
    return Verdict(bound, ratio, None if ratio is None else ratio >= bound.factor)


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _noise(shares: Sequence[float]) -> dict[str, str]:
    if not shares:
        return {}
    middle, most = statistics.median(shares), max(shares)
    return {"noise": f"in pauses others used {middle:.0%} of the machine (median of {len(shares)}), {most:.0%} at most"}
