"""The door to the system's libcrypto for the control plane: loading it, naming it, one AEAD per key."""

from __future__ import annotations

from ovng._fast import aead, crypto
from ovng.errors import SystemProblem

AES_256_GCM = aead.AES_256_GCM
CHACHA20_POLY1305 = aead.CHACHA20_POLY1305


def load_libcrypto(path: str | None = None) -> str:
    """Load libcrypto (`path`, or the newest the system offers) and return its version line. Raises SystemProblem."""
    try:
        return crypto.load(path)
    except RuntimeError as error:
        advice = "install OpenSSL (Debian: libssl3), or name its library in the profile (libcrypto: PATH)"
        raise SystemProblem(f"{error}: {advice}") from None


def preferred_ciphers() -> tuple[int, ...]:
    """The ciphers of this machine, the faster one first: AES only leads where the CPU has instructions for it."""
    return (AES_256_GCM, CHACHA20_POLY1305) if crypto.cpu_has_aes() else (CHACHA20_POLY1305, AES_256_GCM)


def make_aead(cipher: int, key: bytes) -> aead.Aead:
    """An AEAD for messages with a nonce of 12 bytes each (tickets, PRIVATE). The key schedule is kept with it."""
    return aead.Aead(cipher, key)
