"""HMAC-SHA-256 (RFC 2104) and HKDF-Expand's first block (RFC 5869) by libcrypto, for keys of 32 bytes.

A context holds no key: each call hashes its key anew, because in a batch hardly two datagrams share one. It belongs to
one thread.
"""

from libc.stdint cimport uint8_t

from ovng._fast.crypto cimport crypto_api


cdef enum:
    HMAC_KEY = 32
    HMAC_SIZE = 32

cdef struct hmac_ctx:
    const crypto_api* api
    void* evp  # EVP_MD_CTX; NULL: not in use

# Under the GIL; `ctx` is zeroed before. Raises RuntimeError without a usable libcrypto, MemoryError.
cdef int hmac_init(hmac_ctx* ctx) except -1
cdef void hmac_free(hmac_ctx* ctx) noexcept nogil

# 32 bytes at `out`. False: libcrypto refused (no such case is known), and `out` is worthless.
cdef bint hmac_sha256(hmac_ctx* ctx, const uint8_t* key, const void* data, size_t length, uint8_t* out) noexcept nogil
cdef bint sha256(hmac_ctx* ctx, const void* data, size_t length, uint8_t* out) noexcept nogil
# HKDF-Expand(key, label, 32); a label has 1 … 15 bytes.
cdef bint hkdf_expand(hmac_ctx* ctx, const uint8_t* key, const char* label, uint8_t* out) noexcept nogil
# In constant time.
cdef bint hmac_equal(const uint8_t* one, const uint8_t* other, size_t length) noexcept nogil
