"""Segmentation against its slow twin, and headers that lie."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovng._fast.segment import segments
from ovng.errors import Malformed
from tests.effort import examples
from tests.unit.packets import (
    ACK,
    CWR,
    FIN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    NO_VNET,
    PSH,
    TCP,
    UDP,
    Packet,
    icmp_echo,
    slow_segments,
    vnet_header,
)


@st.composite
def packets(draw: st.DrawFn, payload_max: int = 9000) -> Packet:
    """TCP or UDP, IPv4 or IPv6, with everything that segmentation must keep or change."""
    size = draw(st.integers(1, payload_max))
    seed = draw(st.binary(min_size=1, max_size=64))
    return Packet(
        payload=(seed * (size // len(seed) + 1))[:size],
        version=draw(st.sampled_from((4, 6))),
        protocol=draw(st.sampled_from((TCP, UDP))),
        sequence=draw(st.sampled_from((0, 1, 2**31, 2**32 - 3000)) | st.integers(0, 2**32 - 1)),
        flags=ACK | draw(st.integers(0, 255)),
        options=draw(st.sampled_from((b"", b"\x01\x01\x08\x0a12345678", bytes(40)))),
        identification=draw(st.sampled_from((0, 65_530)) | st.integers(0, 65_535)),
        dont_fragment=draw(st.booleans()),
        class_=draw(st.integers(0, 255)),
        ttl=draw(st.integers(1, 255)),
    )


@given(packets(), st.integers(1, 2000), st.booleans())
def test_super_packet_becomes_what_the_twin_says(packet: Packet, size: int, ecn: bool) -> None:
    size = max(size, len(packet.payload) // 200)  # the twin is slow
    expected = [segment.build() for segment in slow_segments(packet, size)]
    assert segments(packet.vnet(size, ecn=ecn) + packet.partial()) == expected


def test_largest_super_packet() -> None:
    packet = Packet(bytes(range(256)) * 255, protocol=TCP, flags=ACK | PSH | FIN | CWR)
    found = segments(packet.vnet(1348) + packet.partial())
    assert found == [segment.build() for segment in slow_segments(packet, 1348)]
    assert len(found) == 49


@given(packets(payload_max=1400))
def test_partial_checksum_is_completed(packet: Packet) -> None:
    assert segments(packet.vnet() + packet.partial()) == [packet.build()]


def test_udp_checksum_is_never_zero() -> None:
    """Zero would say "none" (RFC 768)."""
    packet = Packet(b"\0\0", protocol=UDP)
    short_of_zero = struct.unpack("!H", packet.build()[26:28])[0]
    packet = replace(packet, payload=struct.pack("!H", short_of_zero))
    assert packet.build()[26:28] == b"\xff\xff"
    assert segments(packet.vnet() + packet.partial()) == [packet.build()]


@pytest.mark.parametrize("whole", [icmp_echo("10.0.0.1", "10.0.0.2"), Packet(b"x" * 100, version=6).build()])
def test_complete_packet_passes_as_it_is(whole: bytes) -> None:
    assert segments(NO_VNET + whole) == [whole]


V4, V6 = Packet(b"p" * 3000), Packet(b"p" * 3000, version=6)
V4_UDP = Packet(b"p" * 3000, protocol=UDP)
LYING_UDP = V4_UDP.partial()[:24] + struct.pack("!H", 3009) + V4_UDP.partial()[26:]


@pytest.mark.parametrize(
    ("reason", "frame"),
    [
        ("tun_truncated", b""),
        ("tun_truncated", bytes(9)),
        ("tun_length", NO_VNET),
        ("tun_version", NO_VNET + b"\x50" + bytes(40)),
        ("tun_length", NO_VNET + b"\x44" + bytes(40)),
        ("tun_length", NO_VNET + V4.build()[:-1]),
        ("tun_length", NO_VNET + V6.build() + b"x"),
        ("tun_length", NO_VNET + V6.build()[:39]),
        ("tun_checksum_range", vnet_header(NEEDS_CSUM, 0, 0, 0, 20, 2999 + 20) + V4.build()),
        ("tun_checksum_range", vnet_header(NEEDS_CSUM, 0, 0, 0, 0, 16) + V4.build()),
        ("tun_checksum_range", vnet_header(NEEDS_CSUM, 0, 0, 0, 65_535, 65_535) + V4.build()),
        ("tun_gso_type", vnet_header(NEEDS_CSUM, 3, 40, 1000, 20, 16) + V4.partial()),  # UFO: never offered
        ("tun_gso_type", vnet_header(NEEDS_CSUM, 77, 40, 1000, 20, 16) + V4.partial()),
        ("tun_gso_type", vnet_header(NEEDS_CSUM, GSO_TCPV6, 40, 1000, 20, 16) + V4.partial()),
        ("tun_gso_type", vnet_header(NEEDS_CSUM, GSO_TCPV4, 60, 1000, 40, 16) + V6.partial()),
        ("tun_gso_type", vnet_header(NEEDS_CSUM, GSO_UDP_L4, 28, 1000, 20, 6) + V4.partial()),
        ("tun_gso_type", vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 20, 16) + V4_UDP.partial()),
        ("tun_checksum_range", vnet_header(0, GSO_TCPV4, 40, 1000, 20, 16) + V4.partial()),
        ("tun_checksum_range", vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 24, 16) + V4.partial()),
        ("tun_checksum_range", vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 20, 6) + V4.partial()),
        ("tun_checksum_range", vnet_header(NEEDS_CSUM, GSO_TCPV6, 60, 1000, 39, 16) + V6.partial()),
        ("tun_truncated", vnet_header(NEEDS_CSUM, GSO_TCPV6, 60, 1000, 60_000, 16) + V6.partial()),
        ("tun_length", vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 20, 16) + V4.partial()[:2000]),
        ("tun_length", vnet_header(NEEDS_CSUM, GSO_TCPV6, 60, 1000, 40, 16) + V6.partial() + b"x"),
        ("tun_length", vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 20, 16) + V4.partial()[:19]),
        ("tun_length", vnet_header(NEEDS_CSUM, GSO_UDP_L4, 28, 1000, 20, 6) + LYING_UDP),
        ("tun_version", vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 20, 16) + b"\x70" + V4.partial()[1:]),
        ("tun_length", vnet_header(NEEDS_CSUM, GSO_TCPV6, 60, 1000, 300, 16) + V6.partial()[:60] + b"\x50" * 3000),
        ("tun_gso_size", V4.vnet(1)[:4] + bytes(2) + V4.vnet(1)[6:] + V4.partial()),
        ("tun_gso_size", vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 20, 16) + Packet(b"").partial()),
        ("tun_gso_size", vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 65_535, 20, 16) + V4.partial()),
    ],
)
def test_lying_header_is_refused(reason: str, frame: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        segments(frame)
    assert refusal.value.reason == reason


def test_tcp_header_length_that_lies() -> None:
    for offset in (0x10, 0xF0):  # 4 bytes; 60 bytes of which 20 are there
        broken = bytearray(Packet(b"").partial())
        broken[32] = offset
        with pytest.raises(Malformed, match="tun_truncated"):
            segments(vnet_header(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 20, 16) + bytes(broken))


@settings(max_examples=examples(500))
@given(
    st.integers(0, 255),
    st.sampled_from((0, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4)) | st.integers(0, 255),
    st.integers(0, 65_535),
    st.integers(0, 80) | st.integers(0, 65_535),
    st.sampled_from((6, 16)) | st.integers(0, 65_535),
    packets(payload_max=300),
    st.integers(0, 400),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3),
)
def test_any_frame_gives_packets_or_a_reason_untrusted(
    flags: int,
    kind: int,
    gso: int,
    start: int,
    offset: int,
    packet: Packet,
    keep: int,
    changes: list[tuple[int, int]],
) -> None:
    broken = bytearray(packet.partial()[:keep])
    for at, value in changes:
        if at < len(broken):
            broken[at] = value
    try:
        found = segments(vnet_header(flags, kind, 0, gso, start, offset) + bytes(broken))
    except Malformed as refusal:
        assert refusal.reason.startswith("tun_")
    else:
        assert found
        assert all(len(part) <= 65_535 for part in found)
