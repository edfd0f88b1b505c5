"""The state machine of a path: the table itself, and what time does to it."""

from __future__ import annotations

from ovng.roaming.path import (
    FLAP_SECONDS,
    JOINING_SECONDS,
    PROVING_SECONDS,
    PROVING_SECONDS_MAX,
    TABLE,
    Event,
    Path,
    State,
)


def test_every_state_can_be_reached_and_left() -> None:
    reached, before = {State.JOINING}, set[State]()
    while reached != before:
        before = set(reached)
        reached |= {after for (state, _), after in TABLE.items() if state in before}
    assert reached == set(State)
    for state in State:
        assert any(after != state for (at, _), after in TABLE.items() if at == state), f"{state} is a dead end"


def test_every_path_comes_back_to_ready() -> None:
    """From wherever it is, answers and time make it ready again."""
    for start in State:
        state, steps = start, 0
        while state != State.READY:
            answered = TABLE[state, Event.ANSWERED]
            state = answered if answered != state else TABLE[state, Event.TIMEOUT]
            steps += 1
            assert steps <= 3, start


def test_what_happens_to_all_is_in_the_table() -> None:
    for state in State:
        for event in (Event.ANSWERED, Event.SILENT, Event.CHANGED):
            assert (state, event) in TABLE
        timed = Path(0.0)
        timed.state = state
        assert ((state, Event.TIMEOUT) in TABLE) == (timed.deadline() is not None)


def test_a_path_that_never_answers_is_dead_after_two_seconds() -> None:
    path = Path(100.0)
    assert not path.handle_timer(100.0 + JOINING_SECONDS - 0.01)
    assert path.handle_timer(100.0 + JOINING_SECONDS)
    assert path.state == State.DEAD
    assert path.deadline() is None


def test_who_was_dead_must_prove_itself_ever_longer_while_it_flaps() -> None:
    path, now, waits = Path(0.0), 0.0, []
    path.on(Event.ANSWERED, now)
    for _ in range(9):
        path.on(Event.SILENT, now)
        path.on(Event.ANSWERED, now + 0.1)
        assert path.state == State.PROVING
        ready = path.deadline()
        assert ready is not None
        waits.append(round(ready - now - 0.1, 6))
        now = ready
        assert path.handle_timer(now)
    assert waits == [min(PROVING_SECONDS * 2**i, PROVING_SECONDS_MAX) for i in range(9)]
    now += 10 * FLAP_SECONDS
    path.on(Event.SILENT, now)
    path.on(Event.ANSWERED, now)
    assert path.deadline() == now + PROVING_SECONDS, "what was long ago does not count"


def test_another_address_begins_anew() -> None:
    path = Path(0.0)
    path.on(Event.SILENT, 1.0)
    assert path.on(Event.CHANGED, 2.0)
    assert (path.state, path.deadline()) == (State.JOINING, 2.0 + JOINING_SECONDS)
