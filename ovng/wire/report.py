"""Reports and what answers them (PROTOCOL 6): readable, authenticated by HMAC, never by where they came from.

    | header 28 | boot ID 8 | grant 2 | path 1 | priority 1 | fields by kind | tag 16 |

The kind stands in the header's key ID byte. Every kind has one exact length, or a range for those that end in bytes
of free length. `parse_report` reads structure only and says nothing about who sent it: `verify` does. CHALLENGE and
MISMATCH carry no tag; they are hints.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from ovng.errors import Malformed
from ovng.fields import Frozen, hidden
from ovng.hashes import compare_digest, hmac_sha256
from ovng.ids import Locator, NodeID
from ovng.limits import (
    COOKIE_SIZE,
    CRL_MAX,
    CRL_PIECE,
    KEEPALIVE_MAX,
    KEEPALIVE_MIN,
    MAX_CONTROL_DATAGRAM,
    MAX_PATHS,
    MAX_PROBE_DATAGRAM,
    PROTOCOL_VERSION,
    TAG_SIZE,
    TICKET_MAX,
)
from ovng.wire.header import PacketType, parse_header

ECHO_SIZE = 8
PROOF_SIZE = 8
SEQUENCE_MAX = (1 << 32) - 1
NO_COOKIE = bytes(COOKIE_SIZE)

_FIRST = PROTOCOL_VERSION << 4 | PacketType.REPORT
_HEAD = struct.Struct(">BBHQQQQHBB")  # header and common part
_HEADER = struct.Struct(">BBHQQQ")  # header alone (MISMATCH)
_UPDATE = struct.Struct(">16sHH16s")
_ACK = struct.Struct(">16sHHQ8s")
_NAK = struct.Struct(">BQ")
_PIECE = struct.Struct(">QIIH")
_CHALLENGE = struct.Struct(">16s8s")
_MISMATCH = struct.Struct(">16sH16s")

UPDATE_SIZE = _HEAD.size + _UPDATE.size + TAG_SIZE
ACK_SIZE = _HEAD.size + _ACK.size + TAG_SIZE
NAK_SIZE = _HEAD.size + _NAK.size + TAG_SIZE
PIECE_SIZE = _HEAD.size + _PIECE.size + TAG_SIZE
CHALLENGE_SIZE = _HEAD.size + _CHALLENGE.size
MISMATCH_SIZE = _HEADER.size + _MISMATCH.size
assert (UPDATE_SIZE, ACK_SIZE, NAK_SIZE, PIECE_SIZE, CHALLENGE_SIZE, MISMATCH_SIZE) == (92, 92, 65, 74, 64, 62)
_PADDING = MAX_CONTROL_DATAGRAM - UPDATE_SIZE - 4  # of GET_CRL, so that its answer is smaller


class ReportKind(IntEnum):
    """What a report is; below 16 the node speaks, from 16 the Switch, from 32 it only hints."""

    REFRESH = 1
    MOVE = 2
    CONFIRM = 3
    BYE = 4
    GET_CRL = 5
    PROBE = 6
    KNOCK = 7
    ACK = 16
    NAK = 17
    CRL_PIECE = 18
    PROBED = 19
    CHALLENGE = 32
    MISMATCH = 33


class ReportFlags(IntFlag):
    """In the path's byte of what a node says; in answers none is set."""

    NONE = 0
    TAIL = 0x10
    """Keep the tail of what is sent to me."""
    COPY = 0x20
    """Send copies of DUP datagrams to this path, too."""
    REPLAY = 0x40
    """I moved without warning: send the tail again."""


_PATH = MAX_PATHS - 1
_FLAGS = int(ReportFlags.TAIL | ReportFlags.COPY | ReportFlags.REPLAY)


class NakReason(IntEnum):
    """Why the Switch did not do what a report asked."""

    SEQUENCE = 1
    GRANT = 2
    NO_PRIVATE_KEYS = 3
    REVOKED = 4
    SUPERSEDED = 5
    MOVE_LIMIT = 6
    ATTACH_AGAIN = 7


