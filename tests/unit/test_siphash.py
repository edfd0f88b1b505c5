"""SipHash-2-4 against its authors' vectors: key 00 … 0f, message 00 01 02 …, of length 0 … 63.

The hashes of lengths 0 and 15 are printed in the paper's reference code and appendix A ("SipHash: a fast short-input
PRF", Aumasson and Bernstein, 2012); all 64 follow from a plain Python version that gives those.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng._fast.siphash import siphash24, siphash24_u64

MASK = 2**64 - 1
KEY = bytes(range(16))


def slow_siphash24(key: bytes, data: bytes) -> int:
    """As the paper defines it, with unbounded integers."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def half(a: int, b: int, by: int) -> None:
        v[a] = (v[a] + v[b]) & MASK
        v[b] = (v[b] << by | v[b] >> (64 - by)) & MASK ^ v[a]

    def turn(a: int) -> None:
        v[a] = (v[a] << 32 | v[a] >> 32) & MASK

    def rounds(count: int) -> None:
        for _ in range(count):
            half(0, 1, 13)
            half(2, 3, 16)
            turn(0)
            half(2, 1, 17)
            half(0, 3, 21)
            turn(2)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@pytest.mark.parametrize(("length", "expected"), [(0, 0x726FDB47DD0E0E31), (15, 0xA129CA6149BE45E5)])
def test_published(length: int, expected: int) -> None:
    assert siphash24(KEY, bytes(range(length))) == expected == slow_siphash24(KEY, bytes(range(length)))


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=64))
def test_like_the_slow_one(key: bytes, data: bytes) -> None:
    assert siphash24(key, data) == slow_siphash24(key, data)


@given(st.binary(min_size=16, max_size=16), st.integers(0, MASK))
def test_a_word_is_its_eight_bytes(key: bytes, value: int) -> None:
    assert siphash24_u64(key, value) == siphash24(key, value.to_bytes(8, "little"))


@pytest.mark.parametrize("length", [0, 15, 17])
def test_other_key_lengths_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        siphash24(bytes(length), b"")
