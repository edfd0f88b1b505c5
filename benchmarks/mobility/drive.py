"""How a scenario is run: the probe's traffic through a system, an event again and again, and what each one cost.

An event's samples are of the stretch from its beginning until the traffic has been back for `TAIL` seconds. One after
which nothing comes back within the scenario's patience is kept with the time that was waited, and counted as `failed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.mobility.flow import Flow, longest_pause
from benchmarks.mobility.probe import Probe, Seen
from benchmarks.mobility.systems import Running
from ovng.clock import now
from ovng.demo.net import wait_until
from ovng.errors import SystemProblem

ROUND_TRIP = 0.040
"""R: node ⇄ hub."""
BEFORE = 0.1
"""What is sent so long before an event may still be under way when it comes."""
TAIL = 0.5
TRACE_BEFORE, TRACE_AFTER = 0.2, 0.6
FAILURES_MAX = 2

Samples = dict[str, float]
"""Metric → value; milliseconds or counts."""


class Moment(NamedTuple):
    """Of an event: when it began, and from when on traffic could pass again. CLOCK_MONOTONIC."""

    began: float
    usable: float


@dataclass
class Result:
    """Of one scenario and system."""

    samples: list[Samples] = field(default_factory=list)
    facts: dict[str, float | bool | str] = field(default_factory=dict)
    """Of the whole scenario: whether the TCP connections live, whether there was a handshake, …"""
    trace: dict[str, list[float]] = field(default_factory=dict)
    """Arrivals around one event, by direction: seconds from its beginning."""


class Window(NamedTuple):
    """An event and what is looked at because of it."""

    moment: Moment
    until: float
    failed: bool


@dataclass(frozen=True)
class Event:
    """One thing that happens, and how it is undone."""

    act: Callable[[Running], Moment]
    undo: Callable[[Running], None] = lambda running: None
    settle: float = 0.5
    """Seconds from the end of one event's stretch to the next event."""
    patience: float = 15.0


def repeat(running: Running, event: Event, runs: int, *, six: bool = False) -> Result:
    """Let it happen so often under the probe's traffic. Raises SystemProblem when the traffic does not even start."""
    before = running.conversation()
    addresses = (running.a6, running.b6) if six else (running.tunnel.a, running.tunnel.b)
    probe = Probe(running.world.star, *addresses)
    time.sleep(event.settle + TAIL)
    windows = list(_windows(running, probe, event, runs))
    seen = probe.stop()
    result = Result([samples_of(seen, window) for window in windows])
    result.facts |= {"stream_alive": seen.stream_alive, "idle_alive": seen.idle_alive}
    result.facts["same_sessions"] = running.conversation() == before
    good = [window for window in windows if not window.failed]
    if windows:
        result.trace = trace(seen, (good or windows)[-1].moment.began)
    return result


def _windows(running: Running, probe: Probe, event: Event, runs: int) -> Iterator[Window]:
    failures = 0
    for _ in range(runs):
        moment = event.act(running)
        failed = not within(event.patience, probe.arriving(moment.usable))
        time.sleep(TAIL)
        yield Window(moment, now().mono, failed)
        event.undo(running)
        failures += failed
        if failures == FAILURES_MAX or (failed and not within(event.patience, probe.arriving(now().mono))):
            return
        time.sleep(event.settle)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether it holds before so many seconds have passed."""
    try:
        return wait_until(condition, "traffic", seconds)
    except SystemProblem:
        return False


def samples_of(seen: Seen, window: Window) -> Samples:
    """What one event has cost."""
    (began, usable), until = window.moment, window.until
    samples = {"failed": float(window.failed)}
    for name, flow in (("up", seen.up), ("down", seen.down)):
        samples[f"gap_{name}"] = 1000 * flow.gap(usable, until)
    for name, count in (("lost", Flow.lost), ("duplicated", Flow.duplicated), ("reordered", Flow.reordered)):
        samples[name] = sum(count(flow, began - BEFORE, until - TAIL / 2) for flow in (seen.up, seen.down))
    samples["tcp"] = 1000 * longest_pause(seen.stream, usable, until)
    samples["event"] = 1000 * (usable - began)
    return samples


def trace(seen: Seen, began: float) -> dict[str, list[float]]:
    """Arrivals around an instant, by direction."""
    return {
        name: [round(at - began, 4) for at, _ in flow.arrived if -TRACE_BEFORE <= at - began <= TRACE_AFTER]
        for name, flow in (("up", seen.up), ("down", seen.down))
    }
