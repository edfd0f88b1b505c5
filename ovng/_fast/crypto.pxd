"""The system's libcrypto (OpenSSL 3.0 or newer), loaded at run time.

Nothing is linked and no header is needed to build: the few functions used are declared here as OpenSSL documents
them, and found by `dlopen`. Security updates come from the distribution. One struct of pointers serves the process;
`crypto_functions()` is NULL before `load()`.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef enum:
    CRYPTO_OCTET_STRING = 5  # OSSL_PARAM_OCTET_STRING
    CRYPTO_OPERATION_CIPHER = 2  # OSSL_OP_CIPHER

# OSSL_PARAM. An array of them ends with one whose key is NULL.
cdef struct crypto_param:
    const char* key
    unsigned int data_type
    void* data
    size_t data_size
    size_t return_size

# OSSL_DISPATCH. An array of them ends with the ID 0.
cdef struct crypto_dispatch:
    int id
    void* function

# OSSL_ALGORITHM. An array of them ends with one whose names are NULL.
cdef struct crypto_algorithm:
    const char* names
    const char* properties
    const crypto_dispatch* implementation
    const char* description

cdef struct crypto_api:
    unsigned long (*version_number)() noexcept nogil
    const char* (*version_text)(int kind) noexcept nogil
    void (*cleanse)(void* memory, size_t length) noexcept nogil
    void (*clear_errors)() noexcept nogil
    void* (*cipher_fetch)(void* library, const char* name, const char* properties) noexcept nogil
    const void* (*cipher_provider)(const void* cipher) noexcept nogil
    void* (*provider_context)(const void* provider) noexcept nogil
    const crypto_algorithm* (*provider_query)(const void* provider, int operation, int* no_store) noexcept nogil
    void (*provider_unquery)(const void* provider, int operation, const crypto_algorithm* offered) noexcept nogil
    void* (*md_fetch)(void* library, const char* name, const char* properties) noexcept nogil
    void* (*md_ctx_new)() noexcept nogil
    void (*md_ctx_free)(void* ctx) noexcept nogil
    int (*md_init)(void* ctx, const void* md, const void* params) noexcept nogil
    int (*md_update)(void* ctx, const void* data, size_t length) noexcept nogil
    int (*md_final)(void* ctx, uint8_t* out, unsigned int* written) noexcept nogil

cdef const crypto_api* crypto_functions() noexcept nogil
