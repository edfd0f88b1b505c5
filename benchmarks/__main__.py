"""`make bench`: every installed system in a star of its own, taking turns, so that what disturbs one disturbs all.

    plain ovng openvpn wireguard-go   plain ovng openvpn wireguard-go   …

Prints a table of medians with a verdict per bound and writes `benchmarks/out/tunnels.json`. Ends with status 1 when a
bound does not hold. All traffic stays in namespaces of the benchmark's own, which are gone when it ends.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack

from benchmarks import machine
from benchmarks.measure import CONGESTION_CONTROL, PING_INTERVAL, PINGS, Bench
from benchmarks.report import conclude, render
from benchmarks.star import star
from benchmarks.systems import SYSTEMS, System
from benchmarks.table import Document, write
from ovng.errors import OvngError

INTERRUPTED = 130


def main() -> int:
    """The exit status."""
    options = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = [system for system in SYSTEMS if not options.system or system.name in options.system]
    try:
        document = _run(wanted, options.rounds, options.seconds, segmentation=not options.no_segmentation)
    except KeyboardInterrupt:
        print("stopped; everything is taken down", file=sys.stderr)
        return INTERRUPTED
    except OvngError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    verdicts = conclude(document)
    print(render(document, verdicts))
    print(f"\nall samples: {write(document, 'tunnels')}")
    return 1 if any(verdict.holds is False for verdict in verdicts) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Tunnels side by side through one hub.")
    names = [system.name for system in SYSTEMS]
    parser.add_argument("--system", action="append", choices=names, help="only this one; may be given again")
    parser.add_argument("--rounds", type=int, default=3, help="turns that everybody takes (3)")
    parser.add_argument("--seconds", type=float, default=2, help="length of one transfer (2)")
    parser.add_argument(
        "--no-segmentation",
        action="store_true",
        help="segmentation offloads of the veths off, GRO on: nearer to a real card",
    )
    return parser.parse_args()


def _run(systems: list[System], rounds: int, seconds: float, *, segmentation: bool) -> Document:
    """Measure. Raises OvngError, KeyboardInterrupt; nothing is left behind either way."""
    missing = {system.name: why for system in systems if (why := system.missing())}
    results: dict[str, Document] = {}
    noise = []
    with ExitStack() as stack:
        benches: dict[str, Bench] = {}
        for system in systems:
            if system.name in missing:
                continue
            _say(f"starting {system.name}")
            here = stack.enter_context(star(segmentation=segmentation))
            benches[system.name] = Bench(here, system.start(here))
            results[system.name] = {"notes": dict(benches[system.name].tunnel.notes), "samples": {}}
            offloads = here.veth_offloads()
        for number in range(rounds):
            for name, bench in benches.items():
                noise.append(machine.busy_share())
                _say(f"round {number + 1} of {rounds}: {name}")
                _add(results[name], bench.turn(seconds))
        for name, bench in benches.items():
            _add(results[name], bench.memory())
    return {
        "machine": machine.describe(),
        "settings": {
            "TCP": f"iperf3, {CONGESTION_CONTROL}, {seconds:g} s each, median of {rounds} rounds",
            "ping": f"{PINGS}, one every {PING_INTERVAL * 1000:g} ms",
            "veths": ", ".join(f"{name} {'on' if there else 'off'}" for name, there in offloads.items()),
        },
        "noise": noise,
        "missing": missing,
        "systems": results,
    }


def _add(result: Document, samples: dict[str, float]) -> None:
    for key, value in samples.items():
        result["samples"].setdefault(key, []).append(value)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
