"""From the samples of a run to what a reader sees: medians and ratios.

A run's document, which is also its JSON:

    {"machine": {name: value}, "settings": {name: value}, "noise": [share, …], "missing": {system: why},
     "systems": {system: {"notes": {name: value}, "samples": {metric: [value per round, …]}}}}

`median` is what everything else reads a figure by; the file keeps every sample.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.metrics import Metric
from benchmarks.table import Document, aligned, described, figure

SUBJECT = "ovng"


def median(document: Document, system: str, metric: str) -> float | None:
    """Of a system's samples; None where it was not measured."""
    values = document["systems"].get(system, {}).get("samples", {}).get(metric)
    return statistics.median(values) if values else None


def add(result: Document, samples: dict[str, float]) -> None:
    """One round's samples to a system's entry in the document."""
    for key, value in samples.items():
        result["samples"].setdefault(key, []).append(value)


def add_most(result: Document, samples: dict[str, float]) -> None:
    """The same for what is judged by its largest value in the whole run, and not by a median."""
    for key, value in samples.items():
        result["samples"][key] = [max([value, *result["samples"].get(key, ())])]


def render(document: Document, metrics: Sequence[Metric]) -> str:
    """What was measured on what, how, and two tables: the medians, and the subject's beside each of the others."""
    systems = list(document["systems"])
    facts = {**document["machine"], **document["settings"], **_noise(document.get("noise", ()))}
    parts = [described(facts)]
    for name, system in document["systems"].items():
        parts.append(f"{name}: " + "; ".join(f"{key} {value}" for key, value in system["notes"].items()))
    parts += [f"{name}: did not take part, {why}" for name, why in document["missing"].items()]
    medians = [
        [metric.title, metric.unit, *map(figure, values)]
        for metric in metrics
        for values in [[median(document, name, metric.key) for name in systems]]
        if any(value is not None for value in values)
    ]
    parts += ["", aligned(["", "", *systems], medians)]
    others = [name for name in systems if name != SUBJECT]
    if SUBJECT in systems and others:
        ratios = [
            [metric.title, *map(figure, values)]
            for metric in metrics
            for ours in [median(document, SUBJECT, metric.key)]
            for values in [[ratio(ours, median(document, other, metric.key)) for other in others]]
            if any(value is not None for value in values)
        ]
        parts += ["", aligned([f"{SUBJECT} ÷ …", *others], ratios)]
    return "\n".join(parts)


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """None where one of the two was not measured."""
    return ours / theirs if ours is not None and theirs else None


def _noise(shares: Sequence[float]) -> dict[str, str]:
    if not shares:
        return {}
    middle, most = statistics.median(shares), max(shares)
    return {"noise": f"in pauses others used {middle:.0%} of the machine (median of {len(shares)}), {most:.0%} at most"}
