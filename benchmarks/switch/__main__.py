"""`python -m benchmarks.switch`: every case through ovng, the kernel and the prototype, taking turns.

Prints a table of medians and writes `benchmarks/out/switch.json`.
"""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks import machine
from benchmarks.bounds import judge, render_verdicts
from benchmarks.command import exit_status
from benchmarks.report import add, render
from benchmarks.star import HUB_FROM_A, B, Star
from benchmarks.switch.arena import SECONDS, Forwarder, arena, forwarded, start, wait_ready
from benchmarks.switch.cases import CASES, TABLES, Case
from benchmarks.switch.place import FIRST_PORT
from benchmarks.systems.prototype import SWITCH_OPTIONS, VARIABLE
from benchmarks.systems.prototype import program as prototype
from benchmarks.table import Document, write
from ovng import __version__

OVNG_PORT, PROTOTYPE_PORT = 5200, 5300


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switch", description="The Switch alone.")
    parser.add_argument("--rounds", type=int, default=3, help="turns that everybody takes (3)")
    parser.add_argument("--case", action="append", choices=[case.key for case in CASES], help="only this one")
    options = parser.parse_args()
    wanted = [case for case in CASES if not options.case or case.key in options.case]
    return exit_status(lambda: _measure(wanted, options.rounds))


def _measure(wanted: list[Case], rounds: int) -> int:
    with arena() as here:
        document = _run(here, wanted, rounds)
    print(render(document, [case.metric() for case in CASES]))
    measured = [verdict for verdict in judge(document) if verdict.holds is not None]
    if measured:
        print(f"\n{render_verdicts(measured)}")
    print(f"\nall samples: {write(document, 'switch')}")
    return 0


def _run(here: Star, cases: list[Case], rounds: int) -> Document:
    missing = {} if prototype("sw") else {"prototype": f"{VARIABLE} names no folder with the prototype's sw"}
    ovng = {entries: _ovng(here, number, entries) for number, entries in enumerate(TABLES)}
    others = {} if missing else {entries: _prototype(here, number, entries) for number, entries in enumerate(TABLES)}
    systems: dict[str, Document] = {
        "ovng": {"notes": {"version": __version__, "workers": "1"}, "samples": {}},
        "kernel": {"notes": {"path": "IP forwarding, on the generator's core"}, "samples": {}},
    }
    if others:
        systems["prototype"] = {"notes": {"settings": " ".join(SWITCH_OPTIONS)}, "samples": {}}
    noise = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        noise.append(machine.busy_share())
        for case in cases:
            ways = {"ovng": ovng[case.entries]}
            if case.kernel:
                ways["kernel"] = Forwarder(B, FIRST_PORT, "big")
            if others:
                ways["prototype"] = others[case.entries]
            for name, way in ways.items():
                add(systems[name], {case.key: forwarded(here, case, way) / 1e3})
    settings = {
        "sizes": "payload; header and tag are 44 B more",
        "measured": f"{SECONDS:g} s each, median of {rounds} rounds",
        "cores": f"generator on the first of {os.cpu_count()}, Switch on the last",
    }
    return {
        "machine": machine.describe(),
        "settings": settings,
        "noise": noise,
        "missing": missing,
        "systems": systems,
    }


def _ovng(here: Star, number: int, entries: int) -> Forwarder:
    start(here.hub, "serve", str(OVNG_PORT + number), str(entries))
    return Forwarder(HUB_FROM_A, OVNG_PORT + number, "big")


def _prototype(here: Star, number: int, entries: int) -> Forwarder:
    """Its table counts from 1000 and places its nodes itself; pinned to the same core as ours."""
    port = PROTOTYPE_PORT + number
    last = str(max(os.sched_getaffinity(0)))
    where = [f"local=0.0.0.0:{port}", f"table={entries}", f"dst={B}:{FIRST_PORT}"]
    wait_ready(here.hub.start("sw", "taskset", "-c", last, prototype("sw"), *SWITCH_OPTIONS, *where))
    return Forwarder(HUB_FROM_A, port, "little")


if __name__ == "__main__":
    sys.exit(main())
