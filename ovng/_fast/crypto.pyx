"""Finds libcrypto and its functions, once per process. See `crypto.pxd`."""

from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlclose, dlerror, dlopen, dlsym


cdef extern from "cpu.h" nogil:
    int ovng_cpu_has_aes()


cdef enum:
    OPENSSL_3 = 0x30000000

SONAMES = ("libcrypto.so.4", "libcrypto.so.3", "libcrypto.so")  # the last: a build of one's own

cdef crypto_api _functions
cdef bint _loaded = False
_found = ""


cdef const crypto_api* crypto_functions() noexcept nogil:
    """The loaded functions, NULL before `load()`. Never changes afterwards."""
    return &_functions if _loaded else NULL


cdef void* _symbol(void* library, const char* name) except NULL:
    cdef void* found = dlsym(library, name)
    if found == NULL:
        raise RuntimeError(f"libcrypto lacks {name.decode()}: OpenSSL 3.0 or newer is needed")
    return found


cdef crypto_api _resolve(void* library) except *:
    cdef crypto_api api
    api.version_number = <unsigned long (*)() noexcept nogil> _symbol(library, "OpenSSL_version_num")
    if api.version_number() < OPENSSL_3:
        raise RuntimeError(f"libcrypto {api.version_number():#x} is too old: OpenSSL 3.0 or newer is needed")
    api.version_text = <const char* (*)(int) noexcept nogil> _symbol(library, "OpenSSL_version")
    api.cleanse = <void (*)(void*, size_t) noexcept nogil> _symbol(library, "OPENSSL_cleanse")
    api.clear_errors = <void (*)() noexcept nogil> _symbol(library, "ERR_clear_error")
    api.cipher_fetch = <void* (*)(void*, const char*, const char*) noexcept nogil> _symbol(library, "EVP_CIPHER_fetch")
    api.cipher_provider = <const void* (*)(const void*) noexcept nogil> _symbol(library, "EVP_CIPHER_get0_provider")
    api.provider_context = <void* (*)(const void*) noexcept nogil> _symbol(library, "OSSL_PROVIDER_get0_provider_ctx")
    api.provider_query = <const crypto_algorithm* (*)(const void*, int, int*) noexcept nogil> _symbol(
        library, "OSSL_PROVIDER_query_operation"
    )
    api.provider_unquery = <void (*)(const void*, int, const crypto_algorithm*) noexcept nogil> _symbol(
        library, "OSSL_PROVIDER_unquery_operation"
    )
    api.md_fetch = <void* (*)(void*, const char*, const char*) noexcept nogil> _symbol(library, "EVP_MD_fetch")
    api.md_ctx_new = <void* (*)() noexcept nogil> _symbol(library, "EVP_MD_CTX_new")
    api.md_ctx_free = <void (*)(void*) noexcept nogil> _symbol(library, "EVP_MD_CTX_free")
    api.md_init = <int (*)(void*, const void*, const void*) noexcept nogil> _symbol(library, "EVP_DigestInit_ex2")
    api.md_update = <int (*)(void*, const void*, size_t) noexcept nogil> _symbol(library, "EVP_DigestUpdate")
    api.md_final = <int (*)(void*, uint8_t*, unsigned int*) noexcept nogil> _symbol(library, "EVP_DigestFinal_ex")
    return api


cdef bytes _dl_problem():
    cdef const char* problem = dlerror()
    return problem if problem != NULL else b"cannot be loaded"


def load(path=None):
    """Load libcrypto from `path`, or of `SONAMES` the one with the highest version that works; returns a line for
    people: version and file. The system's loader finds them, where its configuration says and nowhere else.

    Later calls return the same line: the library never changes while the process lives.
    Raises RuntimeError (one line) when each is missing, lacks a function, or is older than OpenSSL 3.0.
    """
    global _functions, _loaded, _found
    cdef void* library
    cdef void* best = NULL
    cdef crypto_api api
    cdef bytes name
    if _loaded:
        return _found
    reasons = []
    for candidate in (path,) if path is not None else SONAMES:
        name = candidate.encode()
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL)
        if library == NULL:
            reasons.append(_dl_problem().decode("utf-8", "replace"))
            continue
        try:
            api = _resolve(library)
        except RuntimeError as problem:
            reasons.append(f"{candidate}: {problem}")
            dlclose(library)
            continue
        if best != NULL and api.version_number() <= _functions.version_number():
            dlclose(library)
            continue
        if best != NULL:
            dlclose(best)
        best = library
        _functions = api
        _found = f"{api.version_text(0).decode()} ({candidate})"
    if best == NULL:
        raise RuntimeError(f"no libcrypto of OpenSSL 3.0 or newer: {'; '.join(reasons)}")
    _loaded = True
    return _found


def cpu_has_aes():
    """True where the CPU has instructions for AES and GCM's multiplication."""
    return bool(ovng_cpu_has_aes())
