"""Copies for further paths: who marked them gets what carries DUP on each, and only where it surely is."""

from __future__ import annotations

from tests.switch_fixture import CONTROL, A, B, world

DUP = 1


def test_what_carries_dup_goes_to_each_marked_path() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        second, third = w.node(b.id, attached=False), w.node(b.id, "::1", attached=False)
        w.place(b, b.locator, second.locator, third.locator)
        w.table.set_wishes(b.id, False, 0b011)
        twice = a.send(B, b"twice", flags=DUP)
        assert b.receive() == second.receive() == [twice]
        once = a.send(B, b"once")
        handshake = a.send(B, b"handshake", CONTROL, flags=DUP)
        assert b.receive(2) == [once, handshake]
        second.assert_silent()
        third.assert_silent()
        assert (w.count("forwarded"), w.count("copied")) == (3, 1)


def test_no_copy_goes_to_a_place_that_is_not_proved() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        away = w.node(b.id, attached=False)
        w.place(b, b.locator, away.locator, mask=0b10)
        w.table.set_wishes(b.id, False, 0b1111)
        sent = a.send(B, b"x", flags=DUP)
        assert b.receive() == [sent]
        away.assert_silent()
        assert w.count("copied") == 0


def test_wishes_outlive_moves_and_end_with_the_node() -> None:
    with world() as w:
        b = w.node(B)
        w.table.set_wishes(b.id, True, 0b10)
        w.place(b, None, b.locator, active=1)
        assert w.table.wishes(b.id) == (True, 0b10)
        w.table.remove(b.id)
        w.table.put(b.id, b"another")
        assert w.table.wishes(b.id) == (False, 0)
