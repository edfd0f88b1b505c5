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
from ovng.wire.buffer import Reader

_PREFIX = struct.Struct(">BQ")  # kind, attempt ID
_PART = struct.Struct(">IIIHH")  # message number, cumulative, selective, flags, length of the piece


class ControlKind(IntEnum):
    """First byte of a CONTROL payload."""

    HELLO = 1
    COOKIE = 2
    STREAM_I = 3
    STREAM_R = 4


_KINDS = {int(kind): kind for kind in ControlKind}


class Hello(Frozen):
    """Asks for a cookie."""

    attempt: int

    def pack(self) -> bytes:
        return _PREFIX.pack(ControlKind.HELLO, self.attempt) + bytes(COOKIE_SIZE)


class Cookie(Frozen):
    """Gives a cookie. The responder keeps nothing."""

    attempt: int
    cookie: bytes

    def pack(self) -> bytes:
        return _PREFIX.pack(ControlKind.COOKIE, self.attempt) + self.cookie


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
        kind = ControlKind.STREAM_R if self.cookie is None else ControlKind.STREAM_I
        part, piece = self.part, self.part.piece
        layout = _PART.pack(part.number, part.cumulative, part.selective, 0, len(piece))
        return b"".join((_PREFIX.pack(kind, self.attempt), self.cookie or b"", layout, piece))


Control = Hello | Cookie | Stream


def parse_control(payload: bytes) -> Control:
    """Read a CONTROL payload (what follows the datagram's header).

    Raises Malformed: truncated, trailing, control_kind, hello_padding, stream_flags, piece_length (above 1100, none
    under a number, or some under number 0).
    """
    reader = Reader(payload)
    number, attempt = reader.fields(_PREFIX)
    kind = _KINDS.get(number)
    if kind is None:
        raise Malformed("control_kind")
    message: Control
    if kind is ControlKind.HELLO:
        if any(reader.take(COOKIE_SIZE)):
            raise Malformed("hello_padding")
        message = Hello(attempt)
    elif kind is ControlKind.COOKIE:
        message = Cookie(attempt, reader.take(COOKIE_SIZE))
    else:
        cookie = reader.take(COOKIE_SIZE) if kind is ControlKind.STREAM_I else None
        message = Stream(attempt, _pull_part(reader), cookie)
    reader.end()
    return message


def _pull_part(reader: Reader) -> StreamPart:
    number, cumulative, selective, flags, length = reader.fields(_PART)
    if flags:
        raise Malformed("stream_flags")
    if length > STREAM_PIECE or (number == 0) != (length == 0):
        raise Malformed("piece_length")
    return StreamPart(number, cumulative, selective, reader.take(length))
