"""A Switch that comes late to a long queue: senders are told by few losses, and nothing else is lost."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from ovng._fast import udp
from tests.lacks import needs_timestamps
from tests.switch_fixture import CONTROL, DATA, World, header, wait_until

pytestmark = needs_timestamps

A, B = 0xA << 60, 0xB << 60
TOO_LONG = 0.01  # SOJOURN_MAX_NS
INTERVAL = 0.05


@pytest.fixture(autouse=True)
def stamping() -> Iterator[None]:
    """The kernel begins to stamp a moment after the first socket has asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert udp.stamp(sock.fileno())

        def stamped_on_arrival() -> bool:
            sock.sendto(b"x", sock.getsockname())
            sent = time.time_ns()
            ((_, _, stamp),) = sock.recvmsg(1, 64)[1]
            seconds, nanoseconds = struct.unpack("@ll", stamp)
            return bool(seconds * 1_000_000_000 + nanoseconds <= sent)

        wait_until(stamped_on_arrival, "time stamps")
        yield


def late(trains: list[list[bytes]], *, short_queue: bool = True) -> tuple[int, int, float]:
    """Trains that waited before forwarding began: how many datagrams were forwarded, how many dropped, in what time."""
    w = World(short_queue=short_queue)
    try:
        a, b = w.node(A), w.node(B)
        for train in trains:
            a.send_train(train)
        sent = time.monotonic()
        wait_until(lambda: time.monotonic() > sent + 2 * TOO_LONG, "the age")
        began = time.monotonic()
        w.path.start()
        total = sum(map(len, trains))
        wait_until(lambda: w.count("forwarded") + w.count("drop_sojourn") == total, "all")
        took = time.monotonic() - began
        b.receive(w.count("forwarded"))
        return w.count("forwarded"), w.count("drop_sojourn"), took
    finally:
        w.close()


def trains(count: int, kind: int = DATA, payload: int = 1300) -> list[list[bytes]]:
    return [[header(B, A, kind, number=40 * i + j) + bytes(payload) for j in range(40)] for i in range(count)]


def test_a_long_queue_loses_one_datagram_per_interval() -> None:
    forwarded, dropped, took = late(trains(20))
    assert 1 <= dropped <= 1 + took / INTERVAL
    assert forwarded == 800 - dropped


@pytest.mark.parametrize(
    ("sent", "short_queue"),
    [(trains(20), False), (trains(20, CONTROL), True), (trains(1, payload=1000), True)],
    ids=["unlimited", "control", "short"],
)
def test_what_loses_nothing(sent: list[list[bytes]], short_queue: bool) -> None:
    assert late(sent, short_queue=short_queue)[1] == 0


def test_interleaved_trains_are_sorted_together() -> None:
    """Datagrams for 16 nodes in turn, two in a train for each: a send for each node."""
    ids = [(0xC0 + i) << 56 for i in range(16)]
    w = World(short_queue=False)
    try:
        a = w.node(A)
        for node in ids:
            w.node(node)
        for i in range(10):
            a.send_train([header(ids[j % 16], A, DATA, number=32 * i + j) + bytes(1300) for j in range(32)])
        w.path.start()
        wait_until(lambda: w.count("sent") == 320, "all")
        assert w.count("sent_messages") <= 32, "128 KiB at a time would be 48"
    finally:
        w.close()


def test_the_kernel_stamps() -> None:
    w = World(short_queue=False)
    try:
        assert udp.stamp(w.node(A).sock.fileno())
    finally:
        w.close()
    assert not udp.stamp(-1)
