"""Seal and open in place, and a small class for the control plane. See `aead.pxd`."""

from cpython.bytearray cimport PyByteArray_AsString
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.limits cimport INT_MAX
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from ovng._fast.cipher cimport cipher_api, cipher_find
from ovng._fast.crypto cimport CRYPTO_OCTET_STRING, crypto_api, crypto_functions

from ovng._fast.crypto import load

DROP_NAMES = {
    AEAD_SHORT: "aead_short",
    AEAD_FORGED: "aead_forged",
    AEAD_CAPACITY: "aead_capacity",
    AEAD_FAILED: "aead_failed",
}
AES_256_GCM = AEAD_AES_256_GCM
CHACHA20_POLY1305 = AEAD_CHACHA20_POLY1305

# Found once: that takes locks and searches providers, which a rekey storm would feel.
cdef cipher_api _ciphers[3]
cdef const char** _names = [NULL, "AES-256-GCM", "ChaCha20-Poly1305"]


cdef const cipher_api* _cipher(const crypto_api* api, int cipher) except NULL:
    if not AEAD_AES_256_GCM <= cipher <= AEAD_CHACHA20_POLY1305:
        raise ValueError(f"no such cipher: {cipher}")
    if _ciphers[cipher].create == NULL:
        cipher_find(&_ciphers[cipher], api, _names[cipher])
    return &_ciphers[cipher]


cdef int aead_init(aead_ctx* ctx, int cipher, const uint8_t* key, const uint8_t* iv, bint sealing) except -1:
    load()
    cdef const crypto_api* api = crypto_functions()
    cdef const cipher_api* algorithm = _cipher(api, cipher)
    cdef int taken
    memset(ctx, 0, sizeof(ctx[0]))
    ctx.api, ctx.cipher = api, algorithm
    ctx.sealing = sealing
    ctx.tag[0].key, ctx.tag[0].data_type, ctx.tag[0].data_size = "tag", CRYPTO_OCTET_STRING, AEAD_TAG
    if iv != NULL:
        memcpy(ctx.iv, iv, AEAD_NONCE)
    ctx.state = algorithm.create(algorithm.provider)
    if ctx.state == NULL:
        raise MemoryError
    if sealing:
        taken = algorithm.seal_begin(ctx.state, key, AEAD_KEY, NULL, 0, NULL)
    else:
        taken = algorithm.open_begin(ctx.state, key, AEAD_KEY, NULL, 0, NULL)
    if taken != 1:
        api.clear_errors()
        aead_retire(ctx)
        raise RuntimeError("libcrypto refused a key")
    return 0


cdef void aead_retire(aead_ctx* ctx) noexcept nogil:
    if ctx.state == NULL:
        return
    ctx.cipher.destroy(ctx.state)
    ctx.api.cleanse(ctx.iv, AEAD_NONCE)
    ctx.state = NULL


cdef inline int _failed(aead_ctx* ctx, int reason) noexcept nogil:
    # The error queue is the thread's: what stays in it would confuse Python's ssl on a shared thread.
    ctx.api.clear_errors()
    return reason


cdef int aead_seal_from(
    aead_ctx* ctx,
    const uint8_t* nonce,
    const uint8_t* aad, size_t aad_length,
    const uint8_t* source, size_t length,
    uint8_t* out, size_t capacity,
) noexcept nogil:
    cdef const cipher_api* cipher = ctx.cipher
    cdef size_t written = 0
    if length > INT_MAX - AEAD_TAG or aad_length > INT_MAX or capacity < length + AEAD_TAG:
        return AEAD_CAPACITY
    if not ctx.sealing or cipher.seal_begin(ctx.state, NULL, 0, nonce, AEAD_NONCE, NULL) != 1:
        return _failed(ctx, AEAD_FAILED)
    if aad_length and cipher.update(ctx.state, NULL, &written, aad_length, aad, aad_length) != 1:
        return _failed(ctx, AEAD_FAILED)
    if length and cipher.update(ctx.state, out, &written, length, source, length) != 1:
        return _failed(ctx, AEAD_FAILED)
    ctx.tag[0].data = out + length
    if (
        cipher.final(ctx.state, out + length, &written, AEAD_TAG) != 1
        or cipher.get_params(ctx.state, ctx.tag) != 1
    ):
        return _failed(ctx, AEAD_FAILED)
    return <int> length + AEAD_TAG


cdef int aead_seal(
    aead_ctx* ctx,
    const uint8_t* nonce,
    const uint8_t* aad, size_t aad_length,
    uint8_t* data, size_t length, size_t capacity,
) noexcept nogil:
    return aead_seal_from(ctx, nonce, aad, aad_length, data, length, data, capacity)


cdef int aead_open(
    aead_ctx* ctx,
    const uint8_t* nonce,
    const uint8_t* aad, size_t aad_length,
    uint8_t* data, size_t length,
) noexcept nogil:
    cdef const cipher_api* cipher = ctx.cipher
    cdef size_t written = 0
    cdef size_t plain
    if length < AEAD_TAG:
        return AEAD_SHORT
    if length > INT_MAX or aad_length > INT_MAX:
        return AEAD_CAPACITY
    plain = length - AEAD_TAG
    ctx.tag[0].data = data + plain
    if ctx.sealing or cipher.open_begin(ctx.state, NULL, 0, nonce, AEAD_NONCE, ctx.tag) != 1:
        return _failed(ctx, AEAD_FAILED)
    if aad_length and cipher.update(ctx.state, NULL, &written, aad_length, aad, aad_length) != 1:
        return _failed(ctx, AEAD_FAILED)
    if plain and cipher.update(ctx.state, data, &written, plain, data, plain) != 1:
        return _failed(ctx, AEAD_FORGED)
    if cipher.final(ctx.state, data + plain, &written, AEAD_TAG) != 1:
        return _failed(ctx, AEAD_FORGED)
    return <int> plain


