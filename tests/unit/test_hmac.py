"""HMAC and HKDF of the data plane, beside the standard library's and the vectors of RFC 5869."""

from __future__ import annotations

import hashlib
import hmac as standard
import random

import pytest

from ovng._fast import hmac
from ovng.session.keys import hkdf_expand


def test_equal_to_the_standard_library() -> None:
    rng = random.Random(1)
    for length in [*range(130), 1232, 65_536]:
        key, data = rng.randbytes(32), rng.randbytes(length)
        assert hmac.digest(key, data) == standard.digest(key, data, hashlib.sha256)


def test_expand_is_rfc_5869() -> None:
    key = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")  # its test case 1
    info = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9")
    assert hmac.expand(key, info).hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    for label in (b"up", b"down", b"x" * 15):
        assert hmac.expand(key, label) == hkdf_expand(key, label, 32)


def test_lengths() -> None:
    for key in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError):
            hmac.digest(key, b"")
    for label in (b"", bytes(16)):
        with pytest.raises(ValueError):
            hmac.expand(bytes(32), label)
