"""DER of certificates and revocation lists, and the identity in a certificate.

Nothing here verifies: OpenSSL does. So where OpenSSL reads a certificate too, both must have read the same, and a
list that was changed is never taken.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ovng.errors import IdentityError, Malformed
from ovng.ids import NodeID
from ovng.io.credentials import memfd_path
from ovng.limits import CRL_MAX
from ovng.pki.der import parse_certificate, parse_crl
from ovng.pki.identity import PREFIXES_MAX, identity_from_peer, identity_uris
from tests.fuzz.actors import bob, network, switch, truck
from tests.fuzz.choices import Choices
from tests.pki_fixture import Member

NAMES_MAX = 40
_decode: Callable[[str], dict[str, Any]] = cast(Any, ssl)._ssl._test_decode_cert  # getpeercert() without a peer


@functools.cache
def certificates() -> tuple[bytes, ...]:
    """Of nodes, a Switch, and the CA."""
    pems = [bob().certificate, truck().certificate, switch().certificate, network().ca]
    return tuple(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) for pem in pems)


@functools.cache
def lists() -> tuple[bytes, ...]:
    """An empty one, and one with names on it."""
    authority, wall = network().authority, network().wall
    return authority.crl(1, {}, wall), authority.crl(2, {1: wall, 1 << 150: wall, bob().identity.serial: wall}, wall)


@functools.cache
def _judge() -> Member:
    return network().node()


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices = Choices(data)
    match choices.below(4):
        case 0:
            _certificate(_changed(choices, certificates()))
        case 1:
            _crl(_changed(choices, lists()))
        case 2:
            _names(choices)
        case 3:
            _certificate(choices.rest())
            _crl(data[1:])


def _changed(choices: Choices, originals: tuple[bytes, ...]) -> bytes:
    return choices.changed(choices.changed(choices.pick(originals)))


def _certificate(der: bytes) -> None:
    seen = _openssl(der)
    try:
        facts = parse_certificate(der)
    except Malformed:
        return
    assert facts.spki in der and facts.serial > 0
    if seen is not None:
        assert int(seen["serialNumber"], 16) == facts.serial
        assert _seconds(seen["notAfter"]) == facts.not_after and _seconds(seen["notBefore"]) == facts.not_before
        try:
            identity = identity_from_peer(seen, der, "testnet")
        except IdentityError:
            return
        assert identity.id == NodeID.from_public_key(facts.spki)
        originals = {bob().id, truck().id, switch().id}
        assert identity.id in originals, "an ID that is not that of the key"


def _openssl(der: bytes) -> dict[str, Any] | None:
    """What `getpeercert()` would show."""
    try:
        with memfd_path(ssl.DER_cert_to_PEM_cert(der).encode()) as path:
            return _decode(path)
    except (ssl.SSLError, ValueError, OSError):
        return None


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()


def _crl(der: bytes) -> None:
    try:
        facts = parse_crl(der)
    except Malformed:
        return
    assert 1 <= facts.number < 1 << 64 and len(der) <= CRL_MAX
    assert len(facts.serials) * 5 < len(der)
    trust = _judge().trust
    if der not in lists():
        assert not trust.offer_crl(der), "a list that the CA did not sign"


def _names(choices: Choices) -> None:
    """Any words under the name of a good certificate."""
    member = choices.pick((bob(), switch()))
    good = identity_uris("testnet", member.identity.kind, member.id, member.identity.prefixes, "fleet", True)
    names = []
    for _ in range(choices.below(NAMES_MAX)):
        text = choices.changed(choices.pick(good).encode()) if choices.flag() else b"ovng:" + choices.chunk(60)
        names.append((choices.pick(("URI", "URI", "URI", "DNS")), text.decode("latin-1")))
    if choices.flag():
        names.append(("URI", good[0]))
    try:
        identity = identity_from_peer({"subjectAltName": tuple(names)}, certificates()[0], "testnet")
    except IdentityError as error:
        assert len(error.detail) < 500 and error.detail.isprintable()
        return
    assert identity.id == bob().id and ("URI", f"ovng:testnet:{identity.kind}:{bob().id}") in names
    assert len(identity.prefixes) <= PREFIXES_MAX
    for prefix in identity.prefixes:
        assert ("URI", f"ovng:testnet:prefix:{prefix}") in names
        assert not identity.holds(prefix.network_address) or prefix.network_address in prefix
