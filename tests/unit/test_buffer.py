from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.wire.buffer import Reader, Writer


def test_fields_in_network_order() -> None:
    data = Writer().u8(1).u16(0x0203).u32(0x04050607).u64(0x08090A0B0C0D0E0F).put(b"xyz").bytes()
    assert data == bytes(range(1, 16)) + b"xyz"
    reader = Reader(data)
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64()) == (1, 0x0203, 0x04050607, 0x08090A0B0C0D0E0F)
    assert reader.take(2) == b"xy"
    assert reader.rest() == b"z"
    assert reader.rest() == b""
    reader.end()


@given(st.binary(max_size=12), st.lists(st.sampled_from(["u8", "u16", "u32", "u64"]), max_size=6))
def test_reads_what_is_there_or_says_truncated(data: bytes, verbs: list[str]) -> None:
    reader, position = Reader(data), 0
    for verb in verbs:
        size = int(verb[1:]) // 8
        if position + size > len(data):
            with pytest.raises(Malformed, match="truncated"):
                getattr(reader, verb)()
            assert len(reader) == len(data) - position  # a failed read consumes nothing
            return
        assert getattr(reader, verb)() == int.from_bytes(data[position : position + size], "big")
        position += size


def test_end_refuses_leftovers() -> None:
    with pytest.raises(Malformed, match="trailing"):
        Reader(b"x").end()


def test_negative_take_is_refused() -> None:
    reader = Reader(b"abc")
    reader.take(2)
    with pytest.raises(Malformed, match="truncated"):
        reader.take(-1)


@pytest.mark.parametrize(
    ("verb", "value"), [("u8", 256), ("u16", 1 << 16), ("u32", 1 << 32), ("u64", 1 << 64), ("u8", -1)]
)
def test_writer_refuses_what_does_not_fit(verb: str, value: int) -> None:
    with pytest.raises(OverflowError):
        getattr(Writer(), verb)(value)
