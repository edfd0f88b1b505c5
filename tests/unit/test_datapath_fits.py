"""What fits a peer, in the running loops: TCP is cut, SYNs are lowered both ways, senders of other packets are told."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ovng.io.datapath import Event
from tests.datapath_rig import OTHER, PEER, Rig, opened, seal, until
from tests.unit.packets import ACK, NO_VNET, SYN, UDP, Packet, slow_segments

FITS = 1208
ANNOUNCED = struct.pack("!BBH", 2, 4, 1360)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    made.know_peer()
    made.path.set_fits(PEER, FITS)
    yield made
    made.close()


def lowered(packet: Packet) -> bytes:
    return replace(packet, options=struct.pack("!BBH", 2, 4, FITS - packet.ip_header - 20)).build()


def packet_of(number: int, datagram: bytes) -> bytes:
    found, packet = opened(datagram)
    assert found == number
    return packet


@pytest.mark.parametrize("size", [1300, 9000])
def test_tcp_is_cut_to_what_fits(rig: Rig, size: int) -> None:
    packet = Packet(bytes(range(250)) * (size // 250), flags=ACK, dont_fragment=True)
    rig.device.send(packet.vnet(1348 if size > 1348 else 0) + packet.partial())
    for number, segment in enumerate(slow_segments(packet, FITS - 40), 1):
        assert packet_of(number, rig.left()) == segment.build()
    assert rig.path.stats()["cut"] == 1


def test_a_syn_is_lowered_both_ways(rig: Rig) -> None:
    packet = Packet(b"", flags=SYN, options=ANNOUNCED)
    rig.device.send(packet.vnet() + packet.partial())
    assert packet_of(1, rig.left()) == lowered(packet)
    back = replace(packet, source="10.77.0.2", destination="10.77.0.1", flags=SYN | ACK)
    rig.deliver(seal(1, back.build()))
    assert rig.arrived() == NO_VNET + lowered(back)


def test_who_forbids_fragments_is_told_and_loses_nothing(rig: Rig) -> None:
    packet = Packet(bytes(1300), protocol=UDP, dont_fragment=True)
    rig.device.send(packet.vnet() + packet.partial())
    assert packet_of(1, rig.left()) == packet.build()
    told: Event = ("too_large", PEER, packet.build()[:1232])
    rig.expect(told)
    allowed = replace(packet, dont_fragment=False)
    rig.device.send(allowed.vnet() + allowed.partial())
    assert packet_of(2, rig.left()) == allowed.build()
    assert rig.path.stats()["oversize"] == 2
    assert [*rig.heard, *rig.path.events()].count(told) == 1


def test_how_much_is_large_is_counted(rig: Rig) -> None:
    before = rig.path.bulk()
    packet = Packet(bytes(1100), protocol=UDP)
    rig.device.send(packet.vnet() + packet.partial())
    rig.left()
    back = replace(packet, source="10.77.0.2", destination="10.77.0.1")
    rig.deliver(seal(1, back.build()))
    rig.arrived()
    until(lambda: rig.path.bulk() - before == 2 * 1128)


def test_sizes_that_make_no_sense_are_refused(rig: Rig) -> None:
    for size in (1, 575, 65_536, -1):
        with pytest.raises(ValueError, match="a packet has 576 to 65535 bytes"):
            rig.path.set_fits(PEER, size)
    with pytest.raises(LookupError):
        rig.path.set_fits(OTHER, FITS)
    rig.path.set_fits(PEER, 0)
    packet = Packet(bytes(1300), flags=ACK)
    rig.device.send(packet.vnet() + packet.partial())
    assert packet_of(1, rig.left()) == packet.build()
