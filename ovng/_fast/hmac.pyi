def digest(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256. Raises ValueError unless the key has 32 bytes, RuntimeError without a usable libcrypto."""

def expand(key: bytes, label: bytes) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869), 32 bytes. A label has 1 … 15 bytes (ValueError)."""
