"""Splitting of netlink datagrams: aligned, cut, lying about their length."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from ovng.io.rtnetlink import Raw, split


def message(kind: int, body: bytes, sequence: int = 7, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def test_several_with_padding() -> None:
    one, two = message(16, b"abcde", 1, 2), message(20, b"", 3)
    assert list(split(one + b"\0\0\0" + two)) == [(Raw(16, one), 1, 2), (Raw(20, two), 3, 0)]


def test_the_last_needs_no_padding() -> None:
    assert list(split(message(16, b"x"))) == [(Raw(16, message(16, b"x")), 7, 0)]


def test_nothing() -> None:
    assert list(split(b"")) == []


def test_what_is_cut_is_told() -> None:
    whole = message(16, b"abcd")
    for length in range(1, len(whole)):
        assert list(split(whole[:length])) == [(Raw(0, whole[:length]), 0, 0)]


def test_a_length_that_lies() -> None:
    for length in (0, 15, 17, 0xFFFFFFFF):
        data = struct.pack("=IHHII", length, 16, 0, 1, 0)
        assert list(split(data)) == [(Raw(0, data), 0, 0)]


@given(st.binary(max_size=200))
def test_any_bytes_come_to_an_end(data: bytes) -> None:
    parts = list(split(data))
    assert sum(len(raw.data) for raw, _, _ in parts) <= len(data)
    assert all(raw.data for raw, _, _ in parts)
