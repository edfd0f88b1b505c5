"""What a handover is said to have cost, from what happened and what was counted."""

from __future__ import annotations

import pytest

from ovng.clock import Now
from ovng.fields import replace
from ovng.roaming.handover import REMEMBERED, SETTLE_SECONDS, Counted, Handover, Handovers, Place

WIFI, LTE = Place(0, "wifi"), Place(1, "lte")


class Story:
    """A node on wifi whose data path counts what the test says; time is in seconds."""

    def __init__(self, *, copies_tell: bool = True) -> None:
        self.counted = Counted(arrived={(7, 1): (100, 100)})
        self.handovers = Handovers(lambda: self.counted, copies_tell=copies_tell)
        self.move(WIFI, "uplink", None, 0.0)
        self.handovers.attached()

    def move(self, to: Place, cause: str, since: float | None, mono: float) -> None:
        self.handovers.moved(to.path, to.uplink, cause, since, at(mono))

    def over(self, mono: float) -> list[Handover]:
        self.handovers.handle_timer(at(mono))
        return self.handovers.finished()


def at(mono: float) -> Now:
    return Now(mono, mono, 1_000_000 + mono)


def test_the_first_path_is_no_handover() -> None:
    story = Story()
    assert story.handovers.deadline() is None
    assert story.over(100) == []


def test_the_search_for_a_first_path_is_none_either() -> None:
    handovers = Handovers(Counted)
    for path, mono in ((0, 1.0), (1, 2.0), (0, 3.0)):
        handovers.moved(path, "any", "no answer", mono, at(mono))
    handovers.left("uplink gone", at(4))
    handovers.moved(0, "any", "uplink", 5.0, at(5))
    handovers.attached()
    handovers.answered(at(5.1))
    handovers.handle_timer(at(9))
    assert (handovers.finished(), handovers.deadline()) == ([], None)


def test_a_path_that_went_silent() -> None:
    story = Story()
    story.move(LTE, "silent", 9.75, 10.0)
    assert story.handovers.deadline() is None  # nothing ends before there is an answer
    story.handovers.answered(at(10.04))
    assert story.handovers.deadline() == pytest.approx(10.04 + SETTLE_SECONDS)
    assert story.over(10.04) == []
    story.counted = Counted(2, 3, 40, {(7, 1): (400, 390)})
    (done,) = story.over(11.1)
    assert (done.number, done.before, done.after, done.cause) == (1, WIFI, LTE, "silent")
    assert done.at == 1_000_010
    assert (done.gap_out_ms, done.gap_back_ms) == (250.0, 290.0)
    assert (done.held, done.sent_later, done.replayed, done.lost) == (2, 3, 40, 10)
    assert story.over(20) == []
    assert list(story.handovers.last) == [done]


def test_a_better_path_costs_nothing() -> None:
    story = Story()
    story.move(LTE, "better path", None, 10.0)
    story.handovers.answered(at(10.04))
    (done,) = story.over(12)
    assert (done.gap_out_ms, done.gap_back_ms, done.lost) == (0.0, 0.0, 0)


def test_a_better_path_that_breaks_before_the_answer() -> None:
    story = Story()
    story.move(LTE, "better path", None, 10.0)
    story.move(WIFI, "uplink gone", 10.5, 10.5)
    story.handovers.answered(at(10.6))
    (done,) = story.over(12)
    assert (done.before, done.after, done.gap_out_ms, done.gap_back_ms) == (WIFI, WIFI, 0.0, 100.0)


def test_nowhere_to_go_for_a_while() -> None:
    """One gap, whatever is tried in between, with the cause that began it."""
    story = Story()
    story.handovers.left("uplink gone", at(10))
    story.handovers.answered(at(10.01))  # to what was asked before: of no path
    story.move(LTE, "uplink", 20.0, 20.0)
    story.move(WIFI, "silent", 20.0, 21.0)
    story.handovers.answered(at(21.03))
    (done,) = story.over(23)
    assert (done.before, done.after, done.cause) == (WIFI, WIFI, "uplink gone")
    assert (done.gap_out_ms, done.gap_back_ms) == (11_000.0, 11_030.0)


def test_the_next_one_ends_the_last() -> None:
    story = Story()
    story.move(LTE, "silent", 9.0, 10.0)
    story.handovers.answered(at(10.1))
    story.counted = replace(story.counted, copies=5)
    story.move(WIFI, "silent", 10.3, 10.5)
    story.counted = replace(story.counted, copies=12)
    story.handovers.answered(at(10.6))
    first, second = story.over(12)
    assert (first.after, first.replayed, second.before, second.after, second.replayed) == (LTE, 5, LTE, WIFI, 7)
    assert second.gap_back_ms == 300.0


def test_an_answer_that_comes_twice() -> None:
    story = Story()
    story.move(LTE, "silent", 10.0, 10.0)
    story.handovers.answered(at(10.1))
    story.handovers.answered(at(10.9))
    (done,) = story.over(11.2)
    assert done.gap_back_ms == 100.0


def test_copies_tell_nothing_where_all_is_sent_twice() -> None:
    story = Story(copies_tell=False)
    story.move(LTE, "silent", 10.0, 10.0)
    story.handovers.answered(at(10.1))
    story.counted = replace(story.counted, copies=500)
    assert [done.replayed for done in story.over(12)] == [None]


@pytest.mark.parametrize(
    ("arrived", "lost"),
    [
        ({(7, 1): (100, 100)}, 0),
        ({(7, 1): (101, 101)}, 0),
        ({(7, 1): (110, 101)}, 9),
        ({(7, 1): (100, 103)}, 0),  # late ones: they were counted as lost by nobody
        ({(7, 1): (110, 105), (7, 2): (50, 40)}, 15),  # new keys begin at 1
        ({(7, 1): (110, 108), (8, 1): (9, 8)}, 3),  # of all peers
        ({(7, 2): (50, 50)}, None),  # what was lost under the old key nobody knows any more
        ({}, None),
    ],
)
def test_lost(arrived: dict[tuple[int, int], tuple[int, int]], lost: int | None) -> None:
    story = Story()
    story.move(LTE, "silent", 10.0, 10.0)
    story.handovers.answered(at(10.1))
    story.counted = Counted(arrived=arrived)
    assert [done.lost for done in story.over(12)] == [lost]


def test_memory_is_bounded() -> None:
    story = Story()
    for turn in range(1, 2 * REMEMBERED):
        story.move(LTE if turn % 2 else WIFI, "silent", turn, turn)
        story.handovers.answered(at(turn + 0.1))
    story.over(1e6)
    assert len(story.handovers.last) == REMEMBERED
    assert story.handovers.last[-1].number == 2 * REMEMBERED - 1
