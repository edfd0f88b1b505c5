"""A key and a certificate request (PKCS #10, RFC 2986) through the system's libcrypto: what a router has anyway.

`cryptography` stays on the CA's machine. The functions are those of OpenSSL 3.0; ovng's own data path finds the library
under the same names (`_fast/crypto`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_long, c_void_p
from typing import NamedTuple

from ovng._fast import crypto
from ovng.errors import SystemProblem

_MBSTRING_UTF8 = 0x1000
_BIO_CTRL_INFO = 3  # BIO_get_mem_data
_GROUP = b"P-256"


class Request(NamedTuple):
    """PEM both. The key is PKCS #8, and mutable, so that it can be wiped."""

    key: bytearray
    csr: bytes


class _Library:
    """The functions, each with its types; one that fails raises SystemProblem."""

    def __init__(self) -> None:
        names = [name for name in crypto.SONAMES if _loads(name)]
        if not names:
            raise SystemProblem("no libcrypto of OpenSSL 3.0 or newer: install it (OpenWrt: libopenssl)")
        self._library = ctypes.CDLL(names[0])

    def call(self, name: str, result: type | None, *typed: tuple[type, object]) -> int:
        """Call a function: what it returns, which 0 (NULL) or less never is."""
        function = getattr(self._library, name)
        function.restype, function.argtypes = result, [kind for kind, _ in typed]
        value = function(*(argument for _, argument in typed))
        if result is not None and (value is None or value <= 0):
            raise SystemProblem(f"libcrypto makes no key or request here ({name} fails)")
        return int(value or 0)

    @contextmanager
    def made(self, name: str, free: str, *typed: tuple[type, object]) -> Iterator[c_void_p]:
        """An object for as long as the context lasts."""
        value = c_void_p(self.call(name, c_void_p, *typed))
        try:
            yield value
        finally:
            self.call(free, None, (c_void_p, value))

    def pem(self, memory: str, write: Callable[[c_void_p], object]) -> bytearray:
        """What `write` writes into a memory BIO of this kind."""
        with self.made("BIO_new", "BIO_free_all", (c_void_p, self.call(memory, c_void_p))) as bio:
            write(bio)
            data = c_void_p()
            size = self.call(
                "BIO_ctrl",
                c_long,
                (c_void_p, bio),
                (c_int, _BIO_CTRL_INFO),
                (c_long, 0),
                (c_void_p, ctypes.addressof(data)),
            )
            copy = bytearray(size)
            ctypes.memmove((ctypes.c_char * size).from_buffer(copy), data, size)
            return copy


def _loads(name: str) -> bool:
    try:
        return hasattr(ctypes.CDLL(name), "EVP_PKEY_generate")  # OpenSSL 3.0
    except OSError:
        return False


def make_request(name: str) -> Request:
    """A new P-256 key, and a request for a certificate under this name (ASCII, 1 … 63), signed with it.

    Raises SystemProblem where libcrypto is missing or does not do it."""
    ssl = _Library()
    with _new_key(ssl) as key, ssl.made("X509_REQ_new", "X509_REQ_free") as request:
        subject = c_void_p(ssl.call("X509_REQ_get_subject_name", c_void_p, (c_void_p, request)))
        ssl.call(
            "X509_NAME_add_entry_by_txt",
            c_int,
            (c_void_p, subject),
            (c_char_p, b"CN"),
            (c_int, _MBSTRING_UTF8),
            (c_char_p, name.encode()),
            (c_int, -1),
            (c_int, -1),
            (c_int, 0),
        )
        ssl.call("X509_REQ_set_pubkey", c_int, (c_void_p, request), (c_void_p, key))
        digest = ssl.call("EVP_sha256", c_void_p)
        ssl.call("X509_REQ_sign", c_int, (c_void_p, request), (c_void_p, key), (c_void_p, digest))

        def write_request(bio: c_void_p) -> None:
            ssl.call("PEM_write_bio_X509_REQ", c_int, (c_void_p, bio), (c_void_p, request))

        def write_key(bio: c_void_p) -> None:
            none = [(c_void_p, None), (c_void_p, None), (c_int, 0), (c_void_p, None), (c_void_p, None)]
            ssl.call("PEM_write_bio_PKCS8PrivateKey", c_int, (c_void_p, bio), (c_void_p, key), *none)

        return Request(ssl.pem("BIO_s_secmem", write_key), bytes(ssl.pem("BIO_s_mem", write_request)))


@contextmanager
def _new_key(ssl: _Library) -> Iterator[c_void_p]:
    parameters = (c_void_p, None), (c_char_p, b"EC"), (c_void_p, None)
    with ssl.made("EVP_PKEY_CTX_new_from_name", "EVP_PKEY_CTX_free", *parameters) as context:
        ssl.call("EVP_PKEY_keygen_init", c_int, (c_void_p, context))
        ssl.call("EVP_PKEY_CTX_set_group_name", c_int, (c_void_p, context), (c_char_p, _GROUP))
        key = c_void_p()
        ssl.call("EVP_PKEY_generate", c_int, (c_void_p, context), (c_void_p, ctypes.addressof(key)))
    try:
        yield key
    finally:
        ssl.call("EVP_PKEY_free", None, (c_void_p, key))
