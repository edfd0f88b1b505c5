"""Who takes part: the same IDs in every process, so that a program means the same tomorrow.

Keys are fixed, and so are IDs and which of two is lower. Certificates are not: ECDSA signs by chance.
"""

from __future__ import annotations

import functools
import hashlib

from cryptography.hazmat.primitives.asymmetric import ec

from ovng.io.libcrypto import load_libcrypto, make_aead
from tests.pki_fixture import Member, Network

__all__ = ["bob", "make_aead", "mallory", "network", "switch", "truck"]

load_libcrypto()


@functools.cache
def network() -> Network:
    """The CA of all who are proved."""
    return Network()


def _key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest()[:31], "big"), ec.SECP256R1())


@functools.cache
def truck() -> Member:
    """A node with an IPv4 and an IPv6 address."""
    return network().node("10.77.0.2/32", "fd77::2/128", key_type=_key("truck"))


@functools.cache
def bob() -> Member:
    """A node with a network behind it."""
    return network().node("10.77.0.3/32", "192.168.7.0/24", key_type=_key("bob"))


@functools.cache
def mallory() -> Member:
    """A node whose certificate is good and whose manners are not."""
    return network().node("10.77.0.6/32", key_type=_key("mallory"))


@functools.cache
def switch() -> Member:
    """The Switch."""
    return network().switch(key_type=_key("switch"))
