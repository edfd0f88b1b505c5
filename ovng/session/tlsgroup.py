"""The key exchange group of a TLS 1.3 handshake, read from the ServerHello that passes by.

The standard library does not tell it before Python 3.15, and users want to know whether a session resists a later
quantum computer. The ServerHello is plaintext (RFC 8446, 4.1.3): records of type 22, message type 2, extension 51
(key_share) names the group. A HelloRetryRequest is a ServerHello with a fixed random; the real one follows it.

For display only: it is read from bytes that TLS has not judged yet, and whatever is odd is "unknown".
"""

from __future__ import annotations

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

_WATCHED_MAX = 8_192  # a ServerHello with a hybrid key share has about 1,200 bytes
_RECORD_PREFIX, _MESSAGE_PREFIX = 5, 4
_HANDSHAKE, _CHANGE_CIPHER_SPEC, _SERVER_HELLO, _KEY_SHARE = 22, 20, 2, 51
_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446, 4.1.3


class GroupWatcher:
    """Sees the server's bytes in order, until it knows or gives up."""

    __slots__ = ("_data", "_messages", "done", "name")

    def __init__(self) -> None:
        self.name = UNKNOWN_GROUP
        self.done = False
        self._data = bytearray()
        self._messages = bytearray()

    def see(self, data: bytes) -> None:
        """The next bytes that the server sent."""
        if self.done or not data:
            return
        self._data += data
        try:
            while not self.done and self._next_record():
                while not self.done and self._next_message():
                    pass
        except Malformed:
            self.done = True
        if len(self._data) + len(self._messages) > _WATCHED_MAX:
            self.done = True
        if self.done:
            self._data.clear()
            self._messages.clear()

    def _next_record(self) -> bool:
        """Move the body of one whole handshake record to the messages."""
        if len(self._data) < _RECORD_PREFIX:
            return False
        end = _RECORD_PREFIX + int.from_bytes(self._data[3:5], "big")
        if len(self._data) < end:
            return False
        kind, body = self._data[0], self._data[_RECORD_PREFIX:end]
        del self._data[:end]
        if kind == _HANDSHAKE:
            self._messages += body
        elif kind != _CHANGE_CIPHER_SPEC:
            raise Malformed("tls_record")  # encrypted already, or an alert: there will be no ServerHello
        return True

    def _next_message(self) -> bool:
        if len(self._messages) < _MESSAGE_PREFIX:
            return False
        end = _MESSAGE_PREFIX + int.from_bytes(self._messages[1:4], "big")
        if len(self._messages) < end:
            return False
        if self._messages[0] != _SERVER_HELLO:
            raise Malformed("tls_message")
        body = bytes(self._messages[_MESSAGE_PREFIX:end])
        del self._messages[:end]
        group = _selected_group(body)
        if group is not None:
            self.name = GROUP_NAMES.get(group, f"0x{group:04x}")
            self.done = True
        return True


def _selected_group(hello: bytes) -> int | None:
    """The group of a ServerHello; None for a HelloRetryRequest. Raises Malformed."""
    reader = Reader(hello)
    reader.u16()  # legacy version
    if reader.take(32) == _RETRY_RANDOM:
        return None
    reader.take(reader.u8())  # session ID echo
    reader.take(3)  # cipher suite, compression
    extensions = Reader(reader.take(reader.u16()))
    while len(extensions):
        kind, value = extensions.u16(), Reader(extensions.take(extensions.u16()))
        if kind == _KEY_SHARE:
            return value.u16()
    raise Malformed("no_key_share")
