"""Scenarios in which it is not the traffic of one node that counts: a thousand nodes at once, and wrong clocks."""

from __future__ import annotations

import json
import sys

from benchmarks.mobility.drive import Event, Moment, Result, repeat
from benchmarks.mobility.systems import OVNG_PORT, Running, answers
from benchmarks.mobility.topology import HUB
from ovng.clock import now
from ovng.demo.net import wait_until
from tests.netns.wallclock import WallClock, to_1970

COUNT = 1_000
GAP = 3.0
"""Seconds without network: long enough for each node to have asked in vain."""
SHARE = 0.99
HOUR = 3_600
ATTACH_SECONDS = 30.0


def lost_together(running: Running, runs: int) -> Result:
    """S14: a thousand nodes lose their network together, and get another one at the same instant."""
    assert running.members is not None
    hub, result = running.members["hub"], Result()
    words = [f"{HUB}:{OVNG_PORT}", hub.id, str(hub.profile.parent / "state" / "ticket-keys"), str(running.hub.pid)]
    program = running.world.internet.start(
        "crowd", sys.executable, "-m", "benchmarks.mobility.crowd", *words, str(COUNT), str(GAP), str(runs)
    )
    for line in program.finish(120.0 + 20.0 * runs).splitlines():
        seen = json.loads(line)
        back = [taken for taken in seen["taken"] if taken is not None]
        late = seen["taken"][int(SHARE * COUNT) - 1]
        sample = {"failed": float(len(back) < COUNT), "cores": seen["cores"], "crowd": seen["own"]}
        result.samples.append(sample | ({} if late is None else {"back": late}))
    return result


def wrong_clock(running: Running, runs: int) -> Result:
    """S13: a boots in 1970, its clock is set, and then jumps by an hour, forth and back, under traffic."""
    assert running.members is not None
    node, result = running.members["a"], Result()
    clock = WallClock(running.world.star.net.directory)
    clock.shift(to_1970())
    node.stop()
    began = now().mono
    node.start(env=clock.env)
    node.wait("attachment in 1970", ATTACH_SECONDS, attached=True)
    attached = 1000 * (now().mono - began)
    wait_until(lambda: answers(running.world, running.tunnel.b), "ping in 1970", ATTACH_SECONDS)
    told = any("clock is wrong" in line for line in node.status()["warnings"])
    clock.shift(0)
    shifts = [HOUR, 0, -HOUR, 0]

    def jump(_: Running) -> Moment:
        shifts.append(shifts.pop(0))
        clock.shift(shifts[-1])
        at = now().mono
        return Moment(at, at)

    jumps = repeat(running, Event(jump, settle=0.3), runs)
    result.samples = jumps.samples
    result.facts |= jumps.facts | {"attached_in_1970": True, "attach_ms": round(attached), "said_so": told}
    return result
