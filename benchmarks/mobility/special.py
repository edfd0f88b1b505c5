"""The scenarios that are more than one event under steady traffic."""

from __future__ import annotations

import time

from benchmarks.mobility import events
from benchmarks.mobility.drive import Event, Moment, Result, Samples, repeat
from benchmarks.mobility.listener import Listener
from benchmarks.mobility.probe import Probe
from benchmarks.mobility.systems import Running
from benchmarks.usage import process_seconds
from ovng.clock import now
from ovng.demo.net import wait_until
from ovng.errors import SystemProblem

KEEPALIVE = 25.0
QUIET_SECONDS = 2.0
LATE_SECONDS = 0.2
LOSSY_SECONDS = 3.0
LOSSY_PERCENT = 20
CHANGES = 10
CALM_SECONDS = 3.0
CALM = 1.5
"""Times the CPU of quiet traffic that a hub may need while a node moves once a second."""


def death_while_idle(running: Running, runs: int) -> Result:
    """S6: a's way dies while nobody sends; two seconds later b begins. Measured from there until a hears it."""
    result = Result()
    probe_alive: dict[str, bool] = {}
    for _ in range(runs):
        probe = Probe(running.world.star, running.tunnel.a, running.tunnel.b, hold=True)
        uplink = running.world.a.wifi
        time.sleep(QUIET_SECONDS)
        uplink.router.kill()
        time.sleep(QUIET_SECONDS)
        began = now().mono
        probe.go("b")
        try:
            wait_until(probe.arriving(began, "a"), "traffic", KEEPALIVE + 5)
        except SystemProblem:
            pass  # the gap tells
        time.sleep(0.5)
        until = now().mono
        uplink.router.heal()
        time.sleep(2.0)
        seen = probe.stop()
        first = seen.down.first(began) or until
        sample: Samples = {"gap_down": 1000 * (first - began), "lost": seen.down.lost(first - LATE_SECONDS, first)}
        result.samples.append(sample | {"failed": float(first >= until)})
        probe_alive = {"idle_alive": seen.idle_alive}
    result.facts |= probe_alive
    return result


def many_moves(running: Running, runs: int) -> Result:
    """S10: ten address changes, one a second; and what they cost the hub beside quiet traffic."""
    spent: list[tuple[float, float]] = []

    def change(running: Running) -> Moment:
        if not spent:
            spent.append(_spent(running))
            time.sleep(CALM_SECONDS)
            spent.append(_spent(running))
        return events.readdressing(running)

    result = repeat(running, Event(change, settle=0.3), CHANGES * max(1, runs // CHANGES))
    spent.append(_spent(running))
    (start, used), (quiet_end, quiet_used), (end, all_used) = spent
    ratio = ((all_used - quiet_used) / (end - quiet_end)) / max(0.001, (quiet_used - used) / (quiet_end - start))
    result.facts |= {"hub_cpu_ratio": round(ratio, 2), "hub_calm": ratio <= CALM}
    return result


def lossy_uplink(running: Running, runs: int) -> Result:
    """S16: a's uplinks in turn lose a fifth of everything for some seconds."""
    uplinks = list(running.world.a.uplinks)

    def act(_: Running) -> Moment:
        uplinks.reverse()
        began = now().mono
        uplinks[0].router.lose(LOSSY_PERCENT)
        time.sleep(LOSSY_SECONDS)
        return Moment(began, began)

    return repeat(running, Event(act, lambda _: uplinks[0].router.heal()), runs)


def raced_report(running: Running, runs: int) -> Result:
    """S15: a listener between a and the hub sends every report of a move first, from its own address; and again later,
    whole and forged, when nobody moves."""
    with Listener(running.world) as listener:
        moving = repeat(running, Event(listener.racing(events.readdressing), settle=2.5), runs)
        still = repeat(running, Event(listener.replaying, settle=1.0), runs)
        for sample in still.samples:  # where nobody moves, nothing may be late at all
            moving.samples.append({"still_up": sample["gap_up"], "still_down": sample["gap_down"]})
        moving.facts |= listener.facts()
        moving.facts["not_there"] = listener.address not in str(running.hub_status())
    return moving


def _spent(running: Running) -> tuple[float, float]:
    """The time, and the CPU seconds of the hub's process so far."""
    return now().mono, process_seconds(running.hub.pid)
