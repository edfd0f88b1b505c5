from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.limits import HEADER_SIZE, MAX_CONTROL_DATAGRAM, STREAM_PIECE
from ovng.wire.control import Control, Cookie, Hello, Stream, StreamPart, parse_control

ATTEMPT = 0x0102030405060708
COOKIE = bytes(range(16))

U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
COOKIES = st.binary(min_size=16, max_size=16)
ACKS = st.builds(StreamPart, st.just(0), U32, U32, st.just(b""))
PIECES = st.builds(StreamPart, st.integers(1, (1 << 32) - 1), U32, U32, st.binary(min_size=1, max_size=STREAM_PIECE))
MESSAGES = st.one_of(
    st.builds(Hello, U64), st.builds(Cookie, U64, COOKIES), st.builds(Stream, U64, ACKS | PIECES, st.none() | COOKIES)
)


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (Hello(ATTEMPT), "01 0102030405060708" + "00" * 16),
        (Cookie(ATTEMPT, COOKIE), "02 0102030405060708 000102030405060708090a0b0c0d0e0f"),
        (
            Stream(ATTEMPT, StreamPart(3, 2, 5, b"tls"), COOKIE),
            "03 0102030405060708 000102030405060708090a0b0c0d0e0f 00000003 00000002 00000005 0000 0003 746c73",
        ),
        (Stream(ATTEMPT, StreamPart(0, 2, 0, b"")), "04 0102030405060708 00000000 00000002 00000000 0000 0000"),
    ],
)
def test_layout_of_protocol_section_3(message: Control, wire: str) -> None:
    assert message.pack() == bytes.fromhex(wire)
    assert parse_control(bytes.fromhex(wire)) == message


def test_sizes_of_protocol_section_3() -> None:
    assert len(Hello(1).pack()) == len(Cookie(1, COOKIE).pack()) == 25  # an answer is no larger than its question
    assert len(Stream(1, StreamPart(0, 0, 0, b""), COOKIE).pack()) == 41
    assert len(Stream(1, StreamPart(0, 0, 0, b"")).pack()) == 25
    largest = Stream(1, StreamPart(1, 0, 0, bytes(STREAM_PIECE)), COOKIE)
    assert HEADER_SIZE + len(largest.pack()) <= MAX_CONTROL_DATAGRAM


@given(MESSAGES)
def test_round_trip(message: Control) -> None:
    assert parse_control(message.pack()) == message


@given(MESSAGES, st.data())
def test_every_other_length_is_refused(message: Control, data: st.DataObject) -> None:
    wire = message.pack()
    cut = data.draw(st.integers(0, len(wire) - 1))
    with pytest.raises(Malformed):
        parse_control(wire[:cut])
    with pytest.raises(Malformed):
        parse_control(wire + b"\0")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "truncated"),
        (b"\x00" + bytes(24), "control_kind"),
        (b"\x05" + bytes(24), "control_kind"),
        (b"\x01" + bytes(23) + b"\x01", "hello_padding"),
        (b"\x02" + bytes(23), "truncated"),
        (b"\x02" + bytes(25), "trailing"),
        (b"\x04" + bytes(8) + bytes(12) + b"\x00\x01\x00\x00", "stream_flags"),
        (b"\x04" + bytes(8) + bytes(12) + b"\x00\x00\x00\x01x", "piece_length"),  # piece without number
        (b"\x04" + bytes(8) + b"\0\0\0\1" + bytes(12), "piece_length"),  # number without piece
        (b"\x04" + bytes(8) + b"\0\0\0\1" + bytes(10) + b"\x04\x4d" + bytes(1101), "piece_length"),
    ],
)
def test_refused_with_its_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_control(payload)
    assert caught.value.reason == reason


@given(st.binary(max_size=1300))
def test_any_bytes_give_a_message_or_malformed(payload: bytes) -> None:
    try:
        message = parse_control(payload)
    except Malformed:
        return
    assert message.pack() == payload


def test_secrets_are_in_no_repr() -> None:
    assert "secret" not in repr(Stream(1, StreamPart(1, 0, 0, b"secret"), b"secret".ljust(16)))