_LENGTHS: dict[int, tuple[int, int]] = {
    ReportKind.REFRESH: (UPDATE_SIZE, UPDATE_SIZE + TICKET_MAX),
    ReportKind.MOVE: (UPDATE_SIZE, UPDATE_SIZE + TICKET_MAX),
    ReportKind.CONFIRM: (UPDATE_SIZE, UPDATE_SIZE),
    ReportKind.BYE: (UPDATE_SIZE, UPDATE_SIZE),
    ReportKind.GET_CRL: (MAX_CONTROL_DATAGRAM, MAX_CONTROL_DATAGRAM),
    ReportKind.PROBE: (MAX_CONTROL_DATAGRAM + 1, MAX_PROBE_DATAGRAM),
    ReportKind.KNOCK: (UPDATE_SIZE, UPDATE_SIZE),
    ReportKind.ACK: (ACK_SIZE, ACK_SIZE),
    ReportKind.NAK: (NAK_SIZE, NAK_SIZE),
    ReportKind.CRL_PIECE: (PIECE_SIZE, PIECE_SIZE + CRL_PIECE),
    ReportKind.PROBED: (MAX_CONTROL_DATAGRAM + 1, MAX_PROBE_DATAGRAM),
    ReportKind.CHALLENGE: (CHALLENGE_SIZE, CHALLENGE_SIZE),
    ReportKind.MISMATCH: (MISMATCH_SIZE, MISMATCH_SIZE),
}


class Common(NamedTuple):
    """Header fields and common part. `number`: the node's sequence, which an answer echoes."""

    dst: NodeID
    src: NodeID
    number: int
    boot_id: int
    grant: int
    path: int = 0
    priority: int = 0
    flags: ReportFlags = ReportFlags.NONE

    def pack(self, kind: ReportKind) -> bytes:
        """40 bytes."""
        return _HEAD.pack(_FIRST, kind, 0, *self[:5], self.path | self.flags, self.priority)

    def answer(self, boot_id: int, number: int | None = None) -> Common:
        """The common part of an answer to this one."""
        return Common(
            self.src, self.dst, self.number if number is None else number, boot_id, self.grant, self.path, self.priority
        )


