"""Packet protection (PROTOCOL 2): AES-256-GCM and ChaCha20-Poly1305 by libcrypto, in place.

An `aead_ctx` is one direction of one key. Its key schedule is made once by `aead_init`; each packet sets only the
nonce. The tag is named to libcrypto by parameters made once. The nonce of packet n is the 12-byte IV XOR n, left-padded
(RFC 8446, 5.3). A context belongs to one thread.
"""

from libc.stdint cimport uint8_t, uint64_t

from ovng._fast.cipher cimport cipher_api
from ovng._fast.crypto cimport crypto_api, crypto_param


cdef enum:
    AEAD_KEY = 32
    AEAD_NONCE = 12
    AEAD_TAG = 16
    AEAD_AES_256_GCM = 1
    AEAD_CHACHA20_POLY1305 = 2

cdef enum aead_reason:
    AEAD_SHORT = -1  # no room for a tag in what was received
    AEAD_FORGED = -2  # the tag does not fit: another key, or changed on the way
    AEAD_CAPACITY = -3  # the caller's buffer does not hold data and tag
    AEAD_FAILED = -4  # libcrypto refused; no such case is known

cdef struct aead_ctx:
    const crypto_api* api
    const cipher_api* cipher
    void* state  # the cipher's; NULL: not in use
    crypto_param tag[2]  # its place is set per packet; the second ends the array
    uint8_t iv[AEAD_NONCE]
    bint sealing


cdef inline void aead_nonce(const aead_ctx* ctx, uint64_t number, uint8_t* nonce) noexcept nogil:
    """The nonce of packet `number`: 12 bytes at `nonce`."""
    cdef int i
    for i in range(4):
        nonce[i] = ctx.iv[i]
    for i in range(8):
        nonce[4 + i] = ctx.iv[4 + i] ^ <uint8_t> (number >> (56 - 8 * i))


# Under the GIL. `ctx` must be zeroed or retired before; `iv` may be NULL where nonces are given whole.
cdef int aead_init(aead_ctx* ctx, int cipher, const uint8_t* key, const uint8_t* iv, bint sealing) except -1

# Erases key schedule and IV; does nothing on a context not in use.
cdef void aead_retire(aead_ctx* ctx) noexcept nogil

# `data` holds `length` bytes of plaintext and becomes ciphertext and tag. Length + 16, or a negative aead_reason.
cdef int aead_seal(
    aead_ctx* ctx,
    const uint8_t* nonce,
    const uint8_t* aad, size_t aad_length,
    uint8_t* data, size_t length, size_t capacity,
) noexcept nogil

# The same from `source` (which stays) into `out`; they are equal or do not overlap.
cdef int aead_seal_from(
    aead_ctx* ctx,
    const uint8_t* nonce,
    const uint8_t* aad, size_t aad_length,
    const uint8_t* source, size_t length,
    uint8_t* out, size_t capacity,
) noexcept nogil

# `data` holds ciphertext and tag and becomes plaintext. Length − 16, or a negative aead_reason; after a failure the
# buffer's content is unauthenticated and must not be used.
cdef int aead_open(
    aead_ctx* ctx,
    const uint8_t* nonce,
    const uint8_t* aad, size_t aad_length,
    uint8_t* data, size_t length,
) noexcept nogil

# The same with the nonce of a packet number.
cdef int aead_seal_packet(
    aead_ctx* ctx,
    uint64_t number,
    const uint8_t* aad, size_t aad_length,
    uint8_t* data, size_t length, size_t capacity,
) noexcept nogil
cdef int aead_open_packet(
    aead_ctx* ctx,
    uint64_t number,
    const uint8_t* aad, size_t aad_length,
    uint8_t* data, size_t length,
) noexcept nogil
