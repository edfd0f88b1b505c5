from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.ids import NodeID
from ovng.limits import MAX_DATAGRAM
from ovng.wire.header import FLAG_CLUSTER, FLAG_DUP, FLAG_SPARSE, Header, PacketType, parse_header

HEADER = Header(PacketType.DATA, 7, FLAG_DUP, NodeID(0x1111222233334444), NodeID(0x5555666677778888), 9)
WIRE = bytes.fromhex("11 07 0001 1111222233334444 5555666677778888 0000000000000009")

IDS = st.integers(1, (1 << 64) - 1)


def test_layout_of_protocol_section_1() -> None:
    assert HEADER.pack() == WIRE
    assert parse_header(WIRE + b"payload") == HEADER


@given(
    st.sampled_from(PacketType),
    st.integers(0, 255),
    st.sampled_from([0, FLAG_DUP, FLAG_CLUSTER, FLAG_SPARSE, FLAG_DUP | FLAG_CLUSTER | FLAG_SPARSE]),
    st.integers(0, (1 << 64) - 1),
    IDS,
    IDS,
)
def test_round_trip(kind: PacketType, key_id: int, flags: int, dst: int, src: int, number: int) -> None:
    if src == dst:
        return
    header = Header(kind, key_id, flags, NodeID(dst), NodeID(src), number)
    assert parse_header(header.pack()) == header


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "too_short"),
        (WIRE[:27], "too_short"),
        (WIRE + bytes(MAX_DATAGRAM - 27), "too_long"),
        (b"\x21" + WIRE[1:], "version"),
        (b"\x01" + WIRE[1:], "version"),
        (b"\x10" + WIRE[1:], "type"),
        (b"\x15" + WIRE[1:], "type"),
        (WIRE[:2] + b"\x00\x08" + WIRE[4:], "flags"),
        (WIRE[:2] + b"\x80\x01" + WIRE[4:], "flags"),
        (WIRE[:12] + bytes(8) + WIRE[20:], "src_zero"),
        (WIRE[:12] + WIRE[4:12] + WIRE[20:], "src_is_dst"),
    ],
)
def test_refused_with_its_reason(datagram: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_header(datagram)
    assert caught.value.reason == reason


@given(st.binary(max_size=80))
def test_any_bytes_give_a_header_or_malformed(datagram: bytes) -> None:
    try:
        header = parse_header(datagram)
    except Malformed:
        return
    assert header.pack() == datagram[:28]


def test_largest_datagram_is_accepted() -> None:
    assert parse_header(WIRE + bytes(MAX_DATAGRAM - 28)) == HEADER
