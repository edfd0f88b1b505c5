"""The system's libcrypto (OpenSSL 3.0 or newer), loaded at run time.

Nothing is linked and no header is needed to build: the few functions used are declared here as OpenSSL documents
them, and found by `dlopen`. Security updates come from the distribution. One struct of pointers serves the process;
`crypto_functions()` is NULL before `load()`.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef enum:
    CRYPTO_OCTET_STRING = 5  # OSSL_PARAM_OCTET_STRING

# OSSL_PARAM. An array of them ends with one whose key is NULL.
cdef struct crypto_param:
    const char* key
    unsigned int data_type
    void* data
    size_t data_size
    size_t return_size

cdef struct crypto_api:
    unsigned long (*version_number)() noexcept nogil
    const char* (*version_text)(int kind) noexcept nogil
    void (*cleanse)(void* memory, size_t length) noexcept nogil
    void (*clear_errors)() noexcept nogil
    void* (*cipher_fetch)(void* library, const char* name, const char* properties) noexcept nogil
    void (*cipher_free)(void* cipher) noexcept nogil
    void* (*ctx_new)() noexcept nogil
    void (*ctx_free)(void* ctx) noexcept nogil
    int (*ctx_get_params)(void* ctx, crypto_param* params) noexcept nogil
    int (*ctx_set_params)(void* ctx, const crypto_param* params) noexcept nogil
    int (*init)(
        void* ctx, const void* cipher, const uint8_t* key, const uint8_t* iv, int encrypt, const void* params
    ) noexcept nogil
    int (*update)(void* ctx, uint8_t* out, int* written, const uint8_t* data, int length) noexcept nogil
    int (*final)(void* ctx, uint8_t* out, int* written) noexcept nogil
    void* (*md_fetch)(void* library, const char* name, const char* properties) noexcept nogil
    void* (*md_ctx_new)() noexcept nogil
    void (*md_ctx_free)(void* ctx) noexcept nogil
    int (*md_init)(void* ctx, const void* md, const void* params) noexcept nogil
    int (*md_update)(void* ctx, const void* data, size_t length) noexcept nogil
    int (*md_final)(void* ctx, uint8_t* out, unsigned int* written) noexcept nogil

cdef const crypto_api* crypto_functions() noexcept nogil
