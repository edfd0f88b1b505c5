"""The 28-byte header that begins every datagram (PROTOCOL 1). Forwarding reads its first 20 bytes and nothing else.

 0        1        2        4                12               20               28
+--------+--------+--------+----------------+----------------+----------------+-----------+
|ver|type| key ID | flags  | dst node ID    | src node ID    | packet number  | payload … |
+--------+--------+--------+----------------+----------------+----------------+-----------+
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from ovng.errors import Malformed
from ovng.ids import NodeID
from ovng.limits import HEADER_SIZE, MAX_DATAGRAM, PROTOCOL_VERSION

FLAG_DUP = 0x0001
FLAG_CLUSTER = 0x0002
FLAG_SPARSE = 0x0004
KNOWN_FLAGS = FLAG_DUP | FLAG_CLUSTER | FLAG_SPARSE

_LAYOUT = struct.Struct(">BBHQQQ")
assert _LAYOUT.size == HEADER_SIZE


class PacketType(IntEnum):
    """The low four bits of the first byte."""

    DATA = 1
    CONTROL = 2
    REPORT = 3
    PRIVATE = 4


_TYPES = {int(kind): kind for kind in PacketType}


class Header(NamedTuple):
    """One header. `number` is the AEAD counter of DATA, the sequence of REPORT, 0 otherwise."""

    type: PacketType
    key_id: int
    flags: int
    dst: NodeID
    src: NodeID
    number: int

    def pack(self) -> bytes:
        """28 bytes. Raises struct.error when a field is out of its range (a mistake of ours)."""
        first = PROTOCOL_VERSION << 4 | self.type
        return _LAYOUT.pack(first, self.key_id, self.flags, self.dst, self.src, self.number)


def parse_header(datagram: bytes) -> Header:
    """Read and check the header of a whole datagram.

    Raises Malformed: too_short, too_long, version (the sender is newer, or no ovng at all), type, flags, src_zero,
    src_is_dst.
    """
    if len(datagram) < HEADER_SIZE:
        raise Malformed("too_short")
    if len(datagram) > MAX_DATAGRAM:
        raise Malformed("too_long")
    first, key_id, flags, dst, src, number = _LAYOUT.unpack_from(datagram)
    if first >> 4 != PROTOCOL_VERSION:
        raise Malformed("version")
    try:
        kind = _TYPES[first & 0x0F]
    except KeyError:
        raise Malformed("type") from None
    if flags & ~KNOWN_FLAGS:
        raise Malformed("flags")
    if src == 0:
        raise Malformed("src_zero")
    if src == dst:
        raise Malformed("src_is_dst")
    return Header(kind, key_id, flags, NodeID(dst), NodeID(src), number)
