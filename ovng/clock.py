"""The only place that reads time. Everything else is handed a `Now`.

`mono` (CLOCK_MONOTONIC) drives retransmission; `boot` (CLOCK_BOOTTIME, counts sleep) ages keys, grants, leases and
sessions; `wall` is for certificate dates and for people, never for a timer.
"""

from __future__ import annotations

import time
from typing import NamedTuple


class Now(NamedTuple):
    """One instant, in seconds on three clocks."""

    mono: float
    boot: float
    wall: float


def now() -> Now:
    """Read the three clocks."""
    return Now(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


def spent() -> float:
    """Seconds of CPU that this thread has had; what waits for others costs nothing."""
    return time.thread_time()


def utc(wall: float, form: str) -> str:
    """A wall time in a form of strftime(3). Raises ValueError, OverflowError or OSError for one that no calendar has.

    By `datetime` it would cost a node half a megabyte.
    """
    return time.strftime(form, time.gmtime(wall))
