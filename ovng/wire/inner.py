"""Messages inside TLS (PROTOCOL 4): type 1, length 2, body.

Only a peer whose certificate was checked can send them, which is no reason to trust their form: every body is read
through bounds, and whatever is not exactly as told raises Malformed. Unknown types and capabilities are skipped, so
that a newer peer can say more.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from ovng.errors import Malformed
from ovng.fields import Frozen, hidden
from ovng.ids import LOCATOR_SIZE, Locator, NodeID
from ovng.limits import INNER_MESSAGE_MAX, KEEPALIVE_MAX, KEEPALIVE_MIN, PROTOCOL_VERSION, SIZE_BASE, TICKET_MAX
from ovng.wire.buffer import Reader

CLOSE_TEXT_MAX = 200
RANDOM_SIZE = 32
_PREFIX = struct.Struct(">BH")  # type, length
_READY = struct.Struct(f">BBQQQIBB{RANDOM_SIZE}sQ")  # version, purpose, sender … random, CRL number
_CAPABILITY = struct.Struct(">HH")  # type, length
_ATTACH = struct.Struct(">BHQH")  # flags, grant, instance, keepalive
_GRANT = struct.Struct(f">BHIQ{LOCATOR_SIZE}sQH")  # status, grant, lifetime, boot ID, observed, CRL number, length
_CAPABILITY_CIPHER, _CAPABILITY_WISH, _CAPABILITY_REACH = 1, 2, 3
_CAPABILITY_SIZES = {_CAPABILITY_CIPHER: 1, _CAPABILITY_WISH: 1, _CAPABILITY_REACH: 2}


class InnerType(IntEnum):
    """The first byte of a message inside TLS."""

    READY = 1
    CLOSE = 2
    CRL = 3
    ATTACH = 4
    GRANT = 5
    PING = 6
    PONG = 7
    REACH = 8


class Purpose(IntEnum):
    """What a handshake is for."""

    SESSION = 1
    ATTACHMENT = 2


class Cipher(IntEnum):
    """AEADs of DATA. READY offers them as bits: 1 << (number - 1)."""

    AES_256_GCM = 1
    CHACHA20_POLY1305 = 2


class CloseReason(IntEnum):
    """Why a session was ended by its other end."""

    SHUTDOWN = 1
    REVOKED = 2
    SUPERSEDED = 3
    CERTIFICATE_CHANGED = 4
    PROTOCOL_ERROR = 5
    UNKNOWN_IDENTITY = 6


class AttachMode(IntEnum):
    """ATTACH flags: a process that starts takes over; one that continues names its grant."""

    START = 1
    CONTINUE = 2


class GrantStatus(IntEnum):
    """Answer to ATTACH."""

    GRANTED = 0
    SUPERSEDED = 1
    REVOKED = 2
    FULL = 3


class Doubling(IntEnum):
    """READY capability 2: of what is sent to a node, what shall carry DUP (PROTOCOL 2)."""

    NONE = 0
    INTERACTIVE = 1
    ALL = 2


class Ready(Frozen):
    """Both ends are proved; this is what the sender brings to the new keys. `random` (32 bytes) is secret."""

    purpose: Purpose
    sender: NodeID
    receiver: NodeID
    session_id: int
    generation: int
    key_id: int
    ciphers: int
    random: bytes = hidden()
    crl_number: int
    preferred: int
    """Preferred cipher's number; 0 = did not say."""
    wish: Doubling = Doubling.NONE
    """Of what is sent to the sender of this, what shall carry DUP."""
    reach: int = SIZE_BASE
    """As in `Reach`."""

    def pack(self) -> bytes:
        body = _READY.pack(
            PROTOCOL_VERSION,
            self.purpose,
            self.sender,
            self.receiver,
            self.session_id,
            self.generation,
            self.key_id,
            self.ciphers,
            self.random,
            self.crl_number,
        )
        body += _CAPABILITY.pack(_CAPABILITY_CIPHER, 1) + bytes([self.preferred])
        if self.wish:
            body += _CAPABILITY.pack(_CAPABILITY_WISH, 1) + bytes([self.wish])
        if self.reach != SIZE_BASE:
            body += _CAPABILITY.pack(_CAPABILITY_REACH, 2) + self.reach.to_bytes(2, "big")
        return _frame(InnerType.READY, body)


class Close(Frozen):
    """Ends the session. `text`: at most 200 printable ASCII characters, for people."""

    reason: CloseReason
    text: str = ""

    def pack(self) -> bytes:
        text = "".join(c if " " <= c <= "~" else "?" for c in self.text[:CLOSE_TEXT_MAX])
        return _frame(InnerType.CLOSE, bytes([self.reason]) + text.encode("ascii"))


class Crl(Frozen):
    """A revocation list newer than the receiver's: DER, at most 65,000 bytes, proved by its signature only."""

    der: bytes = hidden()

    def pack(self) -> bytes:
        return _frame(InnerType.CRL, self.der)


class Attach(Frozen):
    """A node asks for an attachment. `flags` 1 = start, 2 = continue `grant`; `keepalive` in seconds, 5 … 600."""

    flags: int
    grant: int
    instance: int
    keepalive: int

    def pack(self) -> bytes:
        return _frame(InnerType.ATTACH, _ATTACH.pack(self.flags, self.grant, self.instance, self.keepalive))


