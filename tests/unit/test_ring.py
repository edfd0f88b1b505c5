"""The byte ring: order, bounds, wake-ups, and a real producer thread."""

from __future__ import annotations

import os
import random
import select
import threading
import time

import pytest

from benchmarks.usage import resident_memory
from ovng._fast.ring import Ring


def readable(ring: Ring, timeout: float = 0.0) -> bool:
    return bool(select.select([ring.fileno()], [], [], timeout)[0])


def test_records_come_back_in_order_with_their_kind() -> None:
    ring = Ring(4096)
    records = [(1, b""), (2, b"x"), (0xFFFFFFFF, bytes(range(256))), (3, b"1234567"), (4, b"12345678")]
    for kind, payload in records:
        assert ring.put(kind, payload)
    assert ring.drain() == records
    assert ring.drain() == []


def test_capacity_is_rounded_up_to_a_power_of_two() -> None:
    assert Ring(1).capacity == 64
    assert Ring(65).capacity == 128
    assert Ring(4096).capacity == 4096


def test_a_full_ring_refuses_and_counts_and_keeps_what_it_has() -> None:
    ring = Ring(64)  # four records of 8 + 8
    assert [ring.put(i, b"abcdefgh") for i in range(6)] == [True, True, True, True, False, False]
    assert ring.dropped == 2
    assert ring.drain() == [(i, b"abcdefgh") for i in range(4)]
    assert ring.put(9, b"again")
    assert ring.drain() == [(9, b"again")]


def test_a_record_larger_than_the_ring_is_refused() -> None:
    ring = Ring(64)
    assert not ring.put(1, bytes(57))
    assert ring.put(1, bytes(56))
    assert ring.drain() == [(1, bytes(56))]


@pytest.mark.parametrize("left", [0, 1], ids=["begins anew", "wraps"])
def test_wrapping_keeps_every_byte(left: int) -> None:
    ring = Ring(512)
    numbers = random.Random(1)
    waiting = [(0, b"")] * left
    assert all(ring.put(kind, payload) for kind, payload in waiting)
    for i in range(2000):
        for record in [(i, numbers.randbytes(numbers.randrange(0, 100))) for _ in range(2)]:
            assert ring.put(*record)
            waiting.append(record)
        assert ring.drain(2) == waiting[:2]
        del waiting[:2]


def test_only_as_much_memory_is_touched_as_records_wait() -> None:
    """Not all of the buffer sooner or later: a node's rings are three megabytes, and hold a few records at a time."""
    ring, record = Ring(1 << 26), bytes(60_000)
    for _ in range(10):
        assert ring.put(1, record)
        ring.drain()
    before = resident_memory(os.getpid())
    for _ in range(2000):
        assert ring.put(1, record)
        ring.drain()
    assert resident_memory(os.getpid()) - before < 16  # MiB, of 64


def test_eventfd_is_signalled_on_the_first_record_and_stays_until_drained() -> None:
    ring = Ring(1024)
    assert not readable(ring)
    ring.put(1, b"a")
    ring.put(1, b"b")
    assert readable(ring)
    assert len(ring.drain()) == 2
    assert not readable(ring)


def test_a_limited_drain_leaves_the_eventfd_readable() -> None:
    ring = Ring(1024)
    for i in range(5):
        ring.put(i, b"")
    assert [kind for kind, _ in ring.drain(3)] == [0, 1, 2]
    assert readable(ring)
    assert [kind for kind, _ in ring.drain(3)] == [3, 4]
    assert not readable(ring)


@pytest.mark.parametrize("capacity", [64, 1 << 12, 1 << 16])
def test_no_wake_up_is_lost_between_two_threads(capacity: int) -> None:
    """The consumer waits on the eventfd alone: one lost signal and it never sees the last record."""
    ring, total = Ring(capacity), 20_000

    def produce() -> None:
        numbers = random.Random(2)
        for i in range(total):
            payload = i.to_bytes(4, "big") * numbers.randrange(1, 8)
            while not ring.put(i, payload):
                time.sleep(0)  # full: let the consumer run

    producer = threading.Thread(target=produce)
    producer.start()
    seen = 0
    while seen < total:
        assert readable(ring, 10.0), f"no wake-up after {seen} records"
        for kind, payload in ring.drain(64):
            assert kind == seen
            assert payload[:4] == seen.to_bytes(4, "big")
            seen += 1
    producer.join(10.0)
    assert not producer.is_alive()
    assert ring.drain() == []
