"""What a narrow path makes of TCP in the data path: announced sizes lowered, segments cut. Against slow twins."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng._fast.segment import clamped, segments
from ovng.errors import Malformed
from tests.unit.packets import ACK, NO_VNET, PSH, RST, SYN, UDP, Packet, checksum, slow_segments

MSS, NOTHING, END = 2, 1, 0
MD5, AO, URG = 19, 29, 0x20

whole_options = st.sampled_from(
    (b"\x01", b"\x04\x02", b"\x03\x03\x07", b"\x08\x0a12345678", b"\x1e\x02", b"\x02\x03\xff", b"\x02\x05\xff\xff\xff")
)


def slow_mss(packet: bytes, fits: int) -> bytes:
    """RFC 9293, 3.2: walk the options; the checksum is made anew as a difference to the one that was there."""
    start = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    at, end = start + 20, start + (packet[start + 12] >> 4) * 4
    while at + 1 < end and packet[at] != END:
        if packet[at] == NOTHING:
            at += 1
            continue
        size = packet[at + 1]
        if size < 2 or at + size > end:
            break
        if packet[at] == MSS:
            if size != 4 or int.from_bytes(packet[at + 2 : at + 4], "big") <= (most := fits - (start + 20)):
                break
            out = bytearray(packet)
            out[at + 2 : at + 4] = struct.pack("!H", most)
            return bytes(out)
        at += size
    return packet


@st.composite
def syns(draw: st.DrawFn) -> Packet:
    before = b"".join(draw(st.lists(whole_options, max_size=3)))
    after = b"".join(draw(st.lists(whole_options, max_size=2)))
    mss = b"" if draw(st.booleans()) else struct.pack("!BBH", MSS, 4, draw(st.integers(0, 65_535)))
    options = (before + mss + after)[:40]
    options += b"\0" * (-len(options) % 4)
    return Packet(
        draw(st.binary(max_size=40)),
        version=draw(st.sampled_from((4, 6))),
        flags=SYN | draw(st.sampled_from((0, ACK))),
        options=options,
        sequence=draw(st.integers(0, 2**32 - 1)),
        class_=draw(st.integers(0, 255)),
    )


@given(syns(), st.integers(576, 9000))
def test_a_syn_announces_what_fits(packet: Packet, fits: int) -> None:
    before, start = packet.build(), packet.ip_header
    after, expected = clamped(before, fits), slow_mss(before, fits)
    blank = slice(start + 16, start + 18)
    assert after[: blank.start] + after[blank.stop :] == expected[: blank.start] + expected[blank.stop :]
    assert sum_holds(after), "the checksum followed"


@given(syns(), st.integers(576, 9000), st.integers(1, 65_535))
def test_a_wrong_checksum_stays_wrong(packet: Packet, fits: int, error: int) -> None:
    broken = bytearray(packet.build())
    at = packet.ip_header + 16
    value = (int.from_bytes(broken[at : at + 2], "big") + error) % 65_535
    broken[at : at + 2] = struct.pack("!H", value)
    assert sum_holds(clamped(bytes(broken), fits)) == sum_holds(bytes(broken))


def sum_holds(packet: bytes) -> bool:
    start = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return checksum(addresses + struct.pack("!HH", 6, len(packet) - start) + packet[start:]) == 0


ANNOUNCED = struct.pack("!BBH", MSS, 4, 1360)
SYN_PACKET = Packet(b"", flags=SYN, options=ANNOUNCED).build()
BARE_SYN, FULL = Packet(b"", flags=SYN).build(), Packet(bytes(1300)).build()


@pytest.mark.parametrize(
    "packet",
    [
        Packet(b"x", options=ANNOUNCED).build(),  # no SYN: what looks like the option there means nothing
        Packet(b"\x02" * 60, protocol=UDP).build(),
        SYN_PACKET[:6] + b"\0\1" + SYN_PACKET[8:],  # a later fragment
        Packet(b"", flags=SYN, options=b"\x02\x00\x05\x50").build(),  # an option without length
        BARE_SYN[:32] + b"\xf0" + BARE_SYN[33:],  # options beyond its end
    ],
)
def test_what_is_no_announcement_is_left_alone(packet: bytes) -> None:
    assert clamped(packet, 1208) == packet


def test_sizes_by_family() -> None:
    for version, most in ((4, 1208 - 40), (6, 1208 - 60)):
        packet = Packet(b"", version=version, flags=SYN, options=ANNOUNCED)
        expected = replace(packet, options=struct.pack("!BBH", MSS, 4, most)).build()
        assert clamped(packet.build(), 1208) == expected


@given(st.integers(1, 1400), st.sampled_from((4, 6)), st.integers(600, 1400), st.binary(max_size=3))
def test_a_whole_packet_is_cut_to_fit(size: int, version: int, fits: int, seed: bytes) -> None:
    payload, stamps = ((seed + bytes(range(256))) * 6)[:size], b"\x01\x01\x08\x0a12345678"
    packet = Packet(payload, version=version, flags=ACK | PSH, options=stamps, dont_fragment=True)
    expected = [p.build() for p in slow_segments(packet, fits - packet.ip_header - packet.transport_header)]
    assert segments(NO_VNET + packet.build(), fits) == expected
    assert segments(packet.vnet() + packet.partial(), fits) == expected


@given(st.integers(1, 20_000), st.sampled_from((4, 6)), st.integers(600, 1400), st.integers(100, 1400))
def test_a_super_packet_is_cut_to_fit(size: int, version: int, fits: int, told: int) -> None:
    packet = Packet(bytes(size), version=version)
    headers = packet.ip_header + packet.transport_header
    found = segments(packet.vnet(told) + packet.partial(), fits)
    assert found == [p.build() for p in slow_segments(packet, min(told, fits - headers))]
    assert max(map(len, found)) <= fits


@pytest.mark.parametrize(
    "packet",
    [
        Packet(bytes(1300), protocol=UDP).build(),
        Packet(bytes(1300), flags=SYN | ACK).build(),
        Packet(bytes(1300), flags=RST | ACK).build(),
        Packet(bytes(1300), flags=URG | ACK).build(),
        Packet(bytes(1300), options=bytes((MD5, 18)) + bytes(18)).build(),
        Packet(bytes(1300), options=bytes((AO, 16)) + bytes(14)).build(),
        FULL[:-1] + b"\xff",  # its checksum is wrong: not ours to make right
        FULL[:6] + b"\x20\0" + FULL[8:],  # the first fragment
    ],
)
def test_what_must_not_be_cut_passes_whole(packet: bytes) -> None:
    assert segments(NO_VNET + packet, 1208) == [packet]


def test_what_is_no_packet_is_refused() -> None:
    with pytest.raises(Malformed):
        clamped(b"", 1208)
