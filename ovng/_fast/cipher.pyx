"""See `cipher.pxd`."""

from libc.stddef cimport size_t
from libc.string cimport memset, strchr, strlen

from ovng._fast.crypto cimport CRYPTO_OPERATION_CIPHER, crypto_algorithm, crypto_api, crypto_dispatch

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t length)

# OSSL_FUNC_CIPHER_… of openssl/core_dispatch.h
cdef enum:
    NEWCTX = 1
    ENCRYPT_INIT = 2
    DECRYPT_INIT = 3
    UPDATE = 4
    FINAL = 5
    FREECTX = 7
    GET_CTX_PARAMS = 10


cdef int cipher_find(cipher_api* found, const crypto_api* api, const char* name) except -1:
    cdef void* cipher = api.cipher_fetch(NULL, name, NULL)  # never freed: it keeps its provider loaded
    cdef const void* provider
    cdef const crypto_algorithm* offered
    cdef int no_store = 0
    cdef cipher_api read
    if cipher == NULL:
        api.clear_errors()
        raise RuntimeError(f"this libcrypto does not offer {name.decode()}")
    provider = api.cipher_provider(cipher)
    offered = api.provider_query(provider, CRYPTO_OPERATION_CIPHER, &no_store)
    try:
        _read(&read, _implementation(offered, name))
    finally:
        api.provider_unquery(provider, CRYPTO_OPERATION_CIPHER, offered)
    read.provider = api.provider_context(provider)
    if (
        read.create == NULL or read.destroy == NULL or read.seal_begin == NULL or read.open_begin == NULL
        or read.update == NULL or read.final == NULL or read.get_params == NULL
    ):
        raise RuntimeError(f"the provider of {name.decode()} in this libcrypto lacks functions of an AEAD")
    found[0] = read
    return 0


cdef const crypto_dispatch* _implementation(const crypto_algorithm* offered, const char* name) noexcept:
    while offered != NULL and offered.names != NULL:
        if _is_among(offered.names, name):
            return offered.implementation
        offered += 1
    return NULL


cdef bint _is_among(const char* names, const char* name) noexcept:
    """A provider lists an algorithm's names with colons between them."""
    cdef size_t length = strlen(name)
    while names != NULL:
        if strncasecmp(names, name, length) == 0 and names[length] in (b":", b"\0"):
            return True
        names = strchr(names, b":")
        names = names + 1 if names != NULL else NULL
    return False


cdef void _read(cipher_api* found, const crypto_dispatch* entry) noexcept:
    memset(found, 0, sizeof(found[0]))
    while entry != NULL and entry.id != 0:
        if entry.id == NEWCTX:
            found.create = <cipher_create> entry.function
        elif entry.id == FREECTX:
            found.destroy = <cipher_destroy> entry.function
        elif entry.id == ENCRYPT_INIT:
            found.seal_begin = <cipher_begin> entry.function
        elif entry.id == DECRYPT_INIT:
            found.open_begin = <cipher_begin> entry.function
        elif entry.id == UPDATE:
            found.update = <cipher_update> entry.function
        elif entry.id == FINAL:
            found.final = <cipher_final> entry.function
        elif entry.id == GET_CTX_PARAMS:
            found.get_params = <cipher_get_params> entry.function
        entry += 1
