"""CPU time of small things. CPU and not wall-clock time: on a busy machine the others' turns do not count as ours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Stopwatch:
    """CPU seconds of this thread, summed over all `with` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.thread_time()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.thread_time() - self._began


Batch = Callable[[Stopwatch], int]
"""Does some of it, with the stopwatch around what counts; how many it did."""


@dataclass(frozen=True)
class Contest:
    """One row: ours, and what stands beside it."""

    key: str
    title: str
    unit: str
    """`ns` each, or how many per second (`/s`)."""
    ours: Batch
    other_name: str
    other: Batch


def measure(contests: Sequence[Contest], rounds: int, seconds: float) -> list[dict[str, list[float]]]:
    """For each contest the samples of `ours` and `other`, one per round, taking turns within the round."""
    samples: list[dict[str, list[float]]] = [{"ours": [], "other": []} for _ in contests]
    for _ in range(rounds):
        for contest, sample in zip(contests, samples, strict=True):
            for side, batch in (("ours", contest.ours), ("other", contest.other)):
                each = _seconds_each(batch, seconds)
                sample[side].append(each * 1e9 if contest.unit == "ns" else 1 / each)
    return samples


def medians(sample: dict[str, list[float]]) -> tuple[float, float]:
    """(ours, other)."""
    return statistics.median(sample["ours"]), statistics.median(sample["other"])


def _seconds_each(batch: Batch, seconds: float) -> float:
    """Batches until the stopwatch shows `seconds`."""
    watch, done = Stopwatch(), 0
    while watch.seconds < seconds:
        done += batch(watch)
    return watch.seconds / done
