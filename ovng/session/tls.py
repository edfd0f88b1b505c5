"""TLS over memory: `ssl.SSLObject` between two BIOs, with ovng's messages as plaintext.

Theory
------
An SSLObject never blocks. It is called again whenever bytes have arrived, and says "want read" until it has enough;
writing to a memory BIO always succeeds. After each `feed` the object is driven as far as it goes: first the
handshake, then reading. What it wants to send is in the outgoing BIO afterwards, also when it failed, since then the
alert that tells the peer why is there.

In TLS 1.3 the client's handshake is done before the server has judged the client's certificate. The refusal comes as
an alert while reading, which is why nothing is believed before READY.

Whatever OpenSSL raises becomes one `ChannelBroken` with a reason from a fixed set. All buffers are bounded: what the
peer may send before it is proved, what the object may want to send, and one inner message.
"""

from __future__ import annotations

import ssl

from ovng.errors import Malformed
from ovng.limits import INNER_MESSAGE_MAX, STREAM_BUFFER
from ovng.session.tlsgroup import UNKNOWN_GROUP, WATCHED_MAX, group_name
from ovng.wire.inner import InnerStream

_READ_SIZE = 16_384
_CERT_REVOKED = 23  # X509_V_ERR_CERT_REVOKED
_OUTGOING_MAX = STREAM_BUFFER + 4 * INNER_MESSAGE_MAX

# Alerts by which the peer says that it does not accept us: another try will not help.
REVOKED_ALERT = "sslv3_alert_certificate_revoked"  # as `detail`
_REFUSALS = {
    "TLSV1_ALERT_UNKNOWN_CA",
    "TLSV1_ALERT_ACCESS_DENIED",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
}


class ChannelBroken(Exception):
    """This TLS connection is over. `reason` is a counter's name; `detail` is OpenSSL's word for it, for people.

    `lasting`: the certificates do not suit each other, so that another try with the same ones will end the same.
    `misuse`: TLS works, what the peer says through it does not.
    """

    def __init__(self, reason: str, detail: str = "", *, lasting: bool = False, misuse: bool = False) -> None:
        self.reason, self.detail, self.lasting, self.misuse = reason, detail, lasting, misuse
        super().__init__(f"{reason}: {detail}" if detail else reason)


class TlsChannel:
    """One TLS connection. The initiator of an attempt is the TLS client."""

    def __init__(self, context: ssl.SSLContext, server_side: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.sslobj = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self.handshake_done = False
        self._server_side = server_side
        self._heard = b""  # the beginning of what the server sent, until somebody asks for the group it names
        self._group = UNKNOWN_GROUP
        self._fed = 0
        self._inner = InnerStream()
        self._messages: list[tuple[int, bytes]] = []
        self._broken: ChannelBroken | None = None

    def start(self) -> None:
        """Let the client say its ClientHello. Raises ChannelBroken."""
        self._drive()

    def feed(self, data: bytes) -> None:
        """Bytes of the peer's stream, in order. Raises ChannelBroken; `take()` may then hold an alert to send."""
        if self._broken is not None:
            raise self._broken
        if not self.handshake_done:
            self._fed += len(data)
            if self._fed > STREAM_BUFFER:
                self._break(ChannelBroken("tls_too_long"))
            if not self._server_side:
                self._hear(data)
        self._incoming.write(data)
        self._drive()

    def send(self, message: bytes) -> None:
        """Encrypt one packed inner message. Raises ChannelBroken."""
        if self._broken is not None:
            raise self._broken
        try:
            self.sslobj.write(message)
        except ssl.SSLError as error:
            self._break(_explain(error))
        if self._outgoing.pending > _OUTGOING_MAX:
            self._break(ChannelBroken("tls_outgoing"))

    @property
    def outgoing(self) -> int:
        """How many bytes `take` would give."""
        return self._outgoing.pending

    def take(self) -> bytes:
        """Bytes for the peer's stream."""
        data = self._outgoing.read()
        if self._server_side and not self.handshake_done:
            self._hear(data)
        return data

    def messages(self) -> list[tuple[int, bytes]]:
        """Inner messages (type, body) that have arrived, drained."""
        messages, self._messages = self._messages, []
        return messages

    @property
    def group(self) -> str:
        """Key exchange group, e.g. "X25519MLKEM768"; "unknown" before the handshake is done."""
        if self._heard and self.handshake_done:
            self._group, self._heard = group_name(self._heard), b""
        return self._group

    @property
    def cipher(self) -> str:
        """TLS cipher suite; empty before the handshake is done."""
        current = self.sslobj.cipher() if self.handshake_done else None
        return current[0] if current else ""

    # -- Inside

    def _hear(self, data: bytes) -> None:
        if len(self._heard) < WATCHED_MAX:
            self._heard = (self._heard + data)[:WATCHED_MAX]

    def _drive(self) -> None:
        try:
            if not self.handshake_done:
                self.sslobj.do_handshake()
                self.handshake_done = True
            while self._incoming.pending or self.sslobj.pending():
                data = self.sslobj.read(_READ_SIZE)
                if not data:
                    self._break(ChannelBroken("tls_closed"))
                self._messages += self._inner.feed(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._break(_explain(error))
        except Malformed as error:
            raise ChannelBroken(error.reason, misuse=True) from None  # a CLOSE can still be sent
        if self._outgoing.pending > _OUTGOING_MAX:
            self._break(ChannelBroken("tls_outgoing"))

    def _break(self, broken: ChannelBroken) -> None:
        self._broken = broken
        raise broken from None


def _explain(error: ssl.SSLError) -> ChannelBroken:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = "certificate_revoked" if error.verify_code == _CERT_REVOKED else "certificate_refused"
        return ChannelBroken(reason, error.verify_message, lasting=True)
    word = error.reason or type(error).__name__
    if word in _REFUSALS:
        return ChannelBroken("refused_by_peer", word.lower(), lasting=True)
    if word == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return ChannelBroken("certificate_missing", lasting=True)
    return ChannelBroken("tls_error", word.lower())
