"""The bounded queue of packets that wait for a session."""

from hypothesis import given
from hypothesis import strategies as st

from ovng.node.pending import PendingPackets


def test_newest_are_kept_per_destination() -> None:
    queue = PendingPackets(per_key=3)
    firsts = [queue.add("a", bytes([n])) for n in range(5)]
    assert firsts == [True, False, False, False, False]
    assert queue.take("a") == [b"\x02", b"\x03", b"\x04"]
    assert queue.dropped == 2
    assert queue.take("a") == []


def test_total_bytes_push_out_the_oldest_destination() -> None:
    queue = PendingPackets(per_key=10, total_bytes=100)
    queue.add("old", bytes(60))
    queue.add("new", bytes(60))
    assert queue.take("old") == []
    assert queue.take("new") == [bytes(60)]
    assert queue.keys() == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=200))
def test_bounds_hold_whatever_comes(adds: list[tuple[int, int]]) -> None:
    queue = PendingPackets(per_key=4, total_bytes=120)
    for key, size in adds:
        queue.add(key, bytes(size))
        assert sum(len(queue._queues[k]) for k in queue._queues) == len(queue)
        assert queue._bytes == sum(len(p) for q in queue._queues.values() for p in q) <= 120
        assert all(len(q) <= 4 for q in queue._queues.values())
    held = len(queue)
    taken = sum(len(queue.take(key)) for key in queue.keys())  # noqa: SIM118 - not a dict
    assert taken == held
    assert queue.dropped == len(adds) - taken
