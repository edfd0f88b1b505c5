"""Python's view of SipHash-2-4, for tests. See `siphash.pxd`."""

from cpython.bytes cimport PyBytes_AsString
from libc.stdint cimport uint8_t, uint64_t


cdef siphash_key _key(bytes key) except *:
    cdef siphash_key words
    if len(key) != 16:
        raise ValueError("a SipHash key has 16 bytes")
    siphash_set_key(&words, <const uint8_t*> PyBytes_AsString(key))
    return words


def siphash24(bytes key not None, bytes data not None):
    """The 64-bit SipHash-2-4 of `data` under a 16-byte key. Raises ValueError on another key length."""
    cdef siphash_key words = _key(key)
    return siphash(&words, <const uint8_t*> PyBytes_AsString(data), <size_t> len(data))


def siphash24_u64(bytes key not None, uint64_t value):
    """The same for the 8 bytes of `value`, least significant first: the path the table takes."""
    cdef siphash_key words = _key(key)
    return siphash_u64(&words, value)