class Grant(Frozen):
    """The Switch's answer. `lifetime` in seconds; `ticket` (at most 512 bytes) is opaque to the node."""

    status: int
    grant: int
    lifetime: int
    boot_id: int
    observed: Locator
    crl_number: int
    ticket: bytes = hidden(default=b"")

    def pack(self) -> bytes:
        observed, length = self.observed.packed(), len(self.ticket)
        body = _GRANT.pack(self.status, self.grant, self.lifetime, self.boot_id, observed, self.crl_number, length)
        return _frame(InnerType.GRANT, body + self.ticket)


class Ping(Frozen):
    """Asks for a Pong with the same token."""

    token: int

    def pack(self) -> bytes:
        return _frame(InnerType.PING, self.token.to_bytes(8, "big"))


class Pong(Frozen):
    """Answers a Ping."""

    token: int

    def pack(self) -> bytes:
        return _frame(InnerType.PONG, self.token.to_bytes(8, "big"))


class Reach(Frozen):
    """Datagrams of at most `size` bytes (1,232 … 65,535) reach the sender of this in one piece, from now on."""

    size: int

    def pack(self) -> bytes:
        return _frame(InnerType.REACH, self.size.to_bytes(2, "big"))


Inner = Ready | Close | Crl | Attach | Grant | Ping | Pong | Reach


def parse_inner(kind: int, body: bytes) -> Inner | None:
    """Read one message; None for a type this version does not know. Raises Malformed."""
    try:
        known = InnerType(kind)
    except ValueError:
        return None
    reader = Reader(body)
    message: Inner
    match known:
        case InnerType.READY:
            message = _pull_ready(reader)
        case InnerType.CLOSE:
            message = _pull_close(reader)
        case InnerType.CRL:
            message = Crl(reader.rest())
        case InnerType.ATTACH:
            message = _pull_attach(reader)
        case InnerType.GRANT:
            message = _pull_grant(reader)
        case InnerType.PING:
            message = Ping(reader.u64())
        case InnerType.PONG:
            message = Pong(reader.u64())
        case InnerType.REACH:
            message = Reach(_reach(reader.u16()))
    reader.end()
    return message


class InnerStream:
    """Cuts the plaintext stream of one TLS connection into messages."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Add plaintext; the (type, body) of every message that is now complete.

        Holds at most one unfinished message. Raises Malformed("inner_length") for one above 65,000 bytes.
        """
        self._data += data
        messages: list[tuple[int, bytes]] = []
        start = 0
        while len(self._data) - start >= _PREFIX.size:
            kind, length = _PREFIX.unpack_from(self._data, start)
            if length > INNER_MESSAGE_MAX:
                raise Malformed("inner_length")
            end = start + _PREFIX.size + length
            if end > len(self._data):
                break
            messages.append((kind, bytes(self._data[start + _PREFIX.size : end])))
            start = end
        del self._data[:start]
        return messages


def _frame(kind: InnerType, body: bytes) -> bytes:
    if len(body) > INNER_MESSAGE_MAX:
        raise OverflowError(f"{kind.name} of {len(body)} bytes")
    return _PREFIX.pack(kind, len(body)) + body


def _pull_ready(reader: Reader) -> Ready:
    version, number, sender, receiver, session_id, generation, key_id, ciphers, random, crl = reader.fields(_READY)
    if version != PROTOCOL_VERSION:
        raise Malformed("ready_version")
    try:
        purpose = Purpose(number)
    except ValueError:
        raise Malformed("ready_purpose") from None
    ids = NodeID(sender), NodeID(receiver)
    preferred, wish, reach = _pull_capabilities(reader)
    return Ready(purpose, *ids, session_id, generation, key_id, ciphers, random, crl, preferred, wish, reach)


def _pull_capabilities(reader: Reader) -> tuple[int, Doubling, int]:
    """(preferred cipher, wish, reach); 0, 0 and 1,232 where the sender did not say."""
    told: dict[int, int] = {}
    while len(reader):
        capability, length = reader.fields(_CAPABILITY)
        value = reader.take(length)
        if capability in _CAPABILITY_SIZES:
            if len(value) != _CAPABILITY_SIZES[capability] or capability in told:
                raise Malformed("ready_capability")
            told[capability] = int.from_bytes(value, "big")
    reach = _reach(told.get(_CAPABILITY_REACH, SIZE_BASE))
    try:
        return told.get(_CAPABILITY_CIPHER, 0), Doubling(told.get(_CAPABILITY_WISH, 0)), reach
    except ValueError:
        raise Malformed("ready_capability") from None


def _reach(size: int) -> int:
    if size < SIZE_BASE:
        raise Malformed("reach")
    return size


def _pull_close(reader: Reader) -> Close:
    try:
        reason = CloseReason(reader.u8())
    except ValueError:
        raise Malformed("close_reason") from None
    text = reader.rest()
    if len(text) > CLOSE_TEXT_MAX or not all(0x20 <= byte <= 0x7E for byte in text):
        raise Malformed("close_text")
    return Close(reason, text.decode("ascii"))


def _pull_attach(reader: Reader) -> Attach:
    message = Attach(*reader.fields(_ATTACH))
    if message.flags not in (AttachMode.START, AttachMode.CONTINUE):
        raise Malformed("attach_flags")
    if not KEEPALIVE_MIN <= message.keepalive <= KEEPALIVE_MAX:
        raise Malformed("attach_keepalive")
    return message


def _pull_grant(reader: Reader) -> Grant:
    number, grant, lifetime, boot_id, observed, crl_number, length = reader.fields(_GRANT)
    try:
        status = GrantStatus(number)
    except ValueError:
        raise Malformed("grant_status") from None
    if length > TICKET_MAX:
        raise Malformed("grant_ticket")
    return Grant(status, grant, lifetime, boot_id, Locator.unpack(observed), crl_number, reader.take(length))
