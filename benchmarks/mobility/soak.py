"""`make soak-mobility`: half an hour under traffic, with a handover every five seconds, chosen by a seeded generator.

Node `a` has two uplinks, of which the Wi-Fi is behind NAT. What happens to it is what happens in the scenarios, one
after the other and in any order. Every minute a line; at the end what each kind of handover cost, and a verdict:

* traffic came back after each of them,
* both TCP connections live, the busy one and the idle one,
* sessions, their keys and the attachments are those of the beginning,
* memory: after the first minute no process of ovng grows by more than 2 MiB.

Ends with status 1 when one of them does not hold.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.command import exit_status
from benchmarks.mobility import events
from benchmarks.mobility.drive import TAIL, Moment, Window, samples_of, within
from benchmarks.mobility.probe import Probe, Seen
from benchmarks.mobility.report import METRICS, three
from benchmarks.mobility.systems import SUBJECT, Running, running
from benchmarks.mobility.topology import world
from benchmarks.table import aligned
from benchmarks.usage import Resident, growth, resident_memory
from ovng.clock import now

MINUTES, SEED = 30.0, 1
EVERY = 5.0
AWAY_SECONDS = 1.0
"""How long an uplink, or all of them, are not there."""
PATIENCE = 10.0
PROBE_INTERVAL = 0.01
SAMPLE_SECONDS = 60.0

Act = Callable[[], Moment]


@dataclass
class Course:
    """What has happened so far."""

    windows: list[tuple[str, Window]] = field(default_factory=list)
    memory: list[Resident] = field(default_factory=list)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mobility.soak", description="A handover every 5 s.")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"{MINUTES:g}")
    parser.add_argument("--seed", type=int, default=SEED, help=f"{SEED}")
    options = parser.parse_args()
    return exit_status(lambda: _run(60 * options.minutes, options.seed))


def _run(seconds: float, seed: int) -> int:
    with world(both=True, direct={"a-lte"}) as made, running(SUBJECT, made) as system:
        faults = _soak(system, seconds, seed)
    print("\n" + ("\n".join(faults) or "nothing broke, nothing was negotiated again, nothing grows"))
    return 1 if faults else 0


def _soak(system: Running, seconds: float, seed: int) -> list[str]:
    before = system.conversation()
    probe = Probe(system.world.star, system.tunnel.a, system.tunnel.b, interval=PROBE_INTERVAL)
    course = Course()
    for window in _handovers(system, probe, random.Random(seed), seconds, course.memory):
        course.windows.append(window)
    after = system.conversation()
    seen = probe.stop()
    print("\n" + costs(seen, course.windows))
    return [
        *(f"no traffic {PATIENCE:g} s after: {name}" for name, window in course.windows if window.failed),
        *([] if seen.stream_alive else ["the busy TCP connection is dead"]),
        *([] if seen.idle_alive else ["the idle TCP connection is dead"]),
        *([] if after == before else [f"negotiated again: {before} became {after}"]),
        *growth(course.memory),
    ]


def _handovers(
    system: Running, probe: Probe, chance: random.Random, seconds: float, memory: list[Resident]
) -> Iterator[tuple[str, Window]]:
    kinds = _kinds(system)
    began, number = now().mono, 0
    while (passed := now().mono - began) < seconds:
        if passed >= SAMPLE_SECONDS * len(memory):
            memory.append(_resident(system, passed))
            _show(memory, number)
        time.sleep(max(0.0, number * EVERY - passed))
        name = chance.choice(sorted(kinds))
        act, undo = kinds[name]
        moment = act()
        failed = not within(PATIENCE, probe.arriving(moment.usable))
        time.sleep(TAIL)
        yield name, Window(moment, now().mono, failed)
        undo()
        number += 1
    memory.append(_resident(system, now().mono - began))
    _show(memory, number)


def _kinds(system: Running) -> Mapping[str, tuple[Act, Callable[[], None]]]:
    """What may happen to `a`, by name: it happens, and is undone once traffic is back."""
    a, uplink = system.world.a, events.ActiveUplink()

    def nothing() -> None:
        return

    def elsewhere() -> Moment:
        busy = events.active(a)
        return events.together([busy])

    def nowhere() -> Moment:
        began = now().mono
        for one in a.uplinks:
            one.down()
        arrivals = [one.arrival(1 - one.at) for one in a.uplinks]
        time.sleep(AWAY_SECONDS)
        for arrival in arrivals:
            arrival()
        return Moment(began, now().mono)

    return {
        "NAT gives another port": (lambda: events.rebinding(system), nothing),
        "address changes": (elsewhere, nothing),
        "better link": (lambda: events.better_link(system), nothing),
        "uplink removed": (lambda: uplink.removal(system), lambda: uplink.returned(system)),
        "uplink silently dead": (lambda: uplink.death(system), lambda: uplink.healed(system)),
        f"no network for {AWAY_SECONDS:g} s": (nowhere, nothing),
    }


def costs(seen: Seen, windows: list[tuple[str, Window]]) -> str:
    """The table of what each kind cost: median, 95th percentile and maximum."""
    found: dict[str, list[dict[str, float]]] = {}
    for name, window in windows:
        found.setdefault(name, []).append(samples_of(seen, window))
    rows = [
        [name, str(len(samples)), *(three([sample[metric] for sample in samples]) for metric in METRICS)]
        for name, samples in sorted(found.items())
    ]
    return aligned(["", "times", *METRICS.values()], rows)


def _resident(system: Running, seconds: float) -> Resident:
    processes = system.tunnel.processes
    return Resident(seconds, {name: resident_memory(process.pid) for name, process in processes.items()})


def _show(memory: list[Resident], number: int) -> None:
    last = memory[-1]
    figures = ", ".join(f"{name} {mib:.1f} MiB" for name, mib in last.memory.items())
    print(f"{last.seconds / 60:5.1f} min, {number:4} handovers: {figures}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
