"""The Switch's fast path: who may send from where, and how much a locator is given before it is confirmed."""

from __future__ import annotations

import time

import pytest

from ovng.ids import NodeID
from tests.switch_fixture import CONTROL, A, B, C, header, world

# -- Source check: PROTOCOL 6.1


def test_any_of_four_live_locators_may_send() -> None:
    with world() as w:
        b = w.node(B)
        a = w.node(A)
        sockets = [a, *(w.node(A, attached=False) for _ in range(3))]
        w.place(a, *(each.locator for each in sockets), active=3)
        for each in sockets:
            sent = each.send(B, each.locator.packed())
            assert b.receive() == [sent]
        sent = b.send(A)
        assert sockets[3].receive() == [sent]
        assert w.count("forwarded_in_grace") == 0


def test_grace_is_exact_to_the_byte_and_told() -> None:
    with world() as w:
        a, b = w.node(A, grace=1000), w.node(B)
        moved = w.node(A, attached=False)
        sent = [moved.send(B, bytes(300 - 28), number=i) for i in range(5)]
        assert b.receive(3) == sent[:3]
        w.wait_count("drop_stray_source", 2)
        assert w.count("forwarded_in_grace") == 3
        assert w.table.credit(A) == (100, 0)
        assert w.events() == [("unmatched", 0, moved.locator, sent[0][:28], True, 300)]
        w.wait_count("events_limited", 4)
        sent = [moved.send(B, bytes(100 - 28))]
        assert b.receive() == sent, "the last 100 bytes of the credit"
        sent = [a.send(B)]
        assert b.receive() == sent
        assert w.table.credit(A) == (0, 0)


@pytest.mark.parametrize("grace", [0, 99, 100, 1050, 3999, 4000])
def test_grace_is_exact_within_a_train(grace: int) -> None:
    with world() as w:
        w.node(A, grace=grace)
        b, moved = w.node(B), w.node(A, attached=False)
        train = [header(B, A, number=i) + bytes(72) for i in range(40)]
        moved.send_train(train)
        w.wait_count("drop_stray_source", 40 - grace // 100) if grace < 4000 else None
        assert b.receive(grace // 100) == train[: grace // 100]
        assert w.table.credit(A) == (grace % 100, 0)
        b.assert_silent()


def test_control_has_no_grace_and_spends_none() -> None:
    with world() as w:
        a, b = w.node(A, grace=65536), w.node(B)
        moved = w.node(A, attached=False)
        sent = moved.send(B, b"hello", CONTROL)
        w.wait_count("drop_control_source", 1)
        assert w.table.credit(A) == (65536, 0)
        sent = a.send(B, b"hello", CONTROL)
        assert b.receive() == [sent]
        b.assert_silent()


def test_control_from_elsewhere_is_told() -> None:
    with world() as w:
        w.node(A), w.node(B)
        moved = w.node(A, attached=False)
        sent = moved.send(B, b"hello", CONTROL)
        assert w.events() == [("unmatched", 0, moved.locator, sent[:28], True, 33)]


def test_an_unattached_source_is_told_once_per_source_and_id() -> None:
    with world() as w:
        w.node(B)
        x, y = w.node(C, attached=False), w.node(C, attached=False)
        for node in (x, y, x, y):
            node.send(B, bytes(72))
        events = w.events(2)
        assert events == [("unmatched", 0, node.locator, header(B, C), False, 100) for node in (x, y)]
        w.wait_count("events_limited", 2)
        x.id = NodeID(C + 1)
        x.send(B)
        assert w.events() == [("unmatched", 0, x.locator, header(B, C + 1), False, 28)]
        assert w.count("drop_unattached") == 5


def test_strangers_cannot_have_more_events_than_the_bucket_holds() -> None:
    with world() as w:
        w.node(B)
        stranger = w.node(C, attached=False)
        began = time.monotonic()
        for i in range(0, 60_000, 60):
            stranger.send_train([header(B, C + i + k) for k in range(60)])
            if i % 6000 == 0:
                w.wait_count("drop_unattached", i + 60)
        w.wait_count("drop_unattached", 60_000)
        told = 60_000 - w.count("events_limited")
        assert 1024 <= told <= 1024 + 4096 * (time.monotonic() - began + 0.1), "a burst of 1024 and 4096 per second"


# -- Provisional locators: PROTOCOL 6


def test_provisional_credit_is_exact_and_the_excess_goes_to_the_old_locator() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        new = w.node(A, attached=False)
        w.place(a, a.locator, new.locator, active=1, fallback=0, mask=0b10)
        w.table.set_credit(A, 0, 250)
        train = [header(A, B, number=i) + bytes(72) for i in range(10)]
        b.send_train(train)
        assert new.receive(2) == train[:2]
        assert a.receive(8) == train[2:]
        assert w.table.credit(A) == (0, 50)
        assert w.count("forwarded_to_fallback") == 8
        new.send(B, bytes(72))
        b.receive()
        assert w.table.credit(A) == (0, 350), "three times what came from there"
        new.send(B, bytes(72), CONTROL)
        b.receive()
        assert w.table.credit(A) == (0, 650)
        a.send(B, bytes(72))
        b.receive()
        assert w.table.credit(A) == (0, 650), "only the provisional locator earns"


def test_without_an_old_locator_the_excess_is_dropped() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.place(a, a.locator, active=0, mask=0b1)
        w.table.set_credit(A, 0, 199)
        train = [header(A, B, number=i) + bytes(72) for i in range(10)]
        b.send_train(train)
        assert a.receive() == train[:1]
        w.wait_count("drop_no_credit", 9)
        assert w.drops() == {"drop_no_credit": 9}
