"""The key exchange group of a TLS 1.3 handshake, read from the ServerHello that has passed by.

The standard library does not tell it before Python 3.15, and users want to know whether a session resists a later
quantum computer. The ServerHello is plaintext (RFC 8446, 4.1.3): records of type 22, message type 2, extension 51
(key_share) names the group. A HelloRetryRequest is a ServerHello with a fixed random; the real one follows it.

For display only: whatever is odd is "unknown".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ovng.errors import Malformed
from ovng.wire.buffer import Reader

UNKNOWN_GROUP = "unknown"
GROUP_NAMES = {  # IANA TLS Supported Groups
    0x0017: "P-256",
    0x0018: "P-384",
    0x0019: "P-521",
    0x001D: "X25519",
    0x001E: "X448",
    0x11EB: "SecP256r1MLKEM768",
    0x11EC: "X25519MLKEM768",
    0x11ED: "SecP384r1MLKEM1024",
}

WATCHED_MAX = 8_192  # a ServerHello with a hybrid key share has about 1,200 bytes
_RECORD = struct.Struct(">BHH")  # type, legacy version, length
_MESSAGE_PREFIX = 4  # type 1, length 3
_HELLO = struct.Struct(">H32sB")  # legacy version, random, length of the session ID echo
_EXTENSION = struct.Struct(">HH")  # type, length
_HANDSHAKE, _CHANGE_CIPHER_SPEC, _SERVER_HELLO, _KEY_SHARE = 22, 20, 2, 51
_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446, 4.1.3


def group_name(stream: bytes) -> str:
    """The group's name, from the first bytes that the server sent (WATCHED_MAX will do); "unknown" if they say none."""
    try:
        for hello in _server_hellos(stream):
            group = _selected_group(hello)
            if group is not None:
                return GROUP_NAMES.get(group, f"0x{group:04x}")
    except Malformed:
        pass  # encrypted already, an alert, or cut off
    return UNKNOWN_GROUP


def _server_hellos(stream: bytes) -> Iterator[bytes]:
    """Bodies of the messages that the plaintext records hold: one, or two after a retry. Raises Malformed."""
    records, messages = Reader(stream), b""
    while True:
        while len(messages) >= _MESSAGE_PREFIX:
            end = _MESSAGE_PREFIX + int.from_bytes(messages[1:4], "big")
            if len(messages) < end:
                break
            if messages[0] != _SERVER_HELLO:
                raise Malformed("tls_message")
            yield messages[_MESSAGE_PREFIX:end]
            messages = messages[end:]
        kind, _, length = records.fields(_RECORD)
        body = records.take(length)
        if kind == _HANDSHAKE:
            messages += body
        elif kind != _CHANGE_CIPHER_SPEC:
            raise Malformed("tls_record")


def _selected_group(hello: bytes) -> int | None:
    """The group of a ServerHello; None for a HelloRetryRequest. Raises Malformed."""
    reader = Reader(hello)
    _, random, echo = reader.fields(_HELLO)
    if random == _RETRY_RANDOM:
        return None
    reader.take(echo + 3)  # session ID echo, cipher suite, compression
    extensions = Reader(reader.take(reader.u16()))
    while len(extensions):
        kind, length = extensions.fields(_EXTENSION)
        value = extensions.take(length)
        if kind == _KEY_SHARE:
            return Reader(value).u16()
    raise Malformed("no_key_share")
