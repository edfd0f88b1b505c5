"""The node's copy of the route list: what it does about changes that it is told of, and not told of."""

from __future__ import annotations

import ipaddress

from ovng.clock import Now
from ovng.forwarding.routelist import RouteListCopy
from ovng.ids import NodeID
from ovng.wire.private import Private, Route, RouteList, Routes
from tests.attachment_fixture import START, after, seeded


class Asking:
    """A copy and the questions that left."""

    def __init__(self) -> None:
        self.asked: list[Routes] = []
        self.copy = RouteListCopy(seeded(1), self._send)

    def _send(self, message: Private, now: Now) -> bool:
        assert isinstance(message, Routes)
        self.asked.append(message)
        return True

    def answer(self, version: int, now: Now, question: int = -1) -> bool:
        """The whole list in one page: one route per version."""
        routes = tuple(Route(ipaddress.ip_network(f"192.168.{number}.0/24"), NodeID(7)) for number in range(version))
        return self.copy.receive(RouteList(self.asked[question].request, version, len(routes), 0, routes), now)

    def run(self, until: Now) -> None:
        """Let the time come, if there is anything to do by then."""
        deadline = self.copy.deadline()
        if deadline is not None and deadline <= until.mono:
            self.copy.handle_timer(until)


def test_a_change_told_while_an_older_answer_is_on_its_way_is_asked_for() -> None:
    asking = Asking()
    asking.copy.fetch(START)
    asking.copy.told(3, START)
    assert asking.answer(2, after(START, 0.01))
    assert len(asking.asked) == 2
    assert asking.answer(3, after(START, 0.02))
    assert asking.copy.version == 3
    assert not asking.copy.waiting


def test_one_question_answers_many_changes_told_before_it() -> None:
    asking = Asking()
    asking.copy.fetch(START)
    asking.answer(1, START)
    for version in (2, 3, 4):
        asking.copy.told(version, START)
    asking.run(after(START, 1))
    assert len(asking.asked) == 2
    assert asking.answer(4, after(START, 1))
    assert not asking.copy.waiting


def test_a_restart_of_the_switch_does_not_put_off_what_is_known_to_be_old() -> None:
    asking = Asking()
    asking.copy.fetch(START)
    asking.answer(1, START)
    asking.copy.told(2, START)
    asking.copy.spread(START)
    asking.run(after(START, 1))
    assert len(asking.asked) == 2


def test_a_change_told_after_a_restart_does_not_wait_for_the_spread() -> None:
    asking = Asking()
    asking.copy.fetch(START)
    asking.answer(1, START)
    asking.copy.spread(START)
    asking.run(after(START, 14))
    assert len(asking.asked) == 1
    asking.copy.told(2, after(START, 1))
    asking.run(after(START, 2))
    assert len(asking.asked) == 2


def test_a_push_that_was_lost_is_made_up_for() -> None:
    asking = Asking()
    asking.copy.fetch(START)
    asking.answer(1, START)
    asking.run(after(START, 479))
    assert len(asking.asked) == 1
    asking.run(after(START, 721))
    assert len(asking.asked) == 2
    assert asking.asked[-1].start == 1, "past the end: only the version is wanted"
    assert asking.answer(2, after(START, 721))
    assert [question.start for question in asking.asked[2:]] == [0]
    assert asking.answer(2, after(START, 722))
    assert asking.copy.changed


def test_a_list_that_has_not_changed_is_not_sent_again() -> None:
    asking = Asking()
    asking.copy.fetch(START)
    asking.answer(3, START)
    asking.copy.changed = False
    asking.run(after(START, 721))
    assert asking.answer(3, after(START, 721))
    assert len(asking.asked) == 2
    assert not asking.copy.changed
    assert not asking.copy.waiting


def test_who_is_awake_anyway_asks_early() -> None:
    asking = Asking()
    asking.copy.fetch(START)
    asking.answer(1, START)
    due = asking.copy.deadline()
    assert due is not None
    asking.copy.handle_timer(after(START, due - START.mono - 140))
    assert len(asking.asked) == 2
