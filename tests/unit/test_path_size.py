"""The search for a path's size, in virtual time: wide and narrow paths, losses, queues, and paths that change."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovng.forwarding.pathsize import PathSize, State
from ovng.limits import SIZE_BASE, SIZE_RAISE_SECONDS, SIZE_STEP
from tests.effort import examples

MOST = 1_444
SMALL = 92


class Leg:
    """A way to the Switch and back that swallows what is too large, and by chance; `queue`: seconds that it adds."""

    def __init__(self, passes: int, *, round_trip: float = 0.04, loss: float = 0.0, seed: int = 1, most: int = MOST):
        self.passes, self.round_trip, self.loss, self.queue = passes, round_trip, loss, 0.0
        self.dead = False
        self.path = PathSize(most)
        self.now = 100.0
        self.probes: list[int] = []
        self._random, self._number = random.Random(seed), 0
        self._answers: list[tuple[float, int, int]] = []
        self.bulk = 0

    def run(self, seconds: float, *, bulk_per_second: int = 0) -> None:
        """Let time pass, with so many bytes in large packets."""
        end = self.now + seconds
        while True:
            deadline = self.path.deadline(self.round_trip)
            times = [end, *(at for at, _, _ in self._answers[:1])]
            if deadline is not None:
                times.append(max(deadline, self.now))
            if bulk_per_second:
                times.append(self.now + 0.05)
            before, self.now = self.now, min(times)
            self.bulk += int(bulk_per_second * (self.now - before))
            self.path.bulk(self.bulk, self.now)
            while self._answers and self._answers[0][0] <= self.now:
                _, number, size = heapq.heappop(self._answers)
                self.path.answered(number, size, self.now)
            if self.now >= end:
                return
            self._send(self.path.due(self.now, self.round_trip, self.loss or None))

    def _send(self, sizes: list[int]) -> None:
        if sizes:
            self.probes += sizes
            probes = {self._leave(size): size for size in sizes}
            self.path.sent(probes, self._leave(0), self.now)

    def _leave(self, size: int) -> int:
        """One report, `size` 0: a small one. Its number."""
        self._number += 1
        lost = self.dead or size > self.passes or self._random.random() < 1 - (1 - self.loss) ** 2
        if not lost:
            heapq.heappush(self._answers, (self.now + self.round_trip + self.queue, self._number, size))
        return self._number


def test_a_wide_path_costs_one_probe() -> None:
    leg = Leg(MOST)
    leg.run(60)
    assert (leg.path.size, leg.path.state, leg.probes) == (MOST, State.SETTLED, [MOST])
    assert leg.path.deadline(0.04) is None, "an idle path wakes nobody"


def test_nothing_larger_is_of_use() -> None:
    leg = Leg(MOST, most=SIZE_BASE)
    leg.run(60)
    assert leg.path.state is State.SETTLED and leg.probes == []


@given(st.integers(SIZE_BASE, MOST), st.floats(0.001, 0.6))
def test_a_narrow_path_is_measured(passes: int, round_trip: float) -> None:
    leg = Leg(passes, round_trip=round_trip)
    leg.run(0.3 + 10 * (1.25 * round_trip + 0.02))
    assert leg.path.state is State.SETTLED
    assert passes - SIZE_STEP < leg.path.size <= passes
    assert (asked := len(leg.probes)) <= 20
    leg.run(60)
    assert len(leg.probes) == asked, "nobody sends much: nothing is asked"


def test_a_jumbo_path_is_measured() -> None:
    leg = Leg(4_000, most=8_952)
    leg.run(5)
    assert 4_000 - SIZE_STEP < leg.path.size <= 4_000


@settings(max_examples=examples(60))
@given(st.sampled_from((1_252, 1_372, MOST)), st.integers(0, 2**32))
def test_a_search_bears_losses(passes: int, seed: int) -> None:
    """What a tenth of all datagrams lost makes smaller than it is, is never larger, and the search comes to an end."""
    leg = Leg(passes, loss=0.1, seed=seed)
    leg.run(3600)  # half a minute, nearly always; each round of which nothing comes back doubles the pause after it
    assert leg.path.state is State.SETTLED and SIZE_BASE <= leg.path.size <= passes


def test_a_path_that_narrows_is_left_within_half_a_second() -> None:
    for seed in range(20):
        leg = Leg(MOST, seed=seed)
        leg.run(3 + seed / 20, bulk_per_second=1_000_000)
        leg.passes = SIZE_BASE
        leg.run(0.5, bulk_per_second=1_000_000)
        assert leg.path.size == SIZE_BASE and leg.path.black_holes == 1
        leg.run(1.0, bulk_per_second=1_000_000)
        assert leg.path.state is State.SETTLED


def test_so_it_is_when_what_was_under_way_has_stopped() -> None:
    """A TCP stream falls silent when all of its packets are lost; what it has sent before is reason enough to ask."""
    leg = Leg(MOST)
    leg.run(3, bulk_per_second=1_000_000)
    leg.passes = 1_300
    leg.run(0.05, bulk_per_second=1_000_000)
    leg.run(0.45)
    assert leg.path.size < 1_300 and leg.path.black_holes == 1


def test_checks_cost_little() -> None:
    leg = Leg(MOST)
    leg.run(1)
    before = len(leg.probes)
    leg.run(60, bulk_per_second=1_000_000)
    assert len(leg.probes) - before <= 4.2 * 60 * 0.9, "four a second at most"
    before = len(leg.probes)
    leg.run(60, bulk_per_second=1_400)
    assert len(leg.probes) - before <= 35, "one in two seconds where little passes"


def test_a_growing_queue_is_no_narrow_path() -> None:
    leg = Leg(MOST)
    leg.run(3, bulk_per_second=1_000_000)
    for queue in (0.1, 0.3, 0.9, 0.5, 0.0):
        leg.queue = queue
        leg.run(2, bulk_per_second=1_000_000)
    assert (leg.path.size, leg.path.black_holes) == (MOST, 0)


def test_a_dead_path_is_no_narrow_path() -> None:
    leg = Leg(MOST)
    leg.run(3, bulk_per_second=1_000_000)
    leg.dead = True
    asked = len(leg.probes)
    leg.run(300, bulk_per_second=1_000_000)
    assert (leg.path.size, leg.path.black_holes) == (MOST, 0)
    assert len(leg.probes) - asked < 15, "asked ever more rarely"
    leg.dead, leg.passes = False, 1_300
    leg.run(90, bulk_per_second=1_000_000)
    assert 1_292 < leg.path.size <= 1_300


@pytest.mark.parametrize("seed", range(5))
def test_a_lossy_path_is_hardly_ever_taken_for_a_narrow_one(seed: int) -> None:
    leg = Leg(MOST, loss=0.05, seed=seed)
    leg.run(120, bulk_per_second=1_000_000)
    assert leg.path.black_holes <= 1


def test_a_path_that_widens_is_used_after_ten_minutes_of_need() -> None:
    leg = Leg(1_300)
    leg.run(5)
    leg.passes = MOST
    leg.run(SIZE_RAISE_SECONDS + 5)
    assert leg.path.size <= 1_300, "nobody needs more"
    leg.run(2, bulk_per_second=1_000_000)
    assert leg.path.size == MOST


def test_another_path_is_measured_anew() -> None:
    leg = Leg(MOST)
    leg.run(1)
    leg.passes = 1_252
    leg.path.restart()
    assert leg.path.size == SIZE_BASE, "what was true of the path before says nothing"
    leg.run(2)
    assert 1_244 < leg.path.size <= 1_252


def test_what_could_not_be_sent_is_tried_again() -> None:
    path = PathSize(MOST)
    assert path.due(1.0, None, None) == [MOST]
    path.sent({0: MOST}, 0, 1.0)
    assert path.due(1.1, None, None) == [] and path.deadline(None) == 2.0
    assert path.due(2.0, None, None) == [MOST]
