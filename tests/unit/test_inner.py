from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.fields import replace
from ovng.ids import Locator, NodeID
from ovng.limits import INNER_MESSAGE_MAX
from ovng.wire.inner import (
    Attach,
    Close,
    CloseReason,
    Crl,
    Doubling,
    Grant,
    GrantStatus,
    Inner,
    InnerStream,
    InnerType,
    Ping,
    Pong,
    Purpose,
    Reach,
    Ready,
    parse_inner,
)

U8, U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
IDS = U64.map(NodeID)
LOCATORS = st.builds(Locator, st.binary(min_size=16, max_size=16), U16)
READIES = st.builds(
    Ready, st.sampled_from(Purpose), IDS, IDS, U64, U32, U8, U8, st.binary(min_size=32, max_size=32), U64, U8
)
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200)
MESSAGES = st.one_of(
    READIES,
    st.builds(Close, st.sampled_from(CloseReason), TEXT),
    st.builds(Crl, st.binary(max_size=500)),
    st.builds(Attach, st.sampled_from([1, 2]), U16, U64, st.integers(5, 600)),
    st.builds(Grant, st.sampled_from(GrantStatus), U16, U32, U64, LOCATORS, U64, st.binary(max_size=512)),
    st.builds(Ping, U64),
    st.builds(Pong, U64),
    st.builds(Reach, st.integers(1_232, 65_535)),
)
READY = Ready(Purpose.SESSION, NodeID(1), NodeID(2), 3, 4, 5, 3, bytes(range(32)), 6, 2)
READY_BODY = bytes.fromhex(
    "01 01 0000000000000001 0000000000000002 0000000000000003 00000004 05 03"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 0000000000000006 0001 0001 02"
)


def one(message: Inner) -> Inner | None:
    ((kind, body),) = InnerStream().feed(message.pack())
    return parse_inner(kind, body)


@pytest.mark.parametrize(
    ("message", "kind", "body"),
    [
        (READY, 1, READY_BODY),
        (Close(CloseReason.REVOKED, "why"), 2, b"\x02why"),
        (Crl(b"der"), 3, b"der"),
        (Attach(2, 7, 8, 25), 4, bytes.fromhex("02 0007 0000000000000008 0019")),
        (
            Grant(0, 7, 86400, 9, Locator.of("192.0.2.1", 5140), 10, b"tk"),
            5,
            bytes.fromhex(
                "00 0007 00015180 0000000000000009 00000000000000000000ffffc00002011414 000000000000000a 0002 746b"
            ),
        ),
        (Ping(1), 6, bytes(7) + b"\1"),
        (Pong(1), 7, bytes(7) + b"\1"),
        (Reach(1_444), 8, b"\x05\xa4"),
    ],
)
def test_layout_of_protocol_section_4(message: Inner, kind: int, body: bytes) -> None:
    assert message.pack() == bytes([kind]) + len(body).to_bytes(2, "big") + body
    assert parse_inner(kind, body) == message


@given(MESSAGES)
def test_round_trip(message: Inner) -> None:
    assert one(message) == message


@given(st.lists(MESSAGES, max_size=5), st.integers(1, 70))
def test_stream_is_cut_the_same_however_it_arrives(messages: list[Inner], step: int) -> None:
    wire = b"".join(message.pack() for message in messages)
    stream, found = InnerStream(), []
    for start in range(0, len(wire), step):
        found += stream.feed(wire[start : start + step])
    assert [parse_inner(*message) for message in found] == messages


def test_a_message_too_long_is_refused_before_it_is_held() -> None:
    InnerStream().feed(b"\x03" + INNER_MESSAGE_MAX.to_bytes(2, "big"))
    with pytest.raises(Malformed, match="inner_length"):
        InnerStream().feed(b"\x03" + (INNER_MESSAGE_MAX + 1).to_bytes(2, "big"))


