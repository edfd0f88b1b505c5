from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.ids import Locator, NodeID
from ovng.limits import CRL_MAX, CRL_PIECE, TICKET_MAX
from ovng.wire.header import Header, PacketType
from ovng.wire.report import (
    SEQUENCE_MAX,
    Ack,
    Challenge,
    Common,
    CrlPiece,
    Mismatch,
    Nak,
    NakReason,
    Probed,
    Report,
    ReportFlags,
    ReportKind,
    Update,
    echo_of,
    parse_report,
    verify,
)

KEY = bytes(range(32))
SWITCH, NODE = NodeID(0xAAAA_BBBB_CCCC_DDDD), NodeID(0x1111_2222_3333_4444)
HERE = Locator.of("192.0.2.1", 5_140)
COMMON = Common(SWITCH, NODE, 9, 0x0102_0304_0506_0708, 0x1234, 2, 5)
COOKIE = bytes(range(16))

MOVE = Update(ReportKind.MOVE, COMMON, HERE, 25, COOKIE)
PROBE = Update(ReportKind.PROBE, COMMON, HERE, 25, size=1_444)
PROBED = Probed(COMMON, 1_444)
GET_CRL = Update(ReportKind.GET_CRL, COMMON, HERE, 25, offset=4_096)
ACK = Ack(COMMON, HERE, 75, 3, bytes(range(8)))
NAK = Nak(COMMON, NakReason.GRANT, 77)
PIECE = CrlPiece(COMMON, 3, 5_000, 4_096, bytes(904))
CHALLENGE = Challenge(COMMON, COOKIE, b"\x01" * 8)
MISMATCH = Mismatch(SWITCH, NODE, 9, HERE, COOKIE)

ids = st.integers(1, (1 << 64) - 1).map(NodeID)
locators = st.builds(Locator, st.binary(min_size=16, max_size=16), st.integers(0, 65_535))
u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))
common_fields = (
    st.just(SWITCH),
    st.just(NODE),
    st.integers(1, SEQUENCE_MAX),
    u64,
    u16,
    st.integers(0, 3),
    st.integers(0, 255),
)
commons = st.builds(Common, *common_fields, st.just(ReportFlags.NONE))
wishes = st.lists(st.sampled_from(list(ReportFlags))).map(lambda flags: ReportFlags(sum(set(flags))))
asking = st.builds(Common, *common_fields, wishes)
cookies = st.binary(min_size=16, max_size=16)
plain = st.sampled_from([ReportKind.REFRESH, ReportKind.MOVE, ReportKind.CONFIRM, ReportKind.BYE])
keepalives = st.integers(5, 600)
reports: st.SearchStrategy[Report] = st.one_of(
    st.builds(Update, plain, asking, locators, keepalives, cookies),
    st.builds(
        Update,
        st.sampled_from([ReportKind.REFRESH, ReportKind.MOVE]),
        asking,
        locators,
        keepalives,
        cookies,
        st.binary(max_size=TICKET_MAX),
    ),
    st.builds(Update, st.just(ReportKind.PROBE), asking, locators, keepalives, cookies, size=st.integers(1_233, 8_952)),
    st.builds(Probed, commons, st.integers(1_233, 8_952)),
    st.builds(Update, st.just(ReportKind.GET_CRL), asking, locators, keepalives, cookies, st.just(b""), u32),
    st.builds(Ack, commons, locators, u16, u64, st.binary(min_size=8, max_size=8)),
    st.builds(Nak, commons, st.sampled_from(NakReason), u64),
    st.builds(
        CrlPiece, commons, u64, st.just(CRL_MAX), st.integers(0, 1_000), st.binary(min_size=1, max_size=CRL_PIECE)
    ),
    st.builds(Challenge, commons, cookies, st.binary(min_size=8, max_size=8)),
    st.builds(Mismatch, st.just(SWITCH), st.just(NODE), u64, locators, cookies),
)


def packed(report: Report) -> bytes:
    return report.pack() if isinstance(report, Challenge | Mismatch) else report.pack(KEY)


def test_layout_of_a_move() -> None:
    head = "13 02 0000 aaaabbbbccccdddd 1111222233334444 0000000000000009"
    common = "0102030405060708 1234 02 05"
    fields = "00000000000000000000ffffc0000201 1414 0019 000102030405060708090a0b0c0d0e0f"
    body = bytes.fromhex(head + common + fields)
    assert MOVE.pack(KEY) == body + hmac.new(KEY, body, hashlib.sha256).digest()[:16]


@pytest.mark.parametrize(
    ("report", "size"),
    [
        (MOVE, 92),
        (GET_CRL, 1232),
        (PROBE, 1444),
        (PROBED, 1444),
        (ACK, 92),
        (NAK, 65),
        (PIECE, 74 + 904),
        (CHALLENGE, 64),
        (MISMATCH, 62),
    ],
)
def test_sizes_of_protocol_section_6(report: Report, size: int) -> None:
    assert len(packed(report)) == size


