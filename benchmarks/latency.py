"""Round trips by `ping`: of an idle tunnel, of one under load, and the first one after a start."""

from __future__ import annotations

import re
import statistics
from typing import NamedTuple

from benchmarks.star import Star
from ovng.clock import now
from ovng.demo.net import Process, wait_until
from ovng.errors import SystemProblem

READY_SECONDS = 30.0
FIRST_INTERVAL = 0.01


class RoundTrips(NamedTuple):
    """In milliseconds."""

    smallest: float
    median: float


def ping(star: Star, address: str, count: int, interval: float) -> RoundTrips:
    """From `a`, one every `interval` seconds. Raises SystemProblem when none came back."""
    output = star.a.run("ping", "-n", "-c", str(count), "-i", f"{interval:g}", "-W", "1", address)
    return read_ping(output)


def read_ping(output: str) -> RoundTrips:
    """What `ping` printed. Raises SystemProblem when none came back."""
    times = [float(found) for found in re.findall(r"time=([\d.]+) ms", output)]
    if not times:
        raise SystemProblem("no ping came back")
    return RoundTrips(min(times), statistics.median(times))


class FirstAnswer:
    """Pings `address` from `a` every 10 ms from now on, until one is answered.

    Made when the hub serves and before the ends are started, so it measures how long a user waits after a start.
    """

    def __init__(self, star: Star, address: str) -> None:
        self._address, self._began = address, now().wall
        self._ping = star.a.start("ping", "ping", "-D", "-n", "-i", f"{FIRST_INTERVAL:g}", address)

    def wait(self, *watched: Process) -> float:
        """Seconds until the first answer. Raises SystemProblem, with its last words when one of `watched` has ended."""

        def answered() -> float | None:
            for process in (*watched, self._ping):
                process.check()
            return read_first(self._ping.output)

        at = wait_until(answered, f"answer of {self._address}", READY_SECONDS)
        self._ping.stop()
        return at - self._began


def read_first(output: str) -> float | None:
    """When the first answer came, by the clock, in what `ping -D` printed; None when none has come yet."""
    found = re.search(r"^\[(\d+\.\d+)\] \d+ bytes from .* time=", output, re.MULTILINE)
    return float(found[1]) if found else None
