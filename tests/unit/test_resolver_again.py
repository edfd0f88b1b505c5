"""The resolver, when what it asks again has the answer that it had before: whoever waits must hear of it."""

from __future__ import annotations

import ipaddress

import pytest

from ovng.clock import Now
from ovng.forwarding.resolver import HELD_MAX, Resolver
from ovng.ids import NodeID
from ovng.limits import RESOLUTION_SECONDS
from ovng.wire.private import Private, Resolve, Resolved, ResolveStatus
from tests.attachment_fixture import START, after, seeded

TRUCK = NodeID(7)
ADDRESS = ipaddress.ip_address("10.77.0.9")


class Asking:
    """A resolver and the questions that left."""

    def __init__(self) -> None:
        self.questions: list[Resolve] = []
        self.resolver = Resolver(seeded(1), self._send)

    def _send(self, message: Private, now: Now) -> bool:
        assert isinstance(message, Resolve)
        self.questions.append(message)
        return True

    def answer(self, now: Now) -> None:
        """The Switch's answer to the last question: always the same."""
        question = self.questions[-1]
        prefix = ipaddress.ip_network(question.address)
        message = Resolved(question.request, ResolveStatus.FOUND, RESOLUTION_SECONDS, prefix, (TRUCK,))
        assert self.resolver.receive(message, now)

    def events(self) -> int:
        count = len(self.resolver.events)
        self.resolver.events.clear()
        return count


def test_who_asks_just_when_an_answer_runs_out_hears_the_same_again() -> None:
    """A sleeping machine wakes up: a packet comes before any timer. The answer in use is then being asked again."""
    asking, resolver = (a := Asking()), a.resolver
    assert resolver.resolve(ADDRESS, START) is None
    asking.answer(START)
    assert asking.events() == 1
    assert resolver.resolve(ADDRESS, after(START, 10)) is not None
    late = after(START, RESOLUTION_SECONDS)
    assert resolver.resolve(ADDRESS, late) is None
    resolver.handle_timer(late)
    asking.answer(after(late, 0.1))
    assert asking.events() == 1


def test_nobody_waits_for_what_is_asked_again_by_itself() -> None:
    asking, resolver = (a := Asking()), a.resolver
    resolver.resolve(ADDRESS, START)
    asking.answer(START)
    resolver.resolve(ADDRESS, after(START, 10))
    asking.events()
    late = after(START, RESOLUTION_SECONDS)
    resolver.handle_timer(late)
    assert len(asking.questions) == 2 and resolver.resolve(ADDRESS, late) is not None
    asking.answer(late)
    assert asking.events() == 0


def test_deadlines_of_thousands_of_answers() -> None:
    asking, resolver = (a := Asking()), a.resolver
    for number in range(HELD_MAX):
        now = after(START, number / 100)
        resolver.resolve(ADDRESS + number, now)
        asking.answer(now)
    assert resolver.deadline(now) == pytest.approx(START.mono + RESOLUTION_SECONDS)
    resolver.handle_timer(after(START, RESOLUTION_SECONDS))
    assert resolver.deadline(now) == pytest.approx(START.mono + RESOLUTION_SECONDS + 0.01)
    resolver.changed(ipaddress.ip_network("10.77.1.0"), now)
    assert resolver.deadline(now) == now.mono
