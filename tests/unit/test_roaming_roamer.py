"""Which path is active: uplinks and answers in, actions out."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from ovng.limits import MAX_PATHS
from ovng.roaming.path import JOINING_SECONDS, PROVING_SECONDS, PROVING_SECONDS_MAX, Event, State
from ovng.roaming.roamer import Activate, Changed, Close, Open, Roamer, Wait
from ovng.roaming.snapshot import Way
from ovng.roaming.uplinks import Uplink
from tests.effort import examples

SWITCH = ipaddress.ip_address("192.0.2.1")


def uplink(name: str, priority: int, *, metered: bool = False, source: str = "10.0.0.2") -> Uplink:
    way = Way(1, ipaddress.ip_address(source))
    return Uplink(name, 1, {SWITCH: way}, priority, metered)


WIFI, LTE = uplink("wifi", 128), uplink("lte", 129)


def made(*uplinks: Uplink, answered: Sequence[int] = (), attached: bool = True) -> Roamer:
    """At time 0, with what was done so far forgotten."""
    roamer = Roamer()
    roamer.attached = attached
    roamer.set_uplinks(uplinks, 0.0)
    for slot in answered:
        roamer.on(slot, Event.ANSWERED, 0.0)
    roamer.actions()
    return roamer


def test_each_uplink_gets_a_path_and_the_best_is_active_before_anybody_answers() -> None:
    roamer = Roamer()
    roamer.set_uplinks((WIFI, LTE), 0.0)
    assert roamer.actions() == [Open(0, WIFI), Open(1, LTE), Activate(0, True, "uplink")]


def test_an_uplink_that_goes_is_left_before_it_is_closed() -> None:
    roamer = made(WIFI, LTE, answered=(0, 1))
    roamer.set_uplinks((LTE,), 1.0)
    assert roamer.actions() == [Activate(1, True, "uplink gone"), Close(0)]


def test_a_silent_path_is_left_at_once_and_taken_again_when_it_has_proven_itself() -> None:
    roamer = made(WIFI, LTE, answered=(0, 1))
    roamer.on(0, Event.SILENT, 1.0)
    assert roamer.actions() == [Activate(1, True, "silent")]
    roamer.on(0, Event.ANSWERED, 2.0)
    assert roamer.actions() == []
    roamer.handle_timer(2.0 + PROVING_SECONDS)
    assert roamer.actions() == [Activate(0, False, "better path")]


def test_an_uplink_that_comes_and_goes_is_damped_but_the_first_return_is_not() -> None:
    """Every 100 ms, answering at once each time: two moves, then the other path is left alone."""
    roamer = made(WIFI, LTE, answered=(0, 1))
    moves = []
    for number in range(100):
        went = 1.0 + number / 5
        roamer.set_uplinks((LTE,), went)
        roamer.set_uplinks((WIFI, LTE), went + 0.1)
        slot = next(slot for slot, held in roamer.paths.items() if held.uplink == WIFI)
        roamer.on(slot, Event.ANSWERED, went + 0.1)
        moves += [(went, action.slot) for action in roamer.actions() if isinstance(action, Activate)]
    assert [slot for _, slot in moves] == [1, 0, 1]
    assert moves[-1][0] < 2.0
    deadline = roamer.deadline()
    assert deadline is not None
    roamer.handle_timer(deadline)
    assert roamer.actions() == [Activate(0, False, "better path")], "it has stayed, and proven itself"


def test_a_flapping_uplink_that_is_the_only_one_is_used_at_once() -> None:
    roamer = made(WIFI, answered=(0,))
    for number in range(10):
        roamer.set_uplinks((), 1.0 + number)
        roamer.set_uplinks((WIFI,), 1.1 + number)
        assert roamer.actions()[-1] == Activate(0, True, "uplink")


def test_a_second_address_does_not_end_the_damping() -> None:
    """IPv6 comes a while after IPv4, each time."""
    roamer = made(WIFI, LTE, answered=(0, 1))
    both = uplink("wifi", 128, source="10.0.0.3")
    for went in (1.0, 1.2):
        roamer.set_uplinks((LTE,), went)
        roamer.set_uplinks((WIFI, LTE), went + 0.1)
    roamer.set_uplinks((both, LTE), 1.4)
    assert (roamer.active, roamer.paths[0].path.state) == (1, State.DEAD)
    roamer.on(0, Event.ANSWERED, 1.5)
    roamer.set_uplinks((WIFI, LTE), 1.6)
    roamer.on(0, Event.ANSWERED, 1.7)
    assert (roamer.active, roamer.paths[0].path.state) == (1, State.PROVING)
    roamer.handle_timer(1.7 + 2 * PROVING_SECONDS)
    assert roamer.active == 0


@given(st.lists(st.tuples(st.floats(0.02, 90.0), st.floats(0.02, 90.0), st.booleans()), max_size=30), st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_the_preferred_uplink_is_back_within_a_minute_whatever_it_did(
    history: list[tuple[float, float, bool]], alone: bool
) -> None:
    """Away for so long, there for so long, answering or not: then it stays. Alone it is used whenever it is there."""
    others = () if alone else (LTE,)
    roamer, now = made(WIFI, *others, answered=(0,) if alone else (0, 1)), 1.0
    for away, there, answers in [*history, (0.1, 2 * PROVING_SECONDS_MAX, True)]:
        roamer.set_uplinks(others, now)
        now += away
        roamer.set_uplinks((WIFI, *others), now)
        answered = now + 0.04
        for at in (answered, *(answered + second / 2 for second in range(1, int(2 * there)))):
            slot = next(slot for slot, held in roamer.paths.items() if held.uplink == WIFI)
            assert not alone or roamer.active == slot
            if at < now + there:
                roamer.handle_timer(at)
                if answers:
                    roamer.on(slot, Event.ANSWERED, at)
                if answers and at >= answered + PROVING_SECONDS_MAX:
                    assert roamer.active == slot
        now += there


def test_a_better_uplink_is_taken_only_when_it_answers_and_nothing_is_lost() -> None:
    roamer = made(LTE, answered=(0,))
    roamer.set_uplinks((WIFI, LTE), 1.0)
    assert roamer.actions() == [Open(1, WIFI)]
    roamer.on(1, Event.ANSWERED, 1.1)
    assert roamer.actions() == [Activate(1, False, "better path")]


def test_metered_is_last_whatever_its_priority() -> None:
    metered = uplink("lte", 0, metered=True)
    roamer = made(WIFI, metered, answered=(0, 1))
    assert roamer.active == 0
    roamer.set_uplinks((metered,), 1.0)
    assert roamer.active == 1
    roamer.set_uplinks((WIFI, metered), 2.0)
    roamer.on(0, Event.ANSWERED, 2.1)
    assert roamer.active == 0


def test_another_address_of_the_active_path_goes_by_the_other_meanwhile() -> None:
    roamer = made(WIFI, LTE, answered=(0, 1))
    moved = uplink("wifi", 128, source="10.0.9.9")
    roamer.set_uplinks((moved, LTE), 1.0)
    assert roamer.actions() == [Changed(0, moved, True), Activate(1, True, "uplink")]
    roamer.on(0, Event.ANSWERED, 1.1)
    assert roamer.actions() == [Activate(0, False, "better path")]


def test_without_any_uplink_packets_wait_and_the_same_slot_is_taken_again() -> None:
    roamer = made(WIFI, answered=(0,))
    roamer.set_uplinks((), 1.0)
    assert roamer.actions() == [Wait(), Close(0)]
    roamer.set_uplinks((LTE,), 2.0)
    assert roamer.actions() == [Open(1, LTE), Activate(1, True, "uplink")]
    roamer.set_uplinks((LTE, WIFI), 3.0)
    assert roamer.actions() == [Open(0, WIFI)]


def test_before_the_first_attachment_each_is_tried_in_turn() -> None:
    roamer = made(WIFI, LTE, attached=False)
    turns, now = [], 0.0
    for _ in range(4):
        now += JOINING_SECONDS
        roamer.handle_timer(now)
        turns += [action.slot for action in roamer.actions() if isinstance(action, Activate)]
    assert turns == [1, 0, 1, 0]


def test_one_uplink_that_does_not_answer_is_tried_on() -> None:
    roamer = made(WIFI, attached=False)
    roamer.handle_timer(JOINING_SECONDS)
    assert roamer.paths[0].path.state == State.JOINING
    assert roamer.deadline() == 2 * JOINING_SECONDS


NAMES = ("a", "b", "c", "d", "e", "f")
steps = st.one_of(
    st.sets(st.sampled_from(NAMES)).map(lambda names: ("uplinks", tuple(sorted(names)))),
    st.tuples(st.sampled_from([Event.ANSWERED, Event.SILENT]), st.integers(0, 3)),
    st.tuples(st.just("time"), st.floats(0, 5)),
)


@given(st.lists(steps, max_size=60))
@settings(max_examples=examples(300), deadline=None)
def test_whatever_happens_the_active_path_is_open(script: list[tuple[object, object]]) -> None:
    """What actions open, close and activate always fits together; a path that answers is preferred to a dead one."""
    roamer, now, opened, active = Roamer(), 0.0, dict[int, str](), -1
    roamer.attached = True
    for what, value in script:
        now += 0.1
        if what == "uplinks":
            assert isinstance(value, tuple)
            roamer.set_uplinks([uplink(name, NAMES.index(name)) for name in value], now)
        elif what == "time":
            assert isinstance(value, float)
            now += value
            roamer.handle_timer(now)
        else:
            assert isinstance(what, Event) and isinstance(value, int)
            roamer.on(value, what, now)
        for action in roamer.actions():
            match action:
                case Open(slot, link):
                    assert 0 <= slot < MAX_PATHS
                    opened[slot] = link.name
                case Activate(slot):
                    assert slot in opened
                    active = slot
                case Wait():
                    active = -1
                case Close(slot):
                    assert slot != active
                    del opened[slot]
        assert opened == {slot: held.uplink.name for slot, held in roamer.paths.items()}
        assert active == (-1 if roamer.active is None else roamer.active)
        assert (active == -1) == (not opened)
        states = {slot: held.path.state for slot, held in roamer.paths.items()}
        if State.READY in states.values():
            assert states[active] == State.READY


def test_the_best_other_that_is_ready_stands_by() -> None:
    lan = uplink("lan", 130)
    roamer = made(WIFI, LTE, lan, answered=(0, 2))
    assert (roamer.active, roamer.standby) == (0, 2)
    roamer.on(1, Event.ANSWERED, 1.0)
    assert roamer.standby == 1
    roamer.on(0, Event.SILENT, 2.0)
    assert (roamer.active, roamer.standby) == (1, 2)
    roamer.set_uplinks((WIFI, LTE), 3.0)
    assert roamer.standby == -1
    roamer.on(0, Event.ANSWERED, 3.0)
    assert roamer.standby == 0, "better than none, while it proves itself"
    roamer.set_uplinks((LTE,), 3.0)
    assert (roamer.active, roamer.standby) == (1, -1)


def test_a_silent_path_is_left_for_that_cause_whenever_another_answers() -> None:
    roamer = made(WIFI, LTE, answered=(0, 1))
    roamer.on(1, Event.SILENT, 1.0)
    roamer.on(0, Event.SILENT, 2.0)
    assert roamer.actions() == []
    roamer.on(1, Event.ANSWERED, 2.5)
    assert roamer.actions() == [Activate(1, True, "silent")]


def test_another_metric_is_no_other_address() -> None:
    roamer = made(WIFI, LTE, answered=(0, 1))
    way = Way(1, ipaddress.ip_address("10.0.0.2"), metric=50)
    better = Uplink("lte", 1, {SWITCH: way}, 100)
    roamer.set_uplinks((better, WIFI), 1.0)
    assert roamer.actions() == [Changed(1, better, False), Activate(1, False, "better path")]
