"""HMAC-SHA-256 in two hashes of libcrypto. See `hmac.pxd`."""

from cpython.bytes cimport PyBytes_AsString
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset, strlen

from ovng._fast.crypto cimport crypto_api, crypto_functions

from ovng._fast.crypto import load

cdef enum:
    BLOCK = 64  # of SHA-256
    LABEL_MAX = 15

cdef void* _sha256 = NULL  # fetched once: a fetch takes locks and searches providers


cdef int hmac_init(hmac_ctx* ctx) except -1:
    global _sha256
    load()
    ctx.api = crypto_functions()
    if _sha256 == NULL:
        _sha256 = ctx.api.md_fetch(NULL, "SHA256", NULL)
    if _sha256 == NULL:
        ctx.api.clear_errors()
        raise RuntimeError("this libcrypto does not offer SHA256")
    ctx.evp = ctx.api.md_ctx_new()
    if ctx.evp == NULL:
        raise MemoryError
    return 0


cdef void hmac_free(hmac_ctx* ctx) noexcept nogil:
    if ctx.evp != NULL:
        ctx.api.md_ctx_free(ctx.evp)  # cleanses what was hashed last
        ctx.evp = NULL


cdef bint _hash(
    hmac_ctx* ctx, const uint8_t* block, const void* data, size_t length, uint8_t* out
) noexcept nogil:
    """SHA-256 over a block (or NULL) and data."""
    cdef const crypto_api* api = ctx.api
    if (
        api.md_init(ctx.evp, _sha256, NULL) != 1
        or (block != NULL and api.md_update(ctx.evp, block, BLOCK) != 1)
        or api.md_update(ctx.evp, data, length) != 1
        or api.md_final(ctx.evp, out, NULL) != 1
    ):
        api.clear_errors()
        return False
    return True


cdef bint hmac_sha256(hmac_ctx* ctx, const uint8_t* key, const void* data, size_t length, uint8_t* out) noexcept nogil:
    cdef uint8_t block[BLOCK]
    cdef uint8_t inner[HMAC_SIZE]
    cdef bint done
    cdef int i
    memset(block, 0x36, BLOCK)
    for i in range(HMAC_KEY):
        block[i] ^= key[i]
    done = _hash(ctx, block, data, length, inner)
    for i in range(BLOCK):
        block[i] ^= 0x36 ^ 0x5C
    done = done and _hash(ctx, block, inner, HMAC_SIZE, out)
    ctx.api.cleanse(block, BLOCK)
    return done


cdef bint sha256(hmac_ctx* ctx, const void* data, size_t length, uint8_t* out) noexcept nogil:
    return _hash(ctx, NULL, data, length, out)


cdef bint hkdf_expand(hmac_ctx* ctx, const uint8_t* key, const char* label, uint8_t* out) noexcept nogil:
    cdef uint8_t info[LABEL_MAX + 1]
    cdef size_t length = strlen(label)
    if length > LABEL_MAX:
        return False
    memcpy(info, label, length)
    info[length] = 1  # the number of the only block
    return hmac_sha256(ctx, key, info, length + 1, out)


cdef bint hmac_equal(const uint8_t* one, const uint8_t* other, size_t length) noexcept nogil:
    cdef uint8_t differs = 0
    cdef size_t i
    for i in range(length):
        differs |= one[i] ^ other[i]
    return differs == 0


# -- The Python face: tests

cdef class _Context:
    cdef hmac_ctx ctx

    def __cinit__(self):
        memset(&self.ctx, 0, sizeof(hmac_ctx))
        hmac_init(&self.ctx)

    def __dealloc__(self):
        hmac_free(&self.ctx)


cdef const uint8_t* _key(bytes key) except NULL:
    if len(key) != HMAC_KEY:
        raise ValueError(f"a key has {HMAC_KEY} bytes, not {len(key)}")
    return <const uint8_t*> PyBytes_AsString(key)


def digest(bytes key not None, bytes data not None):
    cdef uint8_t out[HMAC_SIZE]
    cdef _Context context = _Context()
    if not hmac_sha256(&context.ctx, _key(key), PyBytes_AsString(data), <size_t> len(data), out):
        raise RuntimeError("libcrypto refused to hash")
    return (<char*> out)[:HMAC_SIZE]


def expand(bytes key not None, bytes label not None):
    cdef uint8_t out[HMAC_SIZE]
    cdef _Context context = _Context()
    if not 1 <= len(label) <= LABEL_MAX:
        raise ValueError(f"a label has 1 … {LABEL_MAX} bytes")
    if not hkdf_expand(&context.ctx, _key(key), PyBytes_AsString(label), out):
        raise RuntimeError("libcrypto refused to hash")
    return (<char*> out)[:HMAC_SIZE]
