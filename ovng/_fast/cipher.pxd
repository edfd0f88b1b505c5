"""A cipher's functions as the provider of libcrypto has them, to be called for each packet.

EVP looks the length of the nonce up by name each time a nonce is set, in OpenSSL 3.0 by a dozen string comparisons
(openssl/openssl#20171): 60 of 500 ns for 1400 bytes, 60 of 185 for 64 bytes. So EVP finds the implementation, as the
machine's configuration wants it, and packets go to it directly. Its interface is public and kept stable for providers
that are built apart from libcrypto (provider-cipher(7), openssl-core_dispatch.h(7)).
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from ovng._fast.crypto cimport crypto_api, crypto_param

# OSSL_FUNC_cipher_…_fn. They return 1, or 0 when they refuse; `room` is what fits at `out`, at least as much as goes in.
ctypedef void* (*cipher_create)(void* provider) noexcept nogil
ctypedef void (*cipher_destroy)(void* ctx) noexcept nogil  # cleanses the key schedule
ctypedef int (*cipher_begin)(
    void* ctx, const uint8_t* key, size_t key_length, const uint8_t* iv, size_t iv_length, const crypto_param* params
) noexcept nogil
ctypedef int (*cipher_update)(
    void* ctx, uint8_t* out, size_t* written, size_t room, const uint8_t* data, size_t length
) noexcept nogil
ctypedef int (*cipher_final)(void* ctx, uint8_t* out, size_t* written, size_t room) noexcept nogil
ctypedef int (*cipher_get_params)(void* ctx, crypto_param* params) noexcept nogil

cdef struct cipher_api:
    void* provider
    cipher_create create
    cipher_destroy destroy
    cipher_begin seal_begin
    cipher_begin open_begin
    cipher_update update
    cipher_final final
    cipher_get_params get_params

# Under the GIL; for the life of the process. Raises RuntimeError where this libcrypto does not have the cipher.
cdef int cipher_find(cipher_api* found, const crypto_api* api, const char* name) except -1
