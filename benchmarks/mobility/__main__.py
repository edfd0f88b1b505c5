"""The mobility scenarios, ovng beside others: one table with a verdict per row, the samples as JSON, one picture.

Every scenario has a world of its own for every system, which is gone when it ends.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.command import exit_status
from benchmarks.mobility import systems
from benchmarks.mobility.drive import BEFORE, ROUND_TRIP, Result
from benchmarks.mobility.figure import draw
from benchmarks.mobility.report import entry, failed, render
from benchmarks.mobility.scenarios import SCENARIOS, Scenario
from benchmarks.mobility.topology import world
from benchmarks.table import Document, write
from ovng.errors import SystemProblem

FIGURE = Path(__file__).parents[2] / "docs" / "mobility.svg"
DRAWN = "S4b"
RUNS = 5


def main() -> int:
    """The exit status: 1 when a row of ovng is not as it must be."""
    options = _parse()
    return exit_status(lambda: _measure(options))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mobility", description="What a move costs.")
    names = [systems.SUBJECT, *(system.name for system in systems.OTHERS)]
    keys = [scenario.key for scenario in SCENARIOS]
    parser.add_argument("--system", action="append", choices=names, help="only this one; may be given again")
    parser.add_argument("--scenario", action="append", choices=keys, help="only this one; may be given again")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each scenario, at most ({RUNS})")
    parser.add_argument("--long", action="store_true", help="the scenarios that take minutes too")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> int:
    name = "mobility-part" if options.system or options.scenario else "mobility"
    document = _run(options, name)
    print(render(document))
    print(f"\nall samples: {write(document, name)}")
    if name == "mobility":
        FIGURE.write_text(draw(document, DRAWN), encoding="utf-8")
        print(f"figure: {FIGURE}")
    return 1 if failed(document) else 0


def _run(options: argparse.Namespace, file: str) -> Document:
    """Measure; what is measured so far is in the file at any time. Raises OvngError, KeyboardInterrupt.

    No process, namespace or rule is left behind either way.
    """
    missing = systems.missing()
    names = [name for name in (systems.SUBJECT, *(one.name for one in systems.OTHERS)) if name not in missing]
    results: dict[str, Document] = {name: {} for name in names if not options.system or name in options.system}
    settings: dict[str, str] = {
        "probe": "1000 UDP packets/s each way, a TCP stream of 3.2 Mbit/s, an idle TCP connection",
        "way": f"{1000 * ROUND_TRIP:g} ms between node and hub and back; NAT before every uplink",
        "gap": "longest time without an arrival, from when traffic could pass again, minus the sender's own pause",
        "L": f"of what was sent from {1000 * BEFORE:g} ms before the event on",
    }
    document: Document = {
        "machine": machine.describe(),
        "settings": settings,
        "missing": missing,
        "notes": systems.notes(),
        "results": results,
    }
    noise = []
    for scenario in SCENARIOS:
        if options.scenario and scenario.key not in options.scenario:
            continue
        if scenario.long and not (options.long or options.scenario):
            continue
        for name, found in results.items():
            if scenario.compared or name == systems.SUBJECT:
                noise.append(machine.busy_share())
                print(f"{scenario.key} {scenario.title}: {name}", file=sys.stderr, flush=True)
                found[scenario.key] = _one(scenario, name, min(options.runs, scenario.runs_max))
                settings["noise"] = f"others used {max(noise):.0%} of the machine at most, in the pauses"
                write(document, file)
    return document


def _one(scenario: Scenario, name: str, runs: int) -> Document:
    try:
        with world(both=scenario.both) as made, systems.running(name, made, settings=scenario.settings) as running:
            return entry(scenario, scenario.measure(running, runs))
    except SystemProblem as error:
        print(error, file=sys.stderr)
        return {**entry(scenario, Result()), "error": str(error)}


if __name__ == "__main__":
    sys.exit(main())
