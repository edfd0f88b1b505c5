"""A node's sparse packets: marked on the way out, and let past bulk on the way in beside its replay window."""

from __future__ import annotations

import pytest

from ovng._fast import frame
from ovng._fast.replay import WINDOW
from ovng._fast.sparse import BURST
from tests.datapath_rig import BACK, SPARSE, Rig, opened, seal, until
from tests.unit.packets import NO_VNET, UDP, Packet


def flags(datagram: bytes) -> int:
    header = frame.parse(datagram)
    assert isinstance(header, tuple)
    return header[2]


def test_packets_of_a_sparse_flow_are_marked_and_bulk_is_not(rig: Rig) -> None:
    rig.know_peer()
    large = Packet(bytes(1300), protocol=UDP, ports=(1, 53)).build()
    small = Packet(b"small", protocol=UDP, ports=(2, 53)).build()
    found = []
    for _ in range(40):
        rig.send(large)
        datagram = rig.left()
        found.append(flags(datagram))
        assert opened(datagram)[1] == large
    assert found[: BURST // len(large)] == [SPARSE] * (BURST // len(large))
    assert found[-1] == 0
    rig.send(small)
    assert flags(rig.left()) == SPARSE
    assert rig.path.stats()["sparse"] == found.count(SPARSE) + 1


def test_sparse_packets_do_not_make_bulk_old(rig: Rig) -> None:
    """They overtake any number of bulk packets."""
    rig.know_peer()
    for number, mark in [(3 * WINDOW, SPARSE), (1, 0), (2, 0), (3 * WINDOW - 1, SPARSE), (3 * WINDOW + 1, 0)]:
        rig.deliver(seal(number, flags=mark))
        assert rig.arrived() == NO_VNET + BACK


@pytest.mark.parametrize("mark", [0, SPARSE])
def test_neither_class_takes_a_packet_twice(rig: Rig, mark: int) -> None:
    rig.know_peer()
    datagram = seal(5, flags=mark)
    rig.deliver(datagram)
    rig.deliver(datagram)
    until(lambda: rig.drops("replay_duplicate") == 1)
    assert rig.path.stats()["received_packets"] == 1


def test_nobody_can_mark_or_unmark_a_packet(rig: Rig) -> None:
    rig.know_peer()
    for mark in (0, SPARSE):
        datagram = bytearray(seal(5 + mark, flags=mark))
        datagram[3] ^= SPARSE
        rig.deliver(bytes(datagram))
    until(lambda: rig.drops("aead_forged") == 2)