@given(reports)
def test_round_trip(report: Report) -> None:
    assert parse_report(packed(report)) == report


@given(reports, st.data())
def test_one_changed_bit_fails_the_tag(report: Report, data: st.DataObject) -> None:
    if isinstance(report, Challenge | Mismatch):
        return
    datagram = bytearray(packed(report))
    assert verify(bytes(datagram), KEY)
    assert not verify(bytes(datagram), bytes(32))
    datagram[data.draw(st.integers(0, len(datagram) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not verify(bytes(datagram), KEY)


def test_echo_is_the_first_half_of_the_tag() -> None:
    datagram = MOVE.pack(KEY)
    assert echo_of(datagram) == datagram[-16:-8]


def changed(datagram: bytes, at: int, value: bytes) -> bytes:
    return datagram[:at] + value + datagram[at + len(value) :]


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (MOVE.pack(KEY)[:-1], "report_length"),
        (MOVE.pack(KEY) + bytes(TICKET_MAX + 1), "report_length"),
        (Update(ReportKind.CONFIRM, COMMON, HERE, 25).pack(KEY) + b"\0", "report_length"),
        (Update(ReportKind.BYE, COMMON, HERE, 25).pack(KEY) + b"\0", "report_length"),
        (GET_CRL.pack(KEY)[:-1], "report_length"),
        (ACK.pack(KEY) + b"\0", "report_length"),
        (NAK.pack(KEY)[:-1], "report_length"),
        (CHALLENGE.pack() + b"\0", "report_length"),
        (MISMATCH.pack()[:-1], "report_length"),
        (changed(MOVE.pack(KEY), 1, b"\x06"), "report_length"),
        (PROBE.pack(KEY)[:1_232], "report_length"),
        (PROBED.pack(KEY) + bytes(7_509), "report_length"),
        (changed(PROBE.pack(KEY), 1_427, b"\1"), "padding"),
        (changed(PROBED.pack(KEY), 40, b"\1"), "padding"),
        (changed(MOVE.pack(KEY), 1, b"\x07"), "report_kind"),
        (changed(MOVE.pack(KEY), 1, b"\x00"), "report_kind"),
        (changed(MOVE.pack(KEY), 2, b"\x00\x01"), "flags"),
        (changed(MOVE.pack(KEY), 20, bytes(8)), "sequence"),
        (changed(MOVE.pack(KEY), 20, b"\0\0\0\1\0\0\0\0"), "sequence"),
        (changed(MOVE.pack(KEY), 38, b"\x04"), "path"),
        (changed(MOVE.pack(KEY), 58, b"\0\4"), "keepalive"),
        (changed(MOVE.pack(KEY), 58, b"\x02\x59"), "keepalive"),
        (changed(GET_CRL.pack(KEY), 1_215, b"\1"), "padding"),
        (changed(NAK.pack(KEY), 40, b"\0"), "nak_reason"),
        (changed(NAK.pack(KEY), 40, b"\x08"), "nak_reason"),
        (changed(PIECE.pack(KEY), 48, (CRL_MAX + 1).to_bytes(4, "big")), "crl_total"),
        (changed(PIECE.pack(KEY), 52, (4_097).to_bytes(4, "big")), "crl_piece"),
        (changed(PIECE.pack(KEY), 56, (903).to_bytes(2, "big")), "crl_piece"),
        (CrlPiece(COMMON, 3, 5_000, 0, b"").pack(KEY), "crl_piece"),
        (Header(PacketType.DATA, 1, 0, SWITCH, NODE, 1).pack() + bytes(64), "not_report"),
        (b"", "too_short"),
    ],
)
def test_refused_with_its_reason(datagram: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_report(datagram)
    assert caught.value.reason == reason


@given(st.binary(max_size=1_400))
def test_any_bytes_are_read_or_malformed(datagram: bytes) -> None:
    try:
        parse_report(datagram)
    except Malformed:
        pass


@given(reports, st.data())
def test_any_change_is_read_or_malformed(report: Report, data: st.DataObject) -> None:
    datagram = bytearray(packed(report))
    for _ in range(data.draw(st.integers(1, 4))):
        datagram[data.draw(st.integers(0, len(datagram) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = parse_report(bytes(datagram[: data.draw(st.integers(0, len(datagram)))]))
    except Malformed:
        return
    assert parse_report(packed(again)) == again


def test_secrets_are_in_no_repr() -> None:
    assert "ticket" not in repr(Update(ReportKind.MOVE, COMMON, HERE, 25, COOKIE, ticket=b"secret"))
