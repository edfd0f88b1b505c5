"""Makes keys, certificates and revocation lists. The one module that needs `cryptography`, on the CA's machine only.

Certificates carry their meaning in URIs (`ovng.pki.identity`) and as little else as possible: no names, no extended
key usage (a leaf with serverAuth alone is refused as a client), and "not a CA", so that a node cannot sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from ovng.ids import NodeID
from ovng.pki.der import parse_certificate

KeyType = Literal["p256", "ed25519"]
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

CA_DAYS = 3_650
CRL_DAYS = 365
BACKDATE = 300.0  # a clock a little behind the CA's is no reason to warn


def new_key(kind: KeyType = "p256") -> PrivateKey:
    """A fresh private key."""
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey) -> bytes:
    """PKCS #8, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def spki(key: PublicKey) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def node_id(key: PublicKey) -> NodeID:
    """The ID of a key. Raises Malformed for the one key in 2^64 that has none."""
    return NodeID.from_public_key(spki(key))


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """As PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def read_request(pem: bytes) -> tuple[str, PublicKey]:
    """Name and key of a certificate request (PKCS #10, RFC 2986) whose signature proves that its maker has the key.

    Raises ValueError, with words for the user."""
    try:
        request = x509.load_pem_x509_csr(pem)
        public = request.public_key()
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a certificate request, as `ovng request` makes it") from None
    if not isinstance(public, PublicKey) or (
        isinstance(public, ec.EllipticCurvePublicKey) and not isinstance(public.curve, ec.SECP256R1)
    ):
        raise ValueError("asks for another kind of key: P-256 and Ed25519 are possible")
    if not request.is_signature_valid:
        raise ValueError("is not signed with its own key")
    if len(names) != 1:
        raise ValueError("has no name, or several")
    return str(names[0].value), public


def dates_of(certificate: x509.Certificate) -> tuple[float, float]:
    """notBefore and notAfter, in seconds since 1970. (`not_valid_after_utc` is younger than Debian 12's package.)"""
    facts = parse_certificate(certificate.public_bytes(serialization.Encoding.DER))
    return facts.not_before, facts.not_after


class Authority:
    """A CA's certificate and key, able to sign. Dates come in as `wall`, seconds since 1970."""

    def __init__(self, certificate: x509.Certificate, key: PrivateKey) -> None:
        self.certificate, self._key = certificate, key

    @classmethod
    def create(cls, network: str, wall: float, kind: KeyType = "p256", days: float = CA_DAYS) -> Authority:
        """A new CA for a network."""
        key = new_key(kind)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ovng {network} CA")])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(wall - BACKDATE))
            .not_valid_after(_moment(wall + days * 86_400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_others=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        return cls(builder.sign(key, _hash(key)), key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> Authority:
        """From `ca.crt` and `ca.key`. Raises ValueError when they cannot be read or do not belong together."""
        loaded = serialization.load_pem_private_key(key, None)
        if not isinstance(loaded, PrivateKey):
            raise ValueError("neither a P-256 nor an Ed25519 key")
        authority = cls(x509.load_pem_x509_certificate(certificate), loaded)
        public = authority.certificate.public_key()
        if not isinstance(public, PublicKey) or spki(public) != spki(loaded.public_key()):
            raise ValueError("the key is not that of the certificate")
        return authority

    def pem(self) -> tuple[bytes, bytes]:
        """Certificate and key, as PEM."""
        return certificate_pem(self.certificate), key_pem(self._key)

    @property
    def dates(self) -> tuple[float, float]:
        """When the CA's own certificate begins and ends."""
        return dates_of(self.certificate)

    def issue(self, public_key: PublicKey, uris: Sequence[str], wall: float, days: float) -> x509.Certificate:
        """Sign a certificate that says `uris`. It never outlives the CA."""
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(wall - BACKDATE))
            .not_valid_after(_moment(min(wall + days * 86_400, self.dates[1])))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_others=False), critical=True)
            # Critical because the subject is empty (RFC 5280, 4.1.2.6).
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), critical=True
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        return builder.sign(self._key, _hash(self._key))

    def crl(self, number: int, revoked: Mapping[int, float], wall: float, days: float = CRL_DAYS) -> bytes:
        """A DER revocation list: serial → when it was revoked."""
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(_moment(wall))
            .next_update(_moment(wall + days * 86_400))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        for serial, when in sorted(revoked.items()):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(when))
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, _hash(self._key)).public_bytes(serialization.Encoding.DER)


def _hash(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _usage(*, signs_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_others,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_others,
        crl_sign=signs_others,
        encipher_only=False,
        decipher_only=False,
    )


def _moment(seconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))
