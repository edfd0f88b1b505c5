"""The header in C agrees with `wire/header.py` on every datagram, good and bad (PROTOCOL 1)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ovng._fast import frame
from ovng.errors import Malformed
from ovng.ids import NodeID
from ovng.wire.header import Header, PacketType, parse_header

u64 = st.integers(0, 2**64 - 1)


def both(datagram: bytes) -> tuple[object, object]:
    """What the C header and the Python header make of a datagram: fields, or the drop reason."""
    fast = frame.parse(datagram)
    try:
        slow: object = tuple(parse_header(datagram))
    except Malformed as fault:
        slow = fault.reason
    return (frame.DROP_NAMES[fast] if isinstance(fast, int) else fast), slow


@given(st.sampled_from(PacketType), st.integers(0, 255), st.integers(0, 7), u64, u64, u64, st.binary(max_size=40))
@example(PacketType.DATA, 0, 0, 0, 1, 0, b"")
@example(PacketType.PRIVATE, 255, 3, 2**64 - 1, 2**64 - 2, 2**64 - 1, b"\xff" * 40)
def test_both_write_and_read_the_same(
    kind: PacketType, key_id: int, flags: int, dst: int, src: int, number: int, payload: bytes
) -> None:
    built = frame.build(kind, key_id, flags, dst, src, number)
    assert built == Header(kind, key_id, flags, NodeID(dst), NodeID(src), number).pack()
    fast, slow = both(built + payload)
    assert fast == slow
    if src not in (0, dst):
        assert fast == (kind, key_id, flags, dst, src, number)


@given(st.binary(max_size=64))
def test_both_judge_any_bytes_alike(datagram: bytes) -> None:
    fast, slow = both(datagram)
    assert fast == slow


@given(st.integers(0, 27), st.integers(0, 255))
def test_both_judge_a_damaged_header_alike(at: int, value: int) -> None:
    damaged = bytearray(frame.build(1, 7, 0, 0x1111, 0x2222, 3))
    damaged[at] = value
    fast, slow = both(bytes(damaged))
    assert fast == slow


GOOD = frame.build(1, 7, 0, 0x1111, 0x2222, 3)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "too_short"),
        (GOOD[:27], "too_short"),
        (GOOD + bytes(65_507 - 28 + 1), "too_long"),
        (b"\x21" + GOOD[1:], "version"),
        (b"\x01" + GOOD[1:], "version"),
        (b"\x10" + GOOD[1:], "type"),
        (b"\x15" + GOOD[1:], "type"),
        (GOOD[:2] + b"\x00\x08" + GOOD[4:], "flags"),
        (GOOD[:2] + b"\x80\x00" + GOOD[4:], "flags"),
        (frame.build(1, 0, 0, 5, 0, 1), "src_zero"),
        (frame.build(1, 0, 0, 5, 5, 1), "src_is_dst"),
    ],
)
def test_each_fault_has_its_own_reason(datagram: bytes, reason: str) -> None:
    assert both(datagram) == (reason, reason)


def test_the_largest_datagram_passes() -> None:
    assert frame.parse(GOOD + bytes(65_507 - 28)) == (1, 7, 0, 0x1111, 0x2222, 3)


@pytest.mark.parametrize("field", range(6))
def test_a_field_out_of_its_width_is_refused(field: int) -> None:
    widths = [4, 8, 16, 64, 64, 64]
    values = [1, 0, 0, 1, 2, 3]
    values[field] = 1 << widths[field]
    with pytest.raises(OverflowError):
        frame.build(*values)
