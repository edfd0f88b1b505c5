"""SipHash-2-4 (Aumasson, Bernstein 2012): a keyed hash that strangers cannot aim at one bucket.

Node IDs come from certificates, and whoever makes keys can choose bits of an ID; a random key per table makes that
worthless. 64-bit IDs are hashed as one word, without a buffer.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef extern from "<endian.h>" nogil:
    uint64_t le64toh(uint64_t value)

cdef struct siphash_key:
    uint64_t k0
    uint64_t k1

cdef struct siphash_state:
    uint64_t v0
    uint64_t v1
    uint64_t v2
    uint64_t v3


cdef inline uint64_t _rotate(uint64_t value, int bits) noexcept nogil:
    return value << bits | value >> (64 - bits)


cdef inline void _round(siphash_state* s) noexcept nogil:
    s.v0 += s.v1
    s.v1 = _rotate(s.v1, 13) ^ s.v0
    s.v0 = _rotate(s.v0, 32)
    s.v2 += s.v3
    s.v3 = _rotate(s.v3, 16) ^ s.v2
    s.v0 += s.v3
    s.v3 = _rotate(s.v3, 21) ^ s.v0
    s.v2 += s.v1
    s.v1 = _rotate(s.v1, 17) ^ s.v2
    s.v2 = _rotate(s.v2, 32)


cdef inline void _begin(siphash_state* s, const siphash_key* key) noexcept nogil:
    s.v0 = key.k0 ^ <uint64_t> 0x736F6D6570736575
    s.v1 = key.k1 ^ <uint64_t> 0x646F72616E646F6D
    s.v2 = key.k0 ^ <uint64_t> 0x6C7967656E657261
    s.v3 = key.k1 ^ <uint64_t> 0x7465646279746573


cdef inline void _absorb(siphash_state* s, uint64_t word) noexcept nogil:
    s.v3 ^= word
    _round(s)
    _round(s)
    s.v0 ^= word


cdef inline uint64_t _finish(siphash_state* s) noexcept nogil:
    s.v2 ^= 0xFF
    _round(s)
    _round(s)
    _round(s)
    _round(s)
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3


cdef inline void siphash_set_key(siphash_key* key, const uint8_t* bytes16) noexcept nogil:
    memcpy(&key.k0, bytes16, 8)
    memcpy(&key.k1, bytes16 + 8, 8)
    key.k0 = le64toh(key.k0)
    key.k1 = le64toh(key.k1)


cdef inline uint64_t siphash_u64(const siphash_key* key, uint64_t value) noexcept nogil:
    """The hash of the 8 bytes of `value`, least significant first."""
    cdef siphash_state s
    _begin(&s, key)
    _absorb(&s, value)
    _absorb(&s, <uint64_t> 8 << 56)
    return _finish(&s)


cdef inline uint64_t siphash(const siphash_key* key, const uint8_t* data, size_t length) noexcept nogil:
    cdef siphash_state s
    cdef uint64_t word
    cdef uint64_t last = <uint64_t> length << 56
    cdef size_t at = 0
    cdef size_t i
    _begin(&s, key)
    while at + 8 <= length:
        memcpy(&word, data + at, 8)
        _absorb(&s, le64toh(word))
        at += 8
    for i in range(length - at):
        last |= <uint64_t> data[at + i] << (8 * i)
    _absorb(&s, last)
    return _finish(&s)
