"""What a Switch keeps of what it sent, and sends again: a real loop, real sockets."""

from __future__ import annotations

import threading
import time

import pytest

from ovng.forwarding.store import Replay
from ovng.limits import TAIL_BYTES, TAIL_MILLISECONDS
from tests.switch_fixture import CONTROL, A, B, FakeNode, World, header, world

SPARSE = 0x0004

THREE = [b"first", b"second", b"third"]


def moved(w: World, node: FakeNode) -> FakeNode:
    """The node is at a new socket now, and the table knows."""
    away = w.node(node.id, node.sock.getsockname()[0], attached=False)
    w.place(node, away.locator)
    return away


def again(w: World, node: FakeNode, *, rest: bool = False) -> None:
    w.path.replay(Replay(node.id, rest))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_tail_goes_to_where_the_node_is_now_in_order(host: str) -> None:
    with world() as w:
        a, b = w.node(A, host), w.node(B, host)
        w.table.set_wishes(B, True, 0)
        sent = [a.send(B, text, number=i + 1) for i, text in enumerate(THREE)]
        assert b.receive(3) == sent
        away = moved(w, b)
        again(w, b)
        assert away.receive(3) == sent
        assert w.count("tail_kept") == w.count("tail_replayed") == 3


def test_who_did_not_ask_is_sent_nothing_again() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        a.send(B, b"once")
        b.receive()
        away = moved(w, b)
        again(w, b)
        after = a.send(B, b"after")
        assert away.receive() == [after]
        away.assert_silent()
        assert w.count("tail_kept") == 0


def test_control_is_not_kept() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.table.set_wishes(B, True, 0)
        a.send(B, b"handshake", CONTROL)
        data = a.send(B, b"data")
        b.receive(2)
        away = moved(w, b)
        again(w, b)
        assert away.receive() == [data]


def test_what_is_old_is_not_sent_again() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.table.set_wishes(B, True, 0)
        a.send(B, b"old")
        b.receive()
        old = time.monotonic() + TAIL_MILLISECONDS / 1000 + 0.05
        while time.monotonic() < old:
            time.sleep(0.01)
        new = a.send(B, b"new")
        b.receive()
        away = moved(w, b)
        again(w, b)
        assert away.receive() == [new]


def test_a_node_that_moves_again_gets_no_more_than_its_credit() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.table.set_wishes(B, True, 0)
        sent = [a.send(B, bytes(972), number=i + 1) for i in range(10)]
        b.receive(10)
        away = w.node(b.id, attached=False)
        w.place(b, b.locator, away.locator, active=1, fallback=0, mask=0b10)
        w.table.set_credit(b.id, 0, 3500)
        again(w, b)
        assert away.receive(3) == sent[:3]
        w.wait_count("tail_replayed", 3)
        away.assert_silent()
        b.assert_silent()  # it has had them


def test_a_train_is_kept_whole_and_a_node_beyond_its_share_not_at_all() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.table.set_wishes(B, True, 0)
        train = [header(B, A, number=i) + bytes(972) for i in range(1, 41)]
        a.send_train(train)
        assert b.receive(40) == train
        away = moved(w, b)
        again(w, b)
        assert away.receive(40) == train
        for _ in range(TAIL_BYTES // 40_000 + 40):
            a.send_train(train)
        w.wait_count("forwarded", 40 * (TAIL_BYTES // 40_000 + 41))
        assert w.count("tail_kept") + w.count("tail_skipped") == 40 * (TAIL_BYTES // 40_000 + 41)


def test_a_node_gets_its_share_at_most() -> None:
    """Newest first counts: what is sent again is the end of what was sent, without a hole."""
    pace = threading.Event()
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.table.set_wishes(B, True, 0)
        count, size = 2 * TAIL_BYTES // 10_000, 10_000
        sent = []
        for number in range(1, count + 1):
            sent.append(a.send(B, bytes(size - 28), number=number))
            b.receive()
            pace.wait(0.001)  # faster, and no tail would be kept
        away = moved(w, b)
        again(w, b)
        share = TAIL_BYTES // size
        got = away.receive(share)
        assert got == sent[-share:]
        away.assert_silent()


def test_the_log_grows_while_all_of_it_is_wanted() -> None:
    """Twelve nodes get 100 kB each, together more than the log begins with: the first one's tail is still whole."""
    with world() as w:
        a = w.node(A)
        others = [w.node(0x1000 + i) for i in range(12)]
        for other in others:
            w.table.set_wishes(other.id, True, 0)
        trains = [
            (other, [header(other.id, A, number=n) + bytes(4_972) for n in range(first, first + 10)])
            for other in others
            for first in (1, 11)
        ]
        in_time, sent = False, 0
        while not in_time:  # on a slow machine what is oldest would be too old to be sent again
            for other in others if sent else ():
                other.receive(20)
            began = time.monotonic()
            for _, train in trains:
                a.send_train(train)
            sent += 10 * len(trains)
            w.wait_count("forwarded", sent)
            in_time = time.monotonic() - began < TAIL_MILLISECONDS / 2000
        away = moved(w, others[0])
        again(w, away)
        assert [int.from_bytes(datagram[20:28], "big") for datagram in away.receive(20)] == list(range(1, 21))
        assert all(other.receive(10) == train for other, train in trains)


def test_sparse_datagrams_beside_bulk_are_kept() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.table.set_wishes(B, True, 0)
        train = [header(B, A, number=i) + bytes(972) for i in range(1, 61)]
        while w.count("tail_skipped") == 0:
            for _ in range(TAIL_BYTES // 60_000 + 1):  # more than B's share, at a pace that Python cannot hold back
                a.send_train(train)
            assert b.receive(60 * (TAIL_BYTES // 60_000 + 1)) == train * (TAIL_BYTES // 60_000 + 1)
        sent = [a.send(B, b"speech", number=n, flags=SPARSE) for n in range(100, 103)]
        assert b.receive(3) == sent
        away = moved(w, b)
        again(w, b)
        got = away.receive(3)
        while got[-3:] != sent:
            got += away.receive(1)
