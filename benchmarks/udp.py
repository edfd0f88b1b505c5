"""UDP from `a` to `b` through a tunnel: the rate that it carries, and what it lets through of a flood."""

from __future__ import annotations

import json
import sys

from benchmarks.load.search import Found, Trial, search
from benchmarks.star import Star
from benchmarks.systems.base import Tunnel
from ovng.demo.deployment import SOURCE
from ovng.demo.net import Host, Process, wait_until
from ovng.errors import SystemProblem

SIZES = (64, 1372)
"""Bytes of payload; 1372 fills an inner packet of 1400."""
SECONDS = 0.8
"""Of one offer."""
_PORT = 7000
_LATEST = 30.0


def carried(star: Star, tunnel: Tunnel, size: int) -> Found:
    """By one search. Raises SystemProblem."""
    return search(lambda rate: _offer(star, tunnel, size, rate))


def _offer(star: Star, tunnel: Tunnel, size: int, rate: float) -> Trial:
    sink = _start(star.b, "sink", tunnel.b, str(_PORT))

    def ready() -> bool:
        sink.check()
        return "ready" in sink.output

    wait_until(ready, "sink")
    generator = _start(star.a, "send", tunnel.b, str(_PORT), str(size), f"{rate:.0f}", str(SECONDS))
    return read_trial(generator.finish(_LATEST), sink.finish(_LATEST))


def _start(host: Host, what: str, *arguments: str) -> Process:
    command = [sys.executable, "-m", f"benchmarks.load.{what}", *arguments]
    return host.start(what, *command, env={"PYTHONPATH": SOURCE})


def read_trial(generator: str, sink: str) -> Trial:
    """What the two printed. Raises SystemProblem."""
    try:
        sent, received = (json.loads(output.splitlines()[-1]) for output in (generator, sink))
        arrived = received["received"] / received["seconds"] if received["seconds"] else 0.0
        return Trial(sent["sent"] / sent["seconds"], arrived, 1 - received["received"] / sent["sent"])
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError):
        raise SystemProblem(f"no trial: {generator.strip()!r}, {sink.strip()!r}") from None