def tag(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256 cut to 16 bytes."""
    return hmac_sha256(key, data)[:TAG_SIZE]


def verify(datagram: bytes, key: bytes) -> bool:
    """True if the datagram's tag is of this 32-byte key."""
    return compare_digest(datagram[-TAG_SIZE:], tag(key, datagram[:-TAG_SIZE]))


def echo_of(datagram: bytes) -> bytes:
    """The 8 bytes by which a CHALLENGE names the report it answers."""
    return datagram[-TAG_SIZE:][:ECHO_SIZE]


class Update(Frozen):
    """What a node says. `keepalive` in seconds, 5 … 600; `offset` in bytes (GET_CRL only); `size` of the
    datagram (PROBE only)."""

    kind: ReportKind
    common: Common
    observed: Locator
    keepalive: int
    cookie: bytes = NO_COOKIE
    ticket: bytes = hidden(default=b"")
    offset: int = 0
    size: int = 0

    def pack(self, key: bytes) -> bytes:
        data = self.common.pack(self.kind) + _UPDATE.pack(*self.observed, self.keepalive, self.cookie) + self.ticket
        if self.kind == ReportKind.GET_CRL:
            data += self.offset.to_bytes(4, "big") + bytes(_PADDING)
        elif self.kind == ReportKind.PROBE:
            data += bytes(self.size - TAG_SIZE - len(data))
        return data + tag(key, data)


class Ack(Frozen):
    """A report was accepted. `lifetime`: seconds the path's lease now lasts; `proof`: what CONFIRM brings back."""

    common: Common
    observed: Locator
    lifetime: int
    crl_number: int
    proof: bytes

    def pack(self, key: bytes) -> bytes:
        data = self.common.pack(ReportKind.ACK)
        data += _ACK.pack(*self.observed, self.lifetime, self.crl_number, self.proof)
        return data + tag(key, data)


class Nak(Frozen):
    """A report was refused. `last`: the highest sequence the Switch has seen of the path."""

    common: Common
    reason: NakReason
    last: int

    def pack(self, key: bytes) -> bytes:
        data = self.common.pack(ReportKind.NAK) + _NAK.pack(self.reason, self.last)
        return data + tag(key, data)


class CrlPiece(Frozen):
    """Bytes `offset` … of a revocation list of `total` bytes; at most 1,024, never past its end."""

    common: Common
    number: int
    total: int
    offset: int
    piece: bytes = hidden()

    def pack(self, key: bytes) -> bytes:
        data = self.common.pack(ReportKind.CRL_PIECE)
        data += _PIECE.pack(self.number, self.total, self.offset, len(self.piece)) + self.piece
        return data + tag(key, data)


class Probed(Frozen):
    """A PROBE of `size` bytes, 1,233 … 8,952, came through; this is as large."""

    common: Common
    size: int

    def pack(self, key: bytes) -> bytes:
        data = self.common.pack(ReportKind.PROBED) + bytes(self.size - _HEAD.size - TAG_SIZE)
        return data + tag(key, data)


class Challenge(Frozen):
    """A hint: the Switch does not know you; show this cookie and your ticket. `echo` zero: DATA caused it."""

    common: Common
    cookie: bytes
    echo: bytes

    def pack(self) -> bytes:
        return self.common.pack(ReportKind.CHALLENGE) + _CHALLENGE.pack(self.cookie, self.echo)


class Mismatch(Frozen):
    """A hint: you were seen at `observed`, which is none of your locators."""

    dst: NodeID
    src: NodeID
    number: int
    observed: Locator
    cookie: bytes

    def pack(self) -> bytes:
        header = _HEADER.pack(_FIRST, ReportKind.MISMATCH, 0, self.dst, self.src, self.number)
        return header + _MISMATCH.pack(*self.observed, self.cookie)


Report = Update | Ack | Nak | CrlPiece | Probed | Challenge | Mismatch


def parse_report(datagram: bytes) -> Report:
    """Read one datagram of type REPORT. Says nothing about its tag.

    Raises Malformed: those of `parse_header`, not_report, report_kind, report_length, flags, sequence, path, keepalive,
    padding, nak_reason, crl_total, crl_piece.
    """
    header = parse_header(datagram)
    if header.type != PacketType.REPORT:
        raise Malformed("not_report")
    bounds = _LENGTHS.get(header.key_id)
    if bounds is None:
        raise Malformed("report_kind")
    if not bounds[0] <= len(datagram) <= bounds[1]:
        raise Malformed("report_length")
    if header.flags:
        raise Malformed("flags")
    kind = ReportKind(header.key_id)
    if kind == ReportKind.MISMATCH:
        address, port, cookie = _MISMATCH.unpack_from(datagram, _HEADER.size)
        return Mismatch(header.dst, header.src, header.number, Locator(address, port), cookie)
    boot_id, grant, path, priority = _HEAD.unpack_from(datagram)[6:]
    if path & ~(_PATH | _FLAGS) or (path > _PATH and kind >= ReportKind.ACK):
        raise Malformed("path")
    flags = ReportFlags(path & _FLAGS)
    common = Common(header.dst, header.src, header.number, boot_id, grant, path & _PATH, priority, flags)
    if kind < ReportKind.ACK:
        return _update(kind, common, datagram)
    return _answer(kind, common, datagram)


def _update(kind: ReportKind, common: Common, datagram: bytes) -> Update:
    if not 1 <= common.number <= SEQUENCE_MAX:
        raise Malformed("sequence")
    address, port, keepalive, cookie = _UPDATE.unpack_from(datagram, _HEAD.size)
    if not KEEPALIVE_MIN <= keepalive <= KEEPALIVE_MAX:
        raise Malformed("keepalive")
    rest = datagram[_HEAD.size + _UPDATE.size : -TAG_SIZE]
    observed = Locator(address, port)
    if kind == ReportKind.PROBE:
        if any(rest):
            raise Malformed("padding")
        return Update(kind, common, observed, keepalive, cookie, size=len(datagram))
    if kind != ReportKind.GET_CRL:
        return Update(kind, common, observed, keepalive, cookie, ticket=rest)
    if any(rest[4:]):
        raise Malformed("padding")
    return Update(kind, common, observed, keepalive, cookie, offset=int.from_bytes(rest[:4], "big"))


def _answer(kind: ReportKind, common: Common, datagram: bytes) -> Report:
    if kind == ReportKind.ACK:
        address, port, lifetime, crl_number, proof = _ACK.unpack_from(datagram, _HEAD.size)
        return Ack(common, Locator(address, port), lifetime, crl_number, proof)
    if kind == ReportKind.NAK:
        number, last = _NAK.unpack_from(datagram, _HEAD.size)
        try:
            return Nak(common, NakReason(number), last)
        except ValueError:
            raise Malformed("nak_reason") from None
    if kind == ReportKind.PROBED:
        if any(datagram[_HEAD.size : -TAG_SIZE]):
            raise Malformed("padding")
        return Probed(common, len(datagram))
    if kind == ReportKind.CHALLENGE:
        return Challenge(common, *_CHALLENGE.unpack_from(datagram, _HEAD.size))
    number, total, offset, length = _PIECE.unpack_from(datagram, _HEAD.size)
    piece = datagram[_HEAD.size + _PIECE.size : -TAG_SIZE]
    if total > CRL_MAX:
        raise Malformed("crl_total")
    if length != len(piece) or not length or offset + length > total:
        raise Malformed("crl_piece")
    return CrlPiece(common, number, total, offset, piece)
