"""From the samples of a run to its table: median, 95th percentile and maximum, and a verdict per row.

A run's document, which is also its JSON:

    {"machine": {…}, "settings": {…}, "missing": {system: why}, "notes": {system: text}, "results": {system: {scenario:
     {"title": …, "limits": {metric: most}, "facts": {name: value}, "samples": [{metric: value}, …], "trace": {…}} } } }
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.mobility.drive import Result
from benchmarks.mobility.scenarios import Scenario
from benchmarks.mobility.systems import SUBJECT
from benchmarks.table import Document, aligned, described, figure

METRICS = {"gap_up": "G_up ms", "gap_down": "G_down ms", "lost": "L", "tcp": "T_tcp ms"}
"""What the table shows, in this order."""
EXTRA = {
    "duplicated": "D",
    "reordered": "O",
    "failed": "not back",
    "still_up": "still up",
    "still_down": "still down",
    "back": "99 % back",
    "cores": "cores",
    "crowd": "their own",
}
"""Shown in the notes where it is not zero."""


def entry(scenario: Scenario, result: Result) -> Document:
    """A system's part of the document for one scenario."""
    return {
        "title": scenario.title,
        "limits": dict(scenario.limits),
        "held": [name for name in scenario.facts if name in result.facts],
        "facts": result.facts,
        "samples": result.samples,
        "trace": result.trace,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def faults(found: Mapping[str, Any]) -> list[str]:
    """What of an entry is above its limit at the 95th percentile, or not as it must be."""
    wrong = []
    for metric, most in found["limits"].items():
        values = _values(found, metric)
        if not values:
            wrong.append(f"{_name(metric)} not measured")
        elif (got := percentile(values, 0.95)) > most:
            wrong.append(f"{_name(metric)} {figure(got)} > {figure(most)}")
    failed = sum(_values(found, "failed"))
    if failed:
        wrong.append(f"not back {failed:.0f} of {len(found['samples'])} times")
    wrong += [f"not {name.replace('_', ' ')}" for name in found["held"] if not found["facts"][name]]
    return wrong


def render(document: Document) -> str:
    """Everything a reader sees."""
    parts = [described({**document["machine"], **document["settings"]})]
    parts += [f"{name}: {words}" for name, words in document["notes"].items() if name in document["results"]]
    parts += [f"{name}: did not take part, {why}" for name, why in document["missing"].items()]
    rows = []
    keys = list(dict.fromkeys(key for results in document["results"].values() for key in results))
    for key in keys:
        for system, results in document["results"].items():
            if key in results:
                rows.append(_row(key, system, results[key]))
    header = ["", "", "system", "runs", *METRICS.values(), "verdict"]
    parts += ["", "median / 95th percentile / maximum", "", aligned(header, rows, left=3)]
    return "\n".join(parts)


def failed(document: Document) -> bool:
    """Whether a row of ovng is not as it must be."""
    return any(faults(found) for found in document["results"].get(SUBJECT, {}).values())


def _row(key: str, system: str, found: Document) -> list[str]:
    if "error" in found:
        return [key, found["title"], system, "0", *("–" for _ in METRICS), found["error"]]
    cells = [three(_values(found, metric)) for metric in METRICS]
    extra = [f"{name} {figure(most)}" for metric, name in EXTRA.items() if (most := max(_values(found, metric) or [0]))]
    wrong = faults(found)
    if system == SUBJECT:
        verdict = "; ".join(wrong) if wrong else "ok" if found["limits"] else ""
    else:
        verdict = "within too" if found["limits"] and not wrong else ""
    return [key, found["title"], system, str(len(found["samples"])), *cells, ", ".join(filter(None, (verdict, *extra)))]


def _values(found: Mapping[str, Any], metric: str) -> list[float]:
    return [sample[metric] for sample in found["samples"] if metric in sample]


def three(values: Sequence[float]) -> str:
    """Median, 95th percentile and maximum in one cell."""
    if not values:
        return "–"
    return " / ".join(_short(value) for value in (statistics.median(values), percentile(values, 0.95), max(values)))


def _short(value: float) -> str:
    """Whole numbers from 10 on, a digit more below."""
    return f"{value:,.0f}" if value >= 9.95 or value == int(value) else f"{value:.1f}"


def _name(metric: str) -> str:
    return METRICS.get(metric, EXTRA.get(metric, metric)).removesuffix(" ms")
