"""Payloads of CONTROL datagrams (PROTOCOL 3): the cookie round trip, and the pieces of a reliable stream.

    kind 1 ‖ attempt ID 8 ‖ HELLO:    16 zero bytes
                            COOKIE:   cookie 16
                            STREAM_I: cookie 16, stream part      (initiator → responder)
                            STREAM_R: stream part                 (responder → initiator)

    stream part = message number 4 ‖ cumulative 4 ‖ selective 4 ‖ flags 2 ‖ length 2 ‖ piece

HELLO carries as many bytes as COOKIE, so that no answer is larger than what asked for it.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from ovng.errors import Malformed
from ovng.fields import Frozen, hidden
from ovng.limits import COOKIE_SIZE, STREAM_PIECE


class ControlKind(IntEnum):
    """First byte of a CONTROL payload."""

    HELLO = 1
    COOKIE = 2
    STREAM_I = 3
    STREAM_R = 4


_HELLO, _COOKIE, _STREAM_I, _STREAM_R = (int(kind) for kind in ControlKind)
_PREFIX, _PART = ">BQ", "IIIHH"  # kind, attempt ID; message number, cumulative, selective, flags, length of the piece
_LAYOUTS = {
    _HELLO: struct.Struct(f"{_PREFIX}{COOKIE_SIZE}s"),
    _COOKIE: struct.Struct(f"{_PREFIX}{COOKIE_SIZE}s"),
    _STREAM_I: struct.Struct(f"{_PREFIX}{COOKIE_SIZE}s{_PART}"),
    _STREAM_R: struct.Struct(f"{_PREFIX}{_PART}"),
}


class Hello(Frozen):
    """Asks for a cookie."""

    attempt: int

    def pack(self) -> bytes:
        return _LAYOUTS[_HELLO].pack(_HELLO, self.attempt, bytes(COOKIE_SIZE))


class Cookie(Frozen):
    """Gives a cookie. The responder keeps nothing."""

    attempt: int
    cookie: bytes

    def pack(self) -> bytes:
        return _LAYOUTS[_COOKIE].pack(_COOKIE, self.attempt, self.cookie)


class StreamPart(Frozen):
    """One numbered piece (0 … 1100 bytes) of a TLS stream, with acknowledgements of the other direction.

    `number` 0 is an acknowledgement only. Bit i of `selective` says that message `cumulative` + 1 + i has arrived.
    """

    number: int
    cumulative: int
    selective: int
    piece: bytes = hidden()


class Stream(Frozen):
    """A stream part of one attempt. The initiator shows its cookie each time; the responder has none (None)."""

    attempt: int
    part: StreamPart
    cookie: bytes | None = hidden(default=None)

    def pack(self) -> bytes:
        part, piece = self.part, self.part.piece
        fields = part.number, part.cumulative, part.selective, 0, len(piece)
        if self.cookie is None:
            return _LAYOUTS[_STREAM_R].pack(_STREAM_R, self.attempt, *fields) + piece
        return _LAYOUTS[_STREAM_I].pack(_STREAM_I, self.attempt, self.cookie, *fields) + piece


Control = Hello | Cookie | Stream


def parse_control(payload: bytes) -> Control:
    """Read a CONTROL payload (what follows the datagram's header).

    Raises Malformed: truncated, trailing, control_kind, hello_padding, stream_flags, piece_length (above 1100, none
    under a number, or some under number 0).
    """
    if not payload:
        raise Malformed("truncated")
    kind = payload[0]
    layout = _LAYOUTS.get(kind)
    if layout is None:
        raise Malformed("control_kind")
    if len(payload) < layout.size:
        raise Malformed("truncated")
    fields, rest = layout.unpack_from(payload), payload[layout.size :]
    if kind == _STREAM_I:
        _, attempt, cookie, *part = fields
        return Stream(attempt, _part(rest, *part), cookie)
    if kind == _STREAM_R:
        _, attempt, *part = fields
        return Stream(attempt, _part(rest, *part))
    _, attempt, cookie = fields
    if kind == _HELLO and any(cookie):
        raise Malformed("hello_padding")
    if rest:
        raise Malformed("trailing")
    return Hello(attempt) if kind == _HELLO else Cookie(attempt, cookie)


def _part(piece: bytes, number: int, cumulative: int, selective: int, flags: int, length: int) -> StreamPart:
    if flags:
        raise Malformed("stream_flags")
    if length > STREAM_PIECE or (number == 0) != (length == 0):
        raise Malformed("piece_length")
    if len(piece) != length:
        raise Malformed("truncated" if len(piece) < length else "trailing")
    return StreamPart(number, cumulative, selective, piece)