@pytest.mark.parametrize("wish", Doubling)
def test_a_wish_passes(wish: Doubling) -> None:
    ready = replace(READY, wish=wish)
    assert parse_inner(*InnerStream().feed(ready.pack())[0]) == ready
    assert len(ready.pack()) == len(READY.pack()) + 5 * (wish is not Doubling.NONE)


def test_reach_passes_in_ready() -> None:
    ready = replace(READY, reach=1_444)
    assert parse_inner(*InnerStream().feed(ready.pack())[0]) == ready
    assert ready.pack()[-6:] == bytes.fromhex("0003 0002 05a4")


@pytest.mark.parametrize(
    "body", [READY_BODY + bytes.fromhex("0003 0002 04cf"), READY_BODY + bytes.fromhex("0003 0001 05")]
)
def test_a_reach_below_what_all_paths_carry_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_inner(InnerType.READY, body)
    with pytest.raises(Malformed):
        parse_inner(InnerType.REACH, b"\x04\xcf")


def test_unknown_types_and_capabilities_are_skipped() -> None:
    assert parse_inner(9, b"whatever") is None
    assert parse_inner(InnerType.READY, READY_BODY + bytes.fromhex("7777 0003 010203")) == READY
    without = parse_inner(InnerType.READY, READY_BODY[:-5])
    assert isinstance(without, Ready) and without.preferred == 0


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (1, b"", "truncated"),
        (1, b"\x02" + READY_BODY[1:], "ready_version"),
        (1, b"\x01\x03" + READY_BODY[2:], "ready_purpose"),
        (1, READY_BODY[:-1], "truncated"),
        (1, READY_BODY + b"\0", "truncated"),
        (1, READY_BODY + READY_BODY[-5:], "ready_capability"),
        (1, READY_BODY[:-5] + bytes.fromhex("0001 0002 0101"), "ready_capability"),
        (1, READY_BODY + bytes.fromhex("0002 0001 03"), "ready_capability"),
        (1, READY_BODY + bytes.fromhex("0002 0000"), "ready_capability"),
        (1, READY_BODY + 2 * bytes.fromhex("0002 0001 00"), "ready_capability"),
        (2, b"", "truncated"),
        (2, b"\x00", "close_reason"),
        (2, b"\x07", "close_reason"),
        (2, b"\x01" + b"x" * 201, "close_text"),
        (2, b"\x01\x1b[31m", "close_text"),
        (2, b"\x01\xff", "close_text"),
        (4, bytes.fromhex("00 0000 0000000000000000 0019"), "attach_flags"),
        (4, bytes.fromhex("03 0000 0000000000000000 0019"), "attach_flags"),
        (4, bytes.fromhex("01 0000 0000000000000000 0004"), "attach_keepalive"),
        (4, bytes.fromhex("01 0000 0000000000000000 0259"), "attach_keepalive"),
        (4, bytes(14), "attach_flags"),
        (5, b"\x04" + bytes(42), "grant_status"),
        (5, bytes(41) + b"\x02\x01" + bytes(513), "grant_ticket"),
        (5, bytes(41) + b"\x00\x02" + bytes(1), "truncated"),
        (6, bytes(7), "truncated"),
        (7, bytes(9), "trailing"),
    ],
)
def test_refused_with_its_reason(kind: int, body: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_inner(kind, body)
    assert caught.value.reason == reason


@given(st.integers(0, 255), st.binary(max_size=100))
def test_any_bytes_give_a_message_or_malformed(kind: int, body: bytes) -> None:
    try:
        parse_inner(kind, body)
    except Malformed:
        pass


def test_what_we_build_is_bounded() -> None:
    with pytest.raises(OverflowError):
        Crl(bytes(INNER_MESSAGE_MAX + 1)).pack()
    assert one(Close(CloseReason.SHUTDOWN, "é\n" * 150)) == Close(CloseReason.SHUTDOWN, "?" * 200)


def test_secrets_are_in_no_repr() -> None:
    assert "\\x1e" not in repr(READY)
    assert "secret" not in repr(Grant(0, 0, 0, 0, Locator(bytes(16), 0), 0, b"secret"))
