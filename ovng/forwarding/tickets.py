"""Tickets: an attachment, sealed by the Switch for itself and kept by the node (PROTOCOL 6).

After a restart the Switch knows nobody. A node's next report brings its ticket, and with it everything the Switch
needs to know it again; only the private keys are missing, which no ticket holds. Tickets are sealed under keys that
are replaced daily and outlive their last ticket; they are all that must survive a restart.

Issue and expiry are wall-clock seconds: nothing else means the same before and after a restart.
"""

from __future__ import annotations

import ipaddress

from ovng.errors import Malformed
from ovng.fields import Fields, Frozen, hidden
from ovng.forwarding.store import AES_256_GCM, AeadFactory, Random
from ovng.ids import NodeID, Prefix
from ovng.limits import GRANT_LIFETIME, TAG_SIZE, TICKET_KEY_ROTATION, TICKET_MAX, TICKET_MAX_PREFIXES
from ovng.wire.buffer import Reader, Writer

_VERSION = 1
_NONCE_SIZE = 12
_KEY_SIZE = 32
_KEYS_MAX = 16
_SERIAL_MAX = 20  # RFC 5280, 4.1.2.2


class Ticket(Frozen):
    """What a ticket holds. `issued` and `expires` in wall seconds."""

    node: NodeID
    grant: int
    issued: int
    expires: int
    instance: int
    serial: int
    report_master: bytes = hidden()
    prefixes: tuple[Prefix, ...]
    cluster: str | None = None

    def pack(self) -> bytes:
        serial = self.serial.to_bytes((self.serial.bit_length() + 7) // 8, "big")
        writer = Writer().u8(_VERSION).u64(self.node).u16(self.grant).u64(self.issued).u64(self.expires)
        writer.u64(self.instance).u8(len(serial)).put(serial).put(self.report_master).u8(len(self.prefixes))
        for prefix in self.prefixes:
            writer.u8(prefix.version).u8(prefix.prefixlen).put(prefix.network_address.packed)
        cluster = (self.cluster or "").encode("ascii")
        return writer.u8(len(cluster)).put(cluster).bytes()


def parse_ticket(plaintext: bytes) -> Ticket:
    """Read an opened ticket; it is our own, but perhaps of another version. Raises Malformed."""
    reader = Reader(plaintext)
    if reader.u8() != _VERSION:
        raise Malformed("ticket_version")
    node, grant, issued, expires, instance = (
        NodeID(reader.u64()),
        reader.u16(),
        reader.u64(),
        reader.u64(),
        reader.u64(),
    )
    serial = int.from_bytes(reader.take(reader.u8()), "big")
    master = reader.take(_KEY_SIZE)
    prefixes = tuple(_pull_prefix(reader) for _ in range(reader.u8()))
    try:
        cluster = reader.take(reader.u8()).decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("ticket_cluster") from None
    reader.end()
    return Ticket(node, grant, issued, expires, instance, serial, master, prefixes, cluster or None)


def _pull_prefix(reader: Reader) -> Prefix:
    family, length = reader.u8(), reader.u8()
    try:
        return ipaddress.ip_network((reader.take(4 if family == 4 else 16), length))
    except ValueError:
        raise Malformed("ticket_prefix") from None


class TicketKey(Fields):
    """One key; `created` in wall seconds."""

    number: int
    created: int
    key: bytes = hidden()


class TicketKeys:
    """Seals and opens tickets under the newest of a few keys."""

    def __init__(self, switch_id: NodeID, seal: AeadFactory, random: Random) -> None:
        self._aad = b"ovng ticket" + switch_id.packed()
        self._factory = seal
        self._random = random
        self._keys: tuple[TicketKey, ...] = ()
        self.packed: tuple[tuple[int, bytes], ...] = ()
        """Number and key of each; another tuple whenever they have changed."""
        self.changed = False
        """True when `dump` gives something new, which must be stored before tickets of it are worth anything."""

    def rotate(self, wall: float) -> None:
        """Make a new key when the newest is a day old, and erase those whose last ticket has expired."""
        newest = self._keys[-1] if self._keys else None
        if newest is None or not newest.created <= wall < newest.created + TICKET_KEY_ROTATION:
            number = 1 + max((key.number for key in self._keys), default=int.from_bytes(self._random(3), "big"))
            self._use((*self._keys, TicketKey(number % (1 << 32), int(wall), self._random(_KEY_SIZE))))
            self.changed = True
        kept = tuple(key for key in self._keys if wall < key.created + TICKET_KEY_ROTATION + GRANT_LIFETIME)
        if len(kept) != len(self._keys) or len(kept) > _KEYS_MAX:
            self._use(kept[-_KEYS_MAX:])
            self.changed = True

    def seal(self, ticket: Ticket, wall: float) -> bytes:
        """At most 512 bytes; b"" when the attachment does not fit (then its node attaches by TLS after a restart)."""
        self.rotate(wall)
        key = self._keys[-1]
        if len(ticket.prefixes) > TICKET_MAX_PREFIXES or ticket.serial.bit_length() > 8 * _SERIAL_MAX:
            return b""
        nonce = self._random(_NONCE_SIZE)
        sealed = self._factory(AES_256_GCM, key.key).seal(nonce, self._aad, ticket.pack())
        data = Writer().u32(key.number).put(nonce).put(sealed).bytes()
        return data if len(data) <= TICKET_MAX else b""

    def open_untrusted(self, data: bytes) -> Ticket:
        """Read a ticket that somebody shows. Raises Malformed: ticket_key (unknown), ticket_forged, and others."""
        reader = Reader(data)
        number, nonce, sealed = reader.u32(), reader.take(_NONCE_SIZE), reader.rest()
        if len(sealed) < TAG_SIZE:
            raise Malformed("truncated")
        key = next((key for key in self._keys if key.number == number), None)
        if key is None:
            raise Malformed("ticket_key")
        plaintext = self._factory(AES_256_GCM, key.key).open(nonce, self._aad, sealed)
        if plaintext is None:
            raise Malformed("ticket_forged")
        return parse_ticket(plaintext)

    def dump(self) -> bytes:
        """The keys, to be kept in a file that nobody else can read. Clears `changed`."""
        self.changed = False
        writer = Writer().u8(_VERSION).u8(len(self._keys))
        for key in self._keys:
            writer.u32(key.number).u64(key.created).put(key.key)
        return writer.bytes()

    def load(self, data: bytes) -> None:
        """Take up what `dump` gave before a restart. Raises Malformed."""
        reader = Reader(data)
        if reader.u8() != _VERSION:
            raise Malformed("ticket_keys_version")
        count = reader.u8()
        if count > _KEYS_MAX:
            raise Malformed("ticket_keys_count")
        keys = tuple(TicketKey(reader.u32(), reader.u64(), reader.take(_KEY_SIZE)) for _ in range(count))
        reader.end()
        self._use(keys)

    def _use(self, keys: tuple[TicketKey, ...]) -> None:
        self._keys, self.packed = keys, tuple((key.number, key.key) for key in keys)
