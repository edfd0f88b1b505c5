"""Messages inside TLS (PROTOCOL 4): type 1, length 2, body.

Only a peer whose certificate was checked can send them, which is no reason to trust their form: every body is read
through bounds, and whatever is not exactly as told raises Malformed. Unknown types and capabilities are skipped, so
that a newer peer can say more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from ovng.errors import Malformed
from ovng.ids import LOCATOR_SIZE, Locator, NodeID
from ovng.limits import INNER_MESSAGE_MAX, KEEPALIVE_MAX, KEEPALIVE_MIN, PROTOCOL_VERSION, TICKET_MAX
from ovng.wire.buffer import Reader, Writer

CLOSE_TEXT_MAX = 200
RANDOM_SIZE = 32
_PREFIX_SIZE = 3
_CAPABILITY_CIPHER = 1


class InnerType(IntEnum):
    """The first byte of a message inside TLS."""

    READY = 1
    CLOSE = 2
    CRL = 3
    ATTACH = 4
    GRANT = 5
    PING = 6
    PONG = 7


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


@dataclass(frozen=True, slots=True)
class Ready:
    """Both ends are proved; this is what the sender brings to the new keys. `random` (32 bytes) is secret."""

    purpose: Purpose
    sender: NodeID
    receiver: NodeID
    session_id: int
    generation: int
    key_id: int
    ciphers: int
    random: bytes = field(repr=False)
    crl_number: int
    preferred: int
    """Preferred cipher's number; 0 = did not say."""

    def pack(self) -> bytes:
        writer = Writer().u8(PROTOCOL_VERSION).u8(self.purpose).u64(self.sender).u64(self.receiver)
        writer.u64(self.session_id).u32(self.generation).u8(self.key_id).u8(self.ciphers)
        writer.put(self.random).u64(self.crl_number)
        return _frame(InnerType.READY, writer.u16(_CAPABILITY_CIPHER).u16(1).u8(self.preferred))


@dataclass(frozen=True, slots=True)
class Close:
    """Ends the session. `text`: at most 200 printable ASCII characters, for people."""

    reason: CloseReason
    text: str = ""

    def pack(self) -> bytes:
        text = "".join(c if " " <= c <= "~" else "?" for c in self.text[:CLOSE_TEXT_MAX])
        return _frame(InnerType.CLOSE, Writer().u8(self.reason).put(text.encode("ascii")))


@dataclass(frozen=True, slots=True)
class Crl:
    """A revocation list newer than the receiver's: DER, at most 65,000 bytes, proved by its signature only."""

    der: bytes = field(repr=False)

    def pack(self) -> bytes:
        return _frame(InnerType.CRL, Writer().put(self.der))


@dataclass(frozen=True, slots=True)
class Attach:
    """A node asks for an attachment. `flags` 1 = start, 2 = continue `grant`; `keepalive` in seconds, 5 … 600."""

    flags: int
    grant: int
    instance: int
    keepalive: int

    def pack(self) -> bytes:
        writer = Writer().u8(self.flags).u16(self.grant).u64(self.instance).u16(self.keepalive)
        return _frame(InnerType.ATTACH, writer)


@dataclass(frozen=True, slots=True)
class Grant:
    """The Switch's answer. `lifetime` in seconds; `ticket` (at most 512 bytes) is opaque to the node."""

    status: int
    grant: int
    lifetime: int
    boot_id: int
    observed: Locator
    crl_number: int
    ticket: bytes = field(repr=False, default=b"")

    def pack(self) -> bytes:
        writer = Writer().u8(self.status).u16(self.grant).u32(self.lifetime).u64(self.boot_id)
        writer.put(self.observed.packed()).u64(self.crl_number).u16(len(self.ticket)).put(self.ticket)
        return _frame(InnerType.GRANT, writer)


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a Pong with the same token."""

    token: int

    def pack(self) -> bytes:
        return _frame(InnerType.PING, Writer().u64(self.token))


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a Ping."""

    token: int

    def pack(self) -> bytes:
        return _frame(InnerType.PONG, Writer().u64(self.token))


Inner = Ready | Close | Crl | Attach | Grant | Ping | Pong


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
        while len(self._data) - start >= _PREFIX_SIZE:
            kind = self._data[start]
            length = int.from_bytes(self._data[start + 1 : start + _PREFIX_SIZE], "big")
            if length > INNER_MESSAGE_MAX:
                raise Malformed("inner_length")
            end = start + _PREFIX_SIZE + length
            if end > len(self._data):
                break
            messages.append((kind, bytes(self._data[start + _PREFIX_SIZE : end])))
            start = end
        del self._data[:start]
        return messages


def _frame(kind: InnerType, body: Writer) -> bytes:
    if len(body) > INNER_MESSAGE_MAX:
        raise OverflowError(f"{kind.name} of {len(body)} bytes")
    return Writer().u8(kind).u16(len(body)).put(body.bytes()).bytes()


def _pull_ready(reader: Reader) -> Ready:
    if reader.u8() != PROTOCOL_VERSION:
        raise Malformed("ready_version")
    try:
        purpose = Purpose(reader.u8())
    except ValueError:
        raise Malformed("ready_purpose") from None
    sender, receiver = NodeID(reader.u64()), NodeID(reader.u64())
    session_id, generation, key_id, ciphers = reader.u64(), reader.u32(), reader.u8(), reader.u8()
    random, crl_number = reader.take(RANDOM_SIZE), reader.u64()
    preferred = 0
    while len(reader):
        capability, value = reader.u16(), reader.take(reader.u16())
        if capability == _CAPABILITY_CIPHER:
            if len(value) != 1 or preferred:
                raise Malformed("ready_capability")
            preferred = value[0]
    return Ready(purpose, sender, receiver, session_id, generation, key_id, ciphers, random, crl_number, preferred)


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
    message = Attach(reader.u8(), reader.u16(), reader.u64(), reader.u16())
    if message.flags not in (AttachMode.START, AttachMode.CONTINUE):
        raise Malformed("attach_flags")
    if not KEEPALIVE_MIN <= message.keepalive <= KEEPALIVE_MAX:
        raise Malformed("attach_keepalive")
    return message


def _pull_grant(reader: Reader) -> Grant:
    try:
        status = GrantStatus(reader.u8())
    except ValueError:
        raise Malformed("grant_status") from None
    grant, lifetime, boot_id = reader.u16(), reader.u32(), reader.u64()
    observed, crl_number = Locator.unpack(reader.take(LOCATOR_SIZE)), reader.u64()
    length = reader.u16()
    if length > TICKET_MAX:
        raise Malformed("grant_ticket")
    return Grant(status, grant, lifetime, boot_id, observed, crl_number, reader.take(length))
