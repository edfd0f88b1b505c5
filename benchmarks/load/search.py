"""The highest offered rate at which at most one datagram of a hundred is lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

LOSS = 0.01
STEPS = 6
CLOSE = 1.05
NEAR = 0.1
"""A loss above `LOSS` but below this is asked for again: something else may have had the core for a moment."""
_FEWER = 0.7
_MORE = 1.3


class Trial(NamedTuple):
    """One offer: datagrams per second as they left and as they arrived, and the share that did not arrive."""

    offered: float
    arrived: float
    lost: float

    @property
    def holds(self) -> bool:
        return self.lost <= LOSS


class Found(NamedTuple):
    """In datagrams per second. `rate` is the highest offer that held, 0 when none did; `flood` what arrived of all
    that the generator could send."""

    rate: float
    flood: float


def search(offer: Callable[[float], Trial], steps: int = STEPS) -> Found:
    """`offer` is called with a rate, 0 for all that the generator can send; the search takes at most `steps` of them.

    Begins at what arrived of a flood, widens until one offer held and one did not, then halves the gap (of logarithms)
    until it is 5 %.
    """
    flood = offer(0)
    if flood.holds:
        return Found(flood.offered, flood.arrived)
    low, high, rate = 0.0, flood.offered, flood.arrived
    for _ in range(steps):
        trial = offer(rate)
        if LOSS < trial.lost < NEAR:
            trial = offer(rate)
        if trial.holds:
            low = max(low, trial.offered)
        else:
            high = min(high, rate)
        if low >= high / CLOSE:
            break
        if not low:
            rate = high * _FEWER
        else:
            rate = min(math.sqrt(low * high), low * _MORE)
    return Found(low, flood.arrived)
