"""A node that comes late to what was sent: sparse packets leave before bulk, each flow in its order."""

from __future__ import annotations

from ovng._fast.sparse import BURST
from tests.datapath_rig import Rig, opened
from tests.unit.packets import UDP, Packet

LARGE = 1300
BULK_PORT = 9
FRAMES = 64  # that can be read before one is sent


def packet(port: int, number: int, size: int) -> bytes:
    return Packet(number.to_bytes(4, "big") + bytes(size), protocol=UDP, ports=(port, 53)).build()


def left(*packets: bytes) -> list[bytes]:
    """What leaves, in its order, when all of this has waited before the loops began."""
    rig = Rig(start=False)
    try:
        rig.know_peer()
        rig.device.setblocking(False)  # a blocking socket takes a quarter of its buffer
        for each in packets:
            rig.send(each)
        rig.path.start()
        return [opened(rig.left())[1] for _ in packets]
    finally:
        rig.close()


def stream(count: int) -> tuple[list[bytes], list[bytes]]:
    """Packets of one flow: those while it is sparse, and those when it is bulk."""
    packets = [packet(BULK_PORT, number, LARGE) for number in range(count)]
    sparse = BURST // len(packets[0])
    return packets[:sparse], packets[sparse:]


def test_what_is_sparse_leaves_first() -> None:
    begins, bulk = stream(40)
    small = [packet(port, 0, 20) for port in range(100, 105)]
    assert left(*begins, *bulk, *small) == [*begins, *small, *bulk]


def test_it_does_not_overtake_what_its_own_flow_has_queued() -> None:
    begins, bulk = stream(40)
    last = packet(BULK_PORT, 40, 20)
    assert left(*begins, *bulk, last) == [*begins, *bulk, last]


def test_what_finds_no_room_waits_in_its_place() -> None:
    begins, bulk = stream(FRAMES + 10)
    small = packet(100, 0, 20)
    got = left(*begins, *bulk, small)
    assert [each for each in got if each != small] == [*begins, *bulk]
    assert got.index(small) >= FRAMES


def test_a_flow_that_becomes_bulk_behind_a_flood_keeps_its_order() -> None:
    flood = [packet(port, 0, 1000) for port in range(100, 140)]
    begins, bulk = stream(24)
    assert left(*flood, *begins, *bulk) == [*flood, *begins, *bulk]


def test_a_flood_of_sparse_leaves_bulk_its_batch() -> None:
    begins, bulk = stream(20)
    flood = [packet(port, 0, 100) for port in range(100, 100 + FRAMES)]
    got = left(*begins, *bulk, *flood)
    assert [each for each in got if each in flood] == flood
    assert got.index(bulk[-1]) < got.index(flood[-1])
