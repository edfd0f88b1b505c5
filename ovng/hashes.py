"""SHA-256, HMAC-SHA-256 (RFC 2104) and comparison in constant time, straight from Python's OpenSSL module.

`hashlib` and `hmac` give the same; to import them tries each of their algorithms, which costs an idle node 0.1 MB.
"""

from __future__ import annotations

from _hashlib import compare_digest, hmac_digest, openssl_sha256

__all__ = ["compare_digest", "hmac_sha256", "sha256"]


def sha256(data: bytes) -> bytes:
    """The digest, 32 bytes."""
    return openssl_sha256(data).digest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """The code, 32 bytes."""
    return hmac_digest(key, data, "sha256")
