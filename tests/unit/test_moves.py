"""Provisional locators by themselves: slots, credit, bounds. The rules around them are in test_registrar_reports."""

from __future__ import annotations

import pytest

from ovng.forwarding import moves as moves_module
from ovng.forwarding.moves import Moves, best_path, confirmed_locator
from ovng.forwarding.record import Record
from ovng.forwarding.slowtable import SlowTable
from ovng.limits import PROVISIONAL_BYTES_PER_SECOND
from ovng.wire.report import ReportKind
from tests.attachment_fixture import AWAY, EVIL, HOME, THIRD, TRUCK
from tests.registrar_scene import Scene, ack, mismatch


def scene(*slots: bytes | None, active: int = 0) -> tuple[SlowTable, Moves]:
    table = SlowTable(10, bytes(16))
    table.put(TRUCK, bytes(128))
    table.set_locators(TRUCK, (*slots, *(None,) * (4 - len(slots))), active, -1, 0)
    return table, Moves(table)


def record(*leases: int) -> Record:
    return Record(b"r" * 32, b"p" * 32, 1, b"s" * 8, 9_999, 1, lease=[*leases, *(0,) * (4 - len(leases))])


def test_a_move_borrows_a_free_slot_and_gives_it_back() -> None:
    table, moves = scene(HOME.packed())
    moves.begin(TRUCK, AWAY.packed(), 0, 100, 5.0)
    assert table.locators(TRUCK) == ((HOME.packed(), None, None, AWAY.packed()), 3, 0, 8)
    assert table.credit(TRUCK) == (0, 300 + PROVISIONAL_BYTES_PER_SECOND)
    assert confirmed_locator(table, TRUCK) == HOME
    moves.restore(TRUCK, record(99))
    assert table.locators(TRUCK) == ((HOME.packed(), None, None, None), 0, -1, 0)


def test_a_new_path_uses_its_own_slot() -> None:
    table, moves = scene(HOME.packed())
    moves.begin(TRUCK, AWAY.packed(), 1, 100, 5.0)
    assert table.locators(TRUCK) == ((HOME.packed(), AWAY.packed(), None, None), 1, 0, 2)
    moves.confirm(TRUCK, AWAY.packed(), 1, activate=True)
    assert table.locators(TRUCK) == ((HOME.packed(), AWAY.packed(), None, None), 1, -1, 0)


def test_a_second_move_takes_the_place_of_the_first_and_keeps_the_way_back() -> None:
    table, moves = scene(HOME.packed())
    moves.begin(TRUCK, AWAY.packed(), 0, 100, 5.0)
    moves.begin(TRUCK, THIRD.packed(), 0, 100, 6.5)
    assert table.locators(TRUCK) == ((HOME.packed(), None, None, THIRD.packed()), 3, 0, 8)
    assert moves.handle_timer(8.1) == [], "the first one's time is not the second's"
    assert len(moves) == 1


def test_a_move_without_any_way_back_is_restored_to_nothing() -> None:
    table, moves = scene(active=-1)
    moves.begin(TRUCK, AWAY.packed(), 0, 100, 5.0)
    assert table.locators(TRUCK) == ((AWAY.packed(), None, None, None), 0, -1, 1)
    moves.restore(TRUCK, record())
    assert table.locators(TRUCK) == ((None,) * 4, -1, -1, 0)


def test_another_paths_proof_leaves_a_move_alone() -> None:
    table, moves = scene(HOME.packed(), THIRD.packed())
    moves.begin(TRUCK, AWAY.packed(), 0, 100, 5.0)
    moves.confirm(TRUCK, EVIL.packed(), 1, activate=False)
    assert table.locators(TRUCK) == ((HOME.packed(), EVIL.packed(), None, AWAY.packed()), 3, 0, 8)
    assert moves.of(TRUCK) is not None


def test_three_seconds_and_two_more_portions() -> None:
    table, moves = scene(HOME.packed())
    moves.begin(TRUCK, AWAY.packed(), 0, 100, 5.0)
    table.set_credit(TRUCK, 0, 0)
    assert moves.deadline() == 6.0
    assert moves.handle_timer(6.0) == []
    assert table.credit(TRUCK) == (0, PROVISIONAL_BYTES_PER_SECOND)
    assert moves.handle_timer(7.0) == []
    assert moves.handle_timer(7.99) == []
    assert moves.handle_timer(8.0) == [TRUCK]
    assert moves.deadline() is None


def test_a_node_that_left_meanwhile_is_passed_over() -> None:
    table, moves = scene(HOME.packed())
    moves.begin(TRUCK, AWAY.packed(), 0, 100, 5.0)
    table.remove(TRUCK)
    for at in (6.0, 7.0, 8.0, 30.0):
        assert moves.handle_timer(at) == []
    moves.restore(TRUCK, record())


def test_memory_is_empty_again_after_ten_seconds() -> None:
    _, moves = scene(HOME.packed())
    for at in (5.0, 6.5, 8.0):
        moves.begin(TRUCK, AWAY.packed(), 0, 100, at)
    moves.cancel(TRUCK)
    assert moves.limited(TRUCK, 8.5)
    for at in (9.0, 10.0, 30.0):
        moves.handle_timer(at)
    assert not moves._unconfirmed and not moves._forget and not moves._turns and not len(moves)


def test_a_full_switch_wants_proof_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves_module, "MOVES_MAX", 0)
    it = Scene()
    hint = mismatch(it.report(ReportKind.MOVE, AWAY), AWAY)
    assert it.sends_to() == HOME
    ack(it.report(ReportKind.MOVE, AWAY, observed=AWAY, cookie=hint.cookie), AWAY)
    assert it.sends_to() == AWAY


def test_the_best_path_has_the_lowest_priority_number() -> None:
    it = record(50, 50, 50)
    it.priority[:] = bytes([9, 3, 3, 0])
    slots = (HOME.packed(), AWAY.packed(), THIRD.packed(), None)
    assert best_path(slots, it) == 1
    assert best_path((HOME.packed(), None, None, EVIL.packed()), it) == 0, "a slot without a lease is no path's"
    assert best_path((None,) * 4, it) == -1
