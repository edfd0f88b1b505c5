"""The tunnels: every installed system in a star of its own, taking turns, so that what disturbs one disturbs all.

    plain ovng openvpn wireguard-go   plain ovng openvpn wireguard-go   …

All are started anew for some of the turns: a system that runs has habits of its own (where its threads and buffers
came to lie), by which two starts of the same program differ by a tenth, however long they are measured.

Prints tables of medians with a verdict per bound and writes `benchmarks/out/tunnels.json`. All traffic stays in
namespaces of the benchmark's own, which are gone when it ends.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks import machine, metrics, udp
from benchmarks.bounds import judge, render_verdicts
from benchmarks.command import exit_status
from benchmarks.report import add, add_most, render
from benchmarks.star import star
from benchmarks.systems import SYSTEMS, System
from benchmarks.table import Document, write
from benchmarks.tcp import CONGESTION_CONTROL
from benchmarks.turn import IDLE_INTERVAL, IDLE_PINGS, LOADED_INTERVAL, Bench, Samples

PARTS = ("tcp", "ping", "udp", "cut")
CUT_SECONDS = 1
"""At most, of a transfer without segmentation: the same row again needs less."""


def main() -> int:
    """The exit status."""
    options = _parse()
    return exit_status(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> int:
    document = _run(options)
    print(render(document, metrics.TUNNELS))
    measured = [verdict for verdict in judge(document) if verdict.holds is not None]
    if measured:
        print(f"\n{render_verdicts(measured)}")
    print(f"\nall samples: {write(document, 'tunnels')}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Tunnels side by side through one hub.")
    names = [system.name for system in SYSTEMS]
    parser.add_argument("--system", action="append", choices=names, help="only this one; may be given again")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; may be given again")
    parser.add_argument("--starts", type=int, default=2, help="how often everybody is started (2)")
    parser.add_argument("--rounds", type=int, default=1, help="turns that everybody takes per start (1)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one transfer (2)")
    parser.add_argument("--quick", action="store_true", help="one short turn each, to see that all works")
    parser.add_argument(
        "--no-segmentation",
        action="store_true",
        help="segmentation offloads of the veths off from the start, GRO on: nearer to a real card",
    )
    options = parser.parse_args()
    if options.quick:
        options.starts = options.rounds = options.seconds = 1
    if min(options.starts, options.rounds, options.seconds) < 1:
        parser.error("--starts, --rounds and --seconds are 1 or more")
    return options


def _run(options: argparse.Namespace) -> Document:
    """Measure. Raises OvngError, KeyboardInterrupt; nothing is left behind either way."""
    systems = [system for system in SYSTEMS if not options.system or system.name in options.system]
    parts = [part for part in PARTS if not options.part or part in options.part]
    missing = {system.name: why for system in systems if (why := system.missing())}
    here = [system for system in systems if system.name not in missing]
    results: dict[str, Document] = {system.name: {"notes": {}, "samples": {}} for system in here}
    noise: list[float] = []
    offloads: dict[str, bool] = {}
    for start in range(options.starts):
        with ExitStack() as stack:
            benches = {system.name: _start(system, stack, segmentation=not options.no_segmentation) for system in here}
            for name, bench in benches.items():
                results[name]["notes"] = dict(bench.tunnel.notes)
                add(results[name], bench.started())
                offloads = bench.star.veth_offloads()
            for what, turn in _turns(parts, options, start):
                for name, bench in benches.items():
                    noise.append(machine.busy_share())
                    _say(f"{what}: {name}")
                    add(results[name], turn(bench))
            for name, bench in benches.items():
                add_most(results[name], bench.memory())
    return {
        "machine": machine.describe(),
        "settings": {
            "TCP": f"iperf3, {CONGESTION_CONTROL}, {options.seconds} s each, medians of "
            f"{options.starts * options.rounds} turns, {options.rounds} per start",
            "ping": f"idle {IDLE_PINGS}, one every {IDLE_INTERVAL * 1000:g} ms; "
            f"loaded one every {LOADED_INTERVAL * 1000:g} ms beside one TCP stream",
            "UDP": f"sendmmsg of single datagrams, one search per size, {udp.SECONDS:g} s per offer",
            "veths": ", ".join(f"{name} {'on' if there else 'off'}" for name, there in offloads.items()),
        },
        "noise": noise,
        "missing": missing,
        "systems": results,
    }


def _start(system: System, stack: ExitStack, *, segmentation: bool) -> Bench:
    _say(f"starting {system.name}")
    here = stack.enter_context(star(segmentation=segmentation))
    return Bench(here, system.start(here))


def _turns(
    parts: list[str], options: argparse.Namespace, start: int
) -> Iterator[tuple[str, Callable[[Bench], Samples]]]:
    """What everybody does, in this order: the rounds, a search per size of datagram (a long one, with the first start
    only), the veths without segmentation."""
    seconds, all_rounds = options.seconds, options.starts * options.rounds
    rounds = range(start * options.rounds, (start + 1) * options.rounds)
    for number in rounds:
        of = f"{number + 1} of {all_rounds}"
        if "tcp" in parts:
            yield f"TCP {of}", lambda bench: bench.transfers(seconds)
        if "ping" in parts:
            yield f"ping {of}", Bench.round_trips
    if "udp" in parts and start == 0:
        for size in udp.SIZES:
            yield f"UDP {size} B", partial(Bench.datagrams, size=size)
    if "cut" in parts and not options.no_segmentation:
        short = min(seconds, CUT_SECONDS)
        for number in rounds:
            yield f"TCP without segmentation {number + 1} of {all_rounds}", lambda bench: _cut(bench, short)


def _cut(bench: Bench, seconds: int) -> Samples:
    bench.star.stop_segmentation()
    return bench.single_stream(seconds)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
