"""What a running node trusts: one CA, its own certificate and key, the newest revocation list, and a date.

Theory
------
OpenSSL verifies the chain but not its dates: a router that boots in 1970 must connect. The dates are ours. Every
notBefore of a verified certificate and every date of a proven CRL is a moment that has passed for certain, so the
newest of them is a lower bound of the true time ("signed date"). A certificate is refused when its notAfter lies
before max(clock, signed date), and a clock behind the signed date is called a wrong clock. notBefore never refuses.

The standard library cannot verify a CRL's signature, but OpenSSL does when it checks a certificate against it. So a
received CRL is put to the proof in a fresh context by a handshake of this node with itself, in memory: both "fine"
and "revoked" come only after the signature was found good. Contexts are never changed once in use (a store that
changes under live handshakes is how CVE-2024-0397 happened): a new CRL makes new ones.

Keys reach `ssl` by a path, the only door it has. `Load` gives one that is no file on a disk.
"""

from __future__ import annotations

import base64
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

from ovng.clock import utc
from ovng.errors import ConfigError, IdentityError, Malformed
from ovng.ids import NodeID
from ovng.limits import CERTIFICATE_WARN_DAYS
from ovng.pki.der import CrlFacts, parse_certificate, parse_crl
from ovng.pki.identity import Identity, Kind, identity_from_peer

Load = Callable[[bytes], AbstractContextManager[str]]
"""Gives the bytes a path for as long as the context lasts (`ovng.io.credentials.memfd_path`)."""

ALPN = "ovng/1"
CLOCK_TOLERANCE = 300.0  # SECURITY: a skew of more than 5 minutes is reported
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME, which `ssl` does not name
_CERT_REVOKED = 23  # X509_V_ERR_CERT_REVOKED
_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"
_DAY = 86_400.0