cdef int aead_seal_packet(
    aead_ctx* ctx,
    uint64_t number,
    const uint8_t* aad, size_t aad_length,
    uint8_t* data, size_t length, size_t capacity,
) noexcept nogil:
    cdef uint8_t nonce[AEAD_NONCE]
    aead_nonce(ctx, number, nonce)
    return aead_seal_from(ctx, nonce, aad, aad_length, data, length, data, capacity)


cdef int aead_open_packet(
    aead_ctx* ctx,
    uint64_t number,
    const uint8_t* aad, size_t aad_length,
    uint8_t* data, size_t length,
) noexcept nogil:
    cdef uint8_t nonce[AEAD_NONCE]
    aead_nonce(ctx, number, nonce)
    return aead_open(ctx, nonce, aad, aad_length, data, length)


cdef class Aead:
    """One key for the control plane: both directions, nonces of 12 bytes given by the caller.

    `cipher` is AES_256_GCM or CHACHA20_POLY1305, `key` 32 bytes, `iv` 12 bytes (only for `…_packet`). Raises
    ValueError on other lengths or ciphers, RuntimeError without a usable libcrypto.
    """

    cdef aead_ctx sealing
    cdef aead_ctx opening
    cdef bint has_iv

    def __cinit__(self, int cipher, bytes key not None, bytes iv=None):
        cdef const uint8_t* iv_bytes = NULL
        if len(key) != AEAD_KEY:
            raise ValueError(f"a key has {AEAD_KEY} bytes, not {len(key)}")
        if iv is not None:
            iv_bytes = _twelve(iv)
        self.has_iv = iv is not None
        aead_init(&self.sealing, cipher, <const uint8_t*> PyBytes_AsString(key), iv_bytes, True)
        aead_init(&self.opening, cipher, <const uint8_t*> PyBytes_AsString(key), iv_bytes, False)

    def __dealloc__(self):
        aead_retire(&self.sealing)
        aead_retire(&self.opening)

    def seal(self, bytes nonce not None, bytes aad not None, bytes plaintext not None):
        """Ciphertext and 16-byte tag. A nonce must never be used twice under one key."""
        cdef const uint8_t* nonce_bytes = _twelve(nonce)
        cdef Py_ssize_t length = len(plaintext)
        cdef bytes sealed = PyBytes_FromStringAndSize(NULL, length + AEAD_TAG)
        cdef int result = aead_seal_from(
            &self.sealing,
            nonce_bytes,
            <const uint8_t*> PyBytes_AsString(aad), <size_t> len(aad),
            <const uint8_t*> PyBytes_AsString(plaintext), <size_t> length,
            <uint8_t*> PyBytes_AsString(sealed), <size_t> length + AEAD_TAG,
        )
        if result < 0:
            raise RuntimeError(DROP_NAMES[result])
        return sealed

    def open(self, bytes nonce not None, bytes aad not None, bytes data not None):
        """The plaintext, or None when `data` (ciphertext and tag) is short or not authentic."""
        cdef const uint8_t* nonce_bytes = _twelve(nonce)
        cdef Py_ssize_t length = len(data)
        # A copy of our own: ciphertext and tag are overwritten in place.
        cdef bytes opened = PyBytes_FromStringAndSize(PyBytes_AsString(data), length)
        cdef int result = aead_open(
            &self.opening,
            nonce_bytes,
            <const uint8_t*> PyBytes_AsString(aad), <size_t> len(aad),
            <uint8_t*> PyBytes_AsString(opened), <size_t> length,
        )
        return opened[:result] if result >= 0 else None

    def seal_packet(self, uint64_t number, bytes aad not None, bytes plaintext not None):
        """`seal` under the nonce of packet `number`. Raises ValueError without an IV."""
        return self.seal(self._nonce(number), aad, plaintext)

    def open_packet(self, uint64_t number, bytes aad not None, bytes data not None):
        """`open` under the nonce of packet `number`. Raises ValueError without an IV."""
        return self.open(self._nonce(number), aad, data)

    def seal_in_place(self, bytes nonce not None, bytes aad not None, bytearray buffer not None, size_t length):
        """Seal the first `length` bytes of `buffer` as the data path does: the new length, or a key of DROP_NAMES."""
        if length > <size_t> len(buffer):
            raise ValueError(f"{length} bytes of {len(buffer)}")
        return aead_seal(
            &self.sealing,
            _twelve(nonce),
            <const uint8_t*> PyBytes_AsString(aad), <size_t> len(aad),
            <uint8_t*> PyByteArray_AsString(buffer), length, <size_t> len(buffer),
        )

    def open_in_place(self, bytes nonce not None, bytes aad not None, bytearray buffer not None):
        """Open `buffer` as the data path does: the plaintext's length, or a key of DROP_NAMES."""
        return aead_open(
            &self.opening,
            _twelve(nonce),
            <const uint8_t*> PyBytes_AsString(aad), <size_t> len(aad),
            <uint8_t*> PyByteArray_AsString(buffer), <size_t> len(buffer),
        )

    cdef bytes _nonce(self, uint64_t number):
        cdef uint8_t nonce[AEAD_NONCE]
        if not self.has_iv:
            raise ValueError("packets need an IV")
        aead_nonce(&self.sealing, number, nonce)
        return (<char*> nonce)[:AEAD_NONCE]


cdef const uint8_t* _twelve(bytes nonce) except NULL:
    if len(nonce) != AEAD_NONCE:
        raise ValueError(f"a nonce has {AEAD_NONCE} bytes, not {len(nonce)}")
    return <const uint8_t*> PyBytes_AsString(nonce)
