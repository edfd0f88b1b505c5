"""The replay window (RFC 6479) against WireGuard's published edge cases and a slow twin."""

from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng import limits
from ovng._fast import replay
from ovng._fast.replay import DROP_NAMES, LIMIT, WINDOW, ReplayWindow
from tests.unit.twins import SlowReplayWindow

OLD, DUPLICATE, NUMBER = (
    next(code for code, name in DROP_NAMES.items() if name == wanted)
    for wanted in ("replay_old", "replay_duplicate", "packet_number")
)


def test_the_constants_are_the_protocols() -> None:
    assert WINDOW == limits.REPLAY_WINDOW
    assert LIMIT == limits.HARD_PACKETS


# The cases of the WireGuard kernel module's self-test (wireguard-linux-compat, src/selftest/counter.c), in its order.
# Its counters start at 0 and ours at 1, so every number is one higher; its limit becomes ours, and W, as there, is
# the count of usable numbers, the newest included.
W = WINDOW
WIREGUARD = [
    (0, True), (1, True), (1, False), (9, True), (8, True), (7, True), (7, False),  # 1-7
    (W, True), (W - 1, True), (W - 1, False), (W - 2, True), (2, True), (2, False),  # 8-13
    (W + 16, True), (3, False), (W + 16, False), (W * 4, True), (W * 4 - (W - 1), True),  # 14-18
    (10, False), (W * 4 - W, False), (W * 4 - (W + 1), False), (W * 4 - (W - 2), True),  # 19-22
    (W * 4 + 1 - W, False), (0, False), (LIMIT, False), (LIMIT - 1, True), (LIMIT, False),  # 23-27
    (LIMIT - 1, False), (LIMIT - 2, True), (LIMIT + 1, False), (LIMIT + 2, False),  # 28-31
    (LIMIT - 2, False), (LIMIT - 3, True), (0, False),  # 32-34
]  # fmt: skip


def test_wireguard_cases() -> None:
    window = ReplayWindow()
    for case, (counter, accepted) in enumerate(WIREGUARD, 1):
        looked_up = window.check(counter + 1)
        assert (window.commit(counter + 1) == 0) is accepted, f"case {case}"
        assert (looked_up == 0) is accepted, f"case {case}: look-up and commit differ"


# Its bulk runs, which follow in the same file: these pass in this order, and then one more does not.
BULK: list[tuple[list[int], int | None]] = [
    ([*range(1, W), 0], 0),
    ([*range(2, W + 1), 1], 0),
    ([*range(W - 1, -1, -1)], None),
    ([*range(W, 0, -1)], 0),
    ([*range(W - 1, 0, -1), W], 0),
    ([*range(W - 1, 0, -1), 0, W], None),
]


@pytest.mark.parametrize("run", range(len(BULK)))
def test_wireguard_bulk_runs(run: int) -> None:
    passing, refused = BULK[run]
    window = ReplayWindow()
    for counter in passing:
        assert window.check(counter + 1) == 0
        assert window.commit(counter + 1) == 0
    if refused is not None:
        assert window.commit(refused + 1) in (OLD, DUPLICATE)


def test_a_look_up_changes_nothing() -> None:
    window = ReplayWindow()
    assert [window.check(5), window.check(5), window.highest] == [0, 0, 0]


def test_two_copies_in_one_batch_pass_the_look_up_but_not_the_commit() -> None:
    window = ReplayWindow()
    assert window.check(7) == 0
    assert window.check(7) == 0
    assert [window.commit(7), window.commit(7)] == [0, DUPLICATE]


@pytest.mark.parametrize("number", [0, LIMIT + 1, 2**63, 2**64 - 1])
def test_numbers_no_honest_sender_uses(number: int) -> None:
    window = ReplayWindow()
    assert [window.check(number), window.commit(number), window.highest] == [NUMBER, NUMBER, 0]


@pytest.mark.parametrize("newest", [*range(WINDOW, WINDOW + 130), 3 * WINDOW + 64, LIMIT])
def test_exactly_8192_packets_are_usable_at_any_alignment(newest: int) -> None:
    window = ReplayWindow()
    assert window.commit(newest) == 0
    oldest = newest - WINDOW + 1
    assert window.commit(oldest) == 0
    assert window.commit(oldest - 1) == (OLD if oldest > 1 else NUMBER)
    assert window.commit(oldest) == DUPLICATE


@given(st.lists(st.integers(1, 4 * WINDOW), max_size=200))
def test_small_histories_like_the_slow_twin(numbers: list[int]) -> None:
    fast, slow = ReplayWindow(), SlowReplayWindow(WINDOW, LIMIT)
    committed = 0
    for number in numbers:
        assert fast.check(number) == slow.check(number)
        verdict = fast.commit(number)
        assert verdict == slow.commit(number)
        committed += verdict == 0
        assert (fast.highest, fast.committed) == (slow.highest, committed)


def walk(source: random.Random, operations: int) -> array[int]:
    """Numbers as networks deliver them, and as they do not: in order, late, repeated, leaping ahead, absurd."""
    numbers = array("Q")
    newest = 1
    for _ in range(operations):
        kind = source.random()
        if kind < 0.5:
            newest += 1
            numbers.append(newest)
        elif kind < 0.8:
            numbers.append(max(newest - int(source.expovariate(1 / 2000)), 0))
        elif kind < 0.99:
            numbers.append(max(newest - source.randrange(-64, WINDOW + 130), 0))
            newest = max(newest, numbers[-1])
        elif kind < 0.9999:
            newest += source.randrange(1, 3 * WINDOW)
            numbers.append(newest)
        else:
            numbers.append(source.choice((0, LIMIT + 1, 2**63, 2**64 - 1)))
    return numbers


def compare(seed: int, operations: int) -> None:
    fast, slow = ReplayWindow(), SlowReplayWindow(WINDOW, LIMIT)
    numbers = walk(random.Random(seed), operations)
    verdicts = array("b", fast.commit_many(numbers.tobytes()))
    kinds = {0: 0, OLD: 0, DUPLICATE: 0, NUMBER: 0}
    for at, (number, verdict) in enumerate(zip(numbers, verdicts, strict=True)):
        assert verdict == slow.commit(number), f"seed {seed}, operation {at}, number {number}"
        kinds[verdict] += 1
    assert (fast.highest, fast.committed) == (slow.highest, kinds[0])
    assert min(kinds.values()) > 0, f"the walk must meet every verdict: {kinds}"


def test_a_million_operations_like_the_slow_twin() -> None:
    for seed in range(10):
        compare(seed, 100_000)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_million_operations_like_the_slow_twin() -> None:
    for seed in range(100, 120):
        compare(seed, 500_000)


def test_drop_names_are_counters() -> None:
    assert set(replay.DROP_NAMES) == {OLD, DUPLICATE, NUMBER}
