"""One packet sealed or opened, called from Python, beside the AESGCM of `cryptography` (which brings its own OpenSSL).

Both sides pay for the call and for a new bytes object, some 100 to 200 ns, which the loops of the data path do not.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.micro.timing import Batch, Contest, Stopwatch
from ovng._fast.aead import AES_256_GCM, Aead
from ovng.limits import HEADER_SIZE

SIZES = (64, 1400)
_BATCH = 2000
_KEY, _IV, _AAD = bytes(range(32)), bytes(12), bytes(HEADER_SIZE)
_REFERENCE = "AESGCM of cryptography"


def contests() -> list[Contest]:
    """AES-256-GCM with a header of 28 bytes as additional data."""
    return [
        contest
        for size in SIZES
        for contest in (
            Contest(f"seal_{size}", f"seal {size} B", "ns", _seal(size), _REFERENCE, _reference_seal(size)),
            Contest(f"open_{size}", f"open {size} B", "ns", _open(size), _REFERENCE, _reference_open(size)),
        )
    ]


def _seal(size: int) -> Batch:
    aead, plaintext = Aead(AES_256_GCM, _KEY, _IV), bytes(size)

    def batch(watch: Stopwatch) -> int:
        with watch:
            for number in range(_BATCH):
                aead.seal_packet(number, _AAD, plaintext)
        return _BATCH

    return batch


def _open(size: int) -> Batch:
    aead = Aead(AES_256_GCM, _KEY, _IV)
    sealed = aead.seal_packet(1, _AAD, bytes(size))
    assert aead.open_packet(1, _AAD, sealed) == bytes(size)

    def batch(watch: Stopwatch) -> int:
        with watch:
            for _ in range(_BATCH):
                aead.open_packet(1, _AAD, sealed)
        return _BATCH

    return batch


def _reference_seal(size: int) -> Batch:
    aead, plaintext = AESGCM(_KEY), bytes(size)

    def batch(watch: Stopwatch) -> int:
        with watch:
            for _ in range(_BATCH):
                aead.encrypt(_IV, plaintext, _AAD)
        return _BATCH

    return batch


def _reference_open(size: int) -> Batch:
    aead = AESGCM(_KEY)
    sealed = aead.encrypt(_IV, bytes(size), _AAD)

    def batch(watch: Stopwatch) -> int:
        with watch:
            for _ in range(_BATCH):
                aead.decrypt(_IV, sealed, _AAD)
        return _BATCH

    return batch