class Trust:
    """The credentials of one node or Switch, and its judgement of others. Not thread-safe.

    `ca`, `certificate` and `key` are PEM; `crl` is DER. Raises ConfigError, worded as of the certificate, when they do
    not belong together or are not of `network`. A CRL that does not prove itself is left out and counted in `refused`.
    """

    def __init__(
        self, network: str, ca: bytes, certificate: bytes, key: bytes, load: Load, crl: bytes | None = None
    ) -> None:
        self.network = network
        self.refused: Counter[str] = Counter()
        """CRLs refused, by reason."""
        self._ca, self._load = ca.strip() + b"\n", load
        if _PEM_BEGIN not in certificate:
            raise ConfigError("cannot be used: it is no PEM certificate")
        # With the CA's certificate behind ours, else OpenSSL looks for it, and verifies our own, in every handshake.
        self._chain = certificate.strip() + b"\n" + key.strip() + b"\n" + self._ca
        self._crl: CrlFacts | None = None
        self._crl_der: bytes | None = None
        self.ca_public_key = _ca_public_key(ca)
        """DER SubjectPublicKeyInfo of the CA."""
        self._contexts, self.identity = self._meet_ourselves()
        self.signed_date = self.identity.not_before
        """The newest date (seconds since 1970) that has passed for certain, because the CA signed it."""
        if crl is not None:
            self.offer_crl(crl)

    # -- TLS

    def client_context(self) -> ssl.SSLContext:
        """For the initiator of a handshake. Ask for it anew per handshake: a new CRL replaces it."""
        return self._contexts[0]

    def server_context(self) -> ssl.SSLContext:
        """For the responder. As `client_context`."""
        return self._contexts[1]

    def check_peer(self, sslobj: ssl.SSLObject, expected: NodeID | None, kind: Kind | None, wall: float) -> Identity:
        """Who is at the other end of a finished handshake. `wall` is the clock, in seconds since 1970.

        `expected` None or 0 takes any ID (the Switch at a locator has none yet), `kind` None takes both. Raises
        IdentityError.
        """
        if sslobj.version() != "TLSv1.3" or sslobj.selected_alpn_protocol() != ALPN:
            raise IdentityError("not_ovng_tls")
        identity = _peer_identity(sslobj, self.network)
        # The chain is good, so this date was signed, whatever else may be wrong.
        self.signed_date = max(self.signed_date, identity.not_before)
        if kind is not None and identity.kind != kind:
            raise IdentityError(f"not_a_{kind}", f"the certificate is that of a {identity.kind}")
        if expected and identity.id != expected:
            raise IdentityError("other_id", f"expected {expected}, got {identity.id}")
        if self.is_revoked(identity.serial):
            raise IdentityError("revoked", str(identity.id))
        if identity.not_after < max(wall, self.signed_date):
            raise IdentityError("expired", f"{identity.id} on {day(identity.not_after)}")
        return identity

    # -- Revocation

    @property
    def crl_number(self) -> int:
        """Of the list held; 0 for none."""
        return self._crl.number if self._crl else 0

    @property
    def crl_der(self) -> bytes | None:
        """The list held."""
        return self._crl_der

    @property
    def revoked_serials(self) -> frozenset[int]:
        """Of the list held."""
        return self._crl.serials if self._crl else frozenset()

    def is_revoked(self, serial: int) -> bool:
        """True if the list held names this certificate serial."""
        return self._crl is not None and serial in self._crl.serials

    def offer_crl(self, der: bytes) -> bool:
        """Take a list that is newer than the one held and proves that the CA signed it. True if taken.

        Contexts are new afterwards. What is not taken is counted in `refused`, and the old list stays.
        """
        try:
            facts = parse_crl(der)
        except Malformed as error:
            self.refused[error.reason] += 1
            return False
        if facts.number <= self.crl_number:
            self.refused["crl_not_newer"] += 1
            return False
        try:
            self._prove(der)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code != _CERT_REVOKED:
                self.refused["crl_not_signed"] += 1
                return False
        except ssl.SSLError:
            self.refused["crl_unreadable"] += 1
            return False
        self._contexts = self._make_contexts(der)
        self._crl, self._crl_der = facts, bytes(der)
        self.signed_date = max(self.signed_date, facts.this_update)
        return True

    # -- What people should hear; `wall` in seconds since 1970

    def clock_warning(self, wall: float) -> str | None:
        """A line when the clock is certainly wrong."""
        if wall >= self.signed_date - CLOCK_TOLERANCE:
            return None
        return (
            f"this machine's clock is wrong: it says {_minute(wall)}, but it is {_minute(self.signed_date)} or later;"
            " set it (NTP), connections work meanwhile"
        )

    def expiry_warning(self, wall: float) -> str | None:
        """A line from 30 days before the own certificate ends."""
        left = self.identity.not_after - max(wall, self.signed_date)
        if left > CERTIFICATE_WARN_DAYS * _DAY:
            return None
        when = f"ended on {day(self.identity.not_after)}" if left < 0 else f"ends in {int(left // _DAY)} days"
        return f"this {self.identity.kind}'s certificate {when}: run `ovng ca renew` on the CA's machine"

    def crl_warning(self, wall: float) -> str | None:
        """A line when the list held is past its date. It goes on being used: an old list beats none."""
        if self._crl is None or self._crl.next_update is None or self._crl.next_update >= max(wall, self.signed_date):
            return None
        return (
            f"the revocation list (number {self._crl.number}) is out of date since {day(self._crl.next_update)}:"
            " run `ovng ca crl` on the CA's machine and give the new crl.der to the Switch"
        )

    def warnings(self, wall: float) -> list[str]:
        """All of the above that apply."""
        lines = (self.clock_warning(wall), self.expiry_warning(wall), self.crl_warning(wall))
        return [line for line in lines if line is not None]

    # -- Inside

    def _prove(self, crl: bytes) -> None:
        """Check our own certificate against a list, in contexts that serve nothing else. Raises ssl.SSLError."""
        _handshake(self._context(ssl.PROTOCOL_TLS_CLIENT, None), self._context(ssl.PROTOCOL_TLS_SERVER, crl))

    def _make_contexts(self, crl: bytes | None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        client = self._context(ssl.PROTOCOL_TLS_CLIENT, crl)
        server = self._context(ssl.PROTOCOL_TLS_SERVER, crl)
        server.num_tickets = 0
        return client, server

    def _context(self, protocol: int, crl: bytes | None) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)  # bare: create_default_context() would honour SSLKEYLOGFILE
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= _NO_CHECK_TIME
        context.options |= ssl.OP_NO_TICKET
        context.options &= ~ssl.OP_ENABLE_MIDDLEBOX_COMPAT  # no middlebox sees this TLS (RFC 8446, D.4)
        context.set_alpn_protocols([ALPN])
        with self._load(self._chain) as path:
            context.load_cert_chain(path, password="")  # OpenSSL would ask the terminal for one
        with self._load(self._ca + (_crl_pem(crl) if crl else b"")) as path:
            context.load_verify_locations(cafile=path)
        if crl:
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        return context

    def _meet_ourselves(self) -> tuple[tuple[ssl.SSLContext, ssl.SSLContext], Identity]:
        """The first contexts, and our certificate as others will see it: by a handshake with ourselves."""
        try:
            contexts = self._make_contexts(None)
            return contexts, _peer_identity(_handshake(*contexts), self.network)
        except ssl.SSLCertVerificationError as error:
            raise ConfigError(f"is not signed by this CA ({error.verify_message})") from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ConfigError("does not belong to this private key") from None
            raise ConfigError(f"cannot be used with this key and CA ({error.reason or error})") from None
        except IdentityError as error:
            raise ConfigError(f"is not one of network {self.network!r} ({error})") from None


def _handshake(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> ssl.SSLObject:
    """Run TLS between two contexts in memory; the client's end. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(8):  # TLS 1.3 needs three turns
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
        if not waiting:
            return client
    raise ssl.SSLError("the handshake does not end")


def _peer_identity(sslobj: ssl.SSLObject, network: str) -> Identity:
    try:
        peercert, der = sslobj.getpeercert(), sslobj.getpeercert(True)
    except ValueError as error:  # names that are not text; handshake not done
        raise IdentityError("certificate_malformed", str(error)) from None
    if not peercert or not der:
        raise IdentityError("no_certificate")
    return identity_from_peer(peercert, der, network)


def _ca_public_key(pem: bytes) -> bytes:
    try:
        return parse_certificate(ssl.PEM_cert_to_DER_cert(pem.decode("ascii").strip())).spki
    except (ValueError, Malformed) as error:
        raise ConfigError(f"the CA certificate cannot be read: {error}") from None


def _crl_pem(der: bytes) -> bytes:
    return b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(der) + b"-----END X509 CRL-----\n"


def day(seconds: float) -> str:
    """A date for people, UTC; any number is accepted."""
    return _show(seconds, "%Y-%m-%d")


def _minute(seconds: float) -> str:
    return _show(seconds, "%Y-%m-%d %H:%M UTC")


def _show(seconds: float, form: str) -> str:
    try:
        return utc(seconds, form)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"
