"""`python -m benchmarks.conclude`: what the last runs amount to: a verdict for every bound, and the picture.

Reads `tunnels.json` and `switch.json` of `benchmarks/out/`, prints the verdicts and draws `docs/benchmarks.svg`. Ends
with status 1 when a bound does not hold. With `--document` it prints instead all tables of all parts as text to be put
into `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import metrics
from benchmarks.bounds import judge, render_verdicts
from benchmarks.figure import draw
from benchmarks.metrics import Metric
from benchmarks.report import render
from benchmarks.switch.cases import CASES
from benchmarks.table import OUT, Document

FIGURE = Path(__file__).parents[1] / "docs" / "benchmarks.svg"
ROWS: dict[str, Sequence[Metric]] = {"tunnels": metrics.TUNNELS, "switch": [case.metric() for case in CASES]}


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conclude", description="The last runs' verdicts.")
    parser.add_argument("--document", action="store_true", help="print tables and verdicts as a document has them")
    options = parser.parse_args()
    runs = {part: json.loads(path.read_text()) for part in ROWS if (path := OUT / f"{part}.json").exists()}
    if "tunnels" not in runs:
        print(f"no run in {OUT}: python -m benchmarks", file=sys.stderr)
        return 1
    verdicts = judge(merged(*runs.values()))
    if options.document:
        print(*(f"```\n{render(run, ROWS[part])}\n```\n" for part, run in runs.items()), sep="\n")
        print(f"```\n{render_verdicts(verdicts)}\n```")
        return 0
    print(render_verdicts(verdicts))
    FIGURE.write_text(draw(runs["tunnels"]), encoding="utf-8")
    print(f"\nfigure: {FIGURE}")
    return 1 if any(verdict.holds is False for verdict in verdicts) else 0


def merged(*runs: Document) -> Document:
    """One document with the samples of all: no two have a metric in common. The first that has notes gives them."""
    systems: dict[str, Document] = {}
    for run in runs:
        for name, system in run["systems"].items():
            entry = systems.setdefault(name, {"notes": system["notes"], "samples": {}})
            entry["samples"] |= system["samples"]
    return {"systems": systems}


if __name__ == "__main__":
    sys.exit(main())
