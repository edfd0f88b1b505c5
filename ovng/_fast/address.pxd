"""Inner addresses and prefixes as two machine words: IPv6 fills both, IPv4 the upper half of the first.

The version belongs to the value: `::/0` does not cover IPv4. Inline only: there is no module of this name.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ovng._fast.frame cimport load_be32, load_be64

cdef struct address:
    uint64_t high
    uint64_t low
    uint32_t version  # 4 or 6

cdef struct prefix:
    address base
    uint32_t bits


cdef inline uint64_t high_mask(uint32_t bits) noexcept nogil:
    return 0 if bits == 0 else ~<uint64_t> 0 if bits >= 64 else ~(~<uint64_t> 0 >> bits)


cdef inline uint64_t low_mask(uint32_t bits) noexcept nogil:
    return 0 if bits <= 64 else high_mask(bits - 64)


cdef inline void address_load(address* a, const uint8_t* at, uint32_t version) noexcept nogil:
    a.version = version
    if version == 4:
        a.high, a.low = <uint64_t> load_be32(at) << 32, 0
    else:
        a.high, a.low = load_be64(at), load_be64(at + 8)


# Of packets that `inner_header` accepts.

cdef inline void inner_source(address* a, const uint8_t* packet) noexcept nogil:
    if packet[0] >> 4 == 4:
        address_load(a, packet + 12, 4)
    else:
        address_load(a, packet + 8, 6)


cdef inline void inner_destination(address* a, const uint8_t* packet) noexcept nogil:
    if packet[0] >> 4 == 4:
        address_load(a, packet + 16, 4)
    else:
        address_load(a, packet + 24, 6)


cdef inline bint prefix_covers(const prefix* p, const address* a) noexcept nogil:
    return (
        p.base.version == a.version
        and (a.high ^ p.base.high) & high_mask(p.bits) == 0
        and (a.low ^ p.base.low) & low_mask(p.bits) == 0
    )


cdef inline bint address_is_local_noise(const address* a) noexcept nogil:
    """Multicast, IPv4 broadcast, link-local: a LAN's small talk, which no node is addressed by (RFC 1112, 4291)."""
    cdef uint32_t v4
    if a.version == 4:
        v4 = <uint32_t> (a.high >> 32)
        return v4 >> 28 == 14 or v4 == <uint32_t> 0xFFFFFFFF or v4 >> 16 == 0xA9FE
    return a.high >> 56 == 0xFF or a.high >> 54 == 0xFE80 >> 6
