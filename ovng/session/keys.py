"""Key derivation (PROTOCOL 4): HKDF-SHA-256 (RFC 5869) over one random from each end, exchanged inside TLS.

The standard library has no TLS exporter, so each end sends 32 random bytes in its READY. Everything that must not be
mixed up goes into the context: both IDs, session, generation, purpose. Labels end with a zero byte, so that none is
the beginning of another.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ovng.fields import Frozen, hidden
from ovng.hashes import hmac_sha256
from ovng.ids import NodeID
from ovng.wire.inner import Cipher

KEY_SIZE, IV_SIZE, MASTER_SIZE = 32, 12, 32
_SALT = b"ovng 1"
_HASH_SIZE = 32
_AES_BIT, _CHACHA_BIT = (1 << cipher - 1 for cipher in (Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305))
_CONTEXT = struct.Struct(">QQQIB")  # client ID, server ID, session ID, generation, purpose


def hkdf_extract(salt: bytes, material: bytes) -> bytes:
    """RFC 5869, 2.2."""
    return hmac_sha256(salt or bytes(_HASH_SIZE), material)


def hkdf_expand(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, 2.3; at most 8160 bytes."""
    if length > 255 * _HASH_SIZE:
        raise ValueError("HKDF gives at most 8160 bytes")
    output = block = b""
    for counter in range(1, -(-length // _HASH_SIZE) + 1):
        block = hmac_sha256(secret, block + info + bytes([counter]))
        output += block
    return output[:length]


class KeyContext(NamedTuple):
    """What the keys are for, as both ends know it."""

    client: NodeID
    server: NodeID
    session_id: int
    generation: int
    purpose: int

    def pack(self) -> bytes:
        return _CONTEXT.pack(*self)


class DataKey(Frozen):
    """One direction of one generation."""

    key: bytes = hidden()
    iv: bytes = hidden()


class Secrets(Frozen):
    """What both ends share after READY."""

    _secret: bytes = hidden()
    _context: bytes = hidden()

    @classmethod
    def of(cls, client_random: bytes, server_random: bytes, context: KeyContext) -> Secrets:
        """From the randoms (32 bytes each) of the two READYs."""
        return cls(hkdf_extract(_SALT, client_random + server_random), context.pack())

    def data(self, *, from_client: bool) -> DataKey:
        """The key for DATA of one direction."""
        output = self._expand(b"data client" if from_client else b"data server", KEY_SIZE + IV_SIZE)
        return DataKey(output[:KEY_SIZE], output[KEY_SIZE:])

    @property
    def report_master(self) -> bytes:
        """32 bytes from which report keys are derived (attachment)."""
        return self._expand(b"report", MASTER_SIZE)

    @property
    def private_master(self) -> bytes:
        """32 bytes from which the keys of PRIVATE are derived (attachment)."""
        return self._expand(b"private", MASTER_SIZE)

    def _expand(self, label: bytes, length: int) -> bytes:
        return hkdf_expand(self._secret, label + b"\0" + self._context, length)


def master_keys(master: bytes) -> tuple[bytes, bytes]:
    """(up, down) of a report or private master: node → Switch, Switch → node; 32 bytes each."""
    return hkdf_expand(master, b"up", KEY_SIZE), hkdf_expand(master, b"down", KEY_SIZE)


def agree_cipher(client_offers: int, client_prefers: int, server_offers: int, server_prefers: int) -> int | None:
    """The cipher of a session from both READYs (bits, and the number of the preferred one); None = nothing in common.

    ChaCha20-Poly1305 costs a machine with AES instructions less than AES costs one without, so one vote decides.
    """
    common = client_offers & server_offers
    chacha = common & _CHACHA_BIT
    if chacha and Cipher.CHACHA20_POLY1305 in (client_prefers, server_prefers):
        return Cipher.CHACHA20_POLY1305
    if common & _AES_BIT:
        return Cipher.AES_256_GCM
    return Cipher.CHACHA20_POLY1305 if chacha else None
