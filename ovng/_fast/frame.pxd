"""The 28-byte header every datagram begins with (PROTOCOL 1), read and written in place.

A packet is a pointer and a length. What is invalid has a negative reason; `DROP_NAMES` in `frame.pyx` names them.
The Switch's forwarding reads `frame_destination` and `frame_source` only, after `frame_check`.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "<endian.h>" nogil:
    uint16_t be16toh(uint16_t value)
    uint32_t be32toh(uint32_t value)
    uint64_t be64toh(uint64_t value)
    uint16_t htobe16(uint16_t value)
    uint32_t htobe32(uint32_t value)
    uint64_t htobe64(uint64_t value)


cdef enum:
    FRAME_VERSION = 1
    FRAME_HEADER = 28
    FRAME_TAG = 16
    FRAME_MAX = 65507  # UDP over IPv4
    LOCATOR_SIZE = 18

    FRAME_DATA = 1
    FRAME_CONTROL = 2
    FRAME_REPORT = 3
    FRAME_PRIVATE = 4

    FRAME_DUP = 0x0001
    FRAME_CLUSTER = 0x0002
    FRAME_SPARSE = 0x0004
    FRAME_FLAGS = FRAME_DUP | FRAME_CLUSTER | FRAME_SPARSE  # all that this version knows

cdef enum frame_reason:
    FRAME_SHORT = -1
    FRAME_LONG = -2
    FRAME_BAD_VERSION = -3
    FRAME_BAD_TYPE = -4
    FRAME_BAD_FLAGS = -5
    FRAME_SOURCE_ZERO = -6
    FRAME_SOURCE_IS_DESTINATION = -7

cdef struct frame_header:
    uint8_t type
    uint8_t key_id
    uint16_t flags
    uint64_t dst
    uint64_t src
    uint64_t number


# Unaligned network order; the compiler makes one load (or store) and a byte swap of each.

cdef inline uint16_t load_be16(const uint8_t* at) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, at, 2)
    return be16toh(value)


cdef inline uint32_t load_be32(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return be32toh(value)


cdef inline uint64_t load_be64(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return be64toh(value)


cdef inline void store_be16(uint8_t* at, uint16_t value) noexcept nogil:
    value = htobe16(value)
    memcpy(at, &value, 2)


cdef inline void store_be32(uint8_t* at, uint32_t value) noexcept nogil:
    value = htobe32(value)
    memcpy(at, &value, 4)


cdef inline void store_be64(uint8_t* at, uint64_t value) noexcept nogil:
    value = htobe64(value)
    memcpy(at, &value, 8)


# The fields; valid only after `frame_check` has accepted the datagram.

cdef inline int frame_type(const uint8_t* packet) noexcept nogil:
    return packet[0] & 15


cdef inline int frame_key_id(const uint8_t* packet) noexcept nogil:
    return packet[1]


cdef inline uint16_t frame_flags(const uint8_t* packet) noexcept nogil:
    return load_be16(packet + 2)


cdef inline uint64_t frame_destination(const uint8_t* packet) noexcept nogil:
    return load_be64(packet + 4)


cdef inline uint64_t frame_source(const uint8_t* packet) noexcept nogil:
    return load_be64(packet + 12)


cdef inline uint64_t frame_number(const uint8_t* packet) noexcept nogil:
    return load_be64(packet + 20)


cdef inline int frame_check(const uint8_t* packet, size_t length) noexcept nogil:
    """The type (1 … 4) of a datagram whose header follows the protocol, else a negative `frame_reason`."""
    cdef uint64_t source
    if length < FRAME_HEADER:
        return FRAME_SHORT
    if length > FRAME_MAX:
        return FRAME_LONG
    if packet[0] >> 4 != FRAME_VERSION:
        return FRAME_BAD_VERSION
    if not FRAME_DATA <= frame_type(packet) <= FRAME_PRIVATE:
        return FRAME_BAD_TYPE
    if frame_flags(packet) & ~FRAME_FLAGS:
        return FRAME_BAD_FLAGS
    source = frame_source(packet)
    if source == 0:
        return FRAME_SOURCE_ZERO
    if source == frame_destination(packet):
        return FRAME_SOURCE_IS_DESTINATION
    return frame_type(packet)


cdef inline int frame_parse(const uint8_t* packet, size_t length, frame_header* header) noexcept nogil:
    """`frame_check`, and the fields into `header` where it accepts."""
    cdef int kind = frame_check(packet, length)
    if kind < 0:
        return kind
    header.type = <uint8_t> kind
    header.key_id = packet[1]
    header.flags = frame_flags(packet)
    header.dst = frame_destination(packet)
    header.src = frame_source(packet)
    header.number = frame_number(packet)
    return kind


cdef inline void frame_write(uint8_t* packet, const frame_header* header) noexcept nogil:
    """28 bytes at `packet`. The caller answers for valid fields."""
    packet[0] = <uint8_t> (FRAME_VERSION << 4 | header.type)
    packet[1] = header.key_id
    store_be16(packet + 2, header.flags)
    store_be64(packet + 4, header.dst)
    store_be64(packet + 12, header.src)
    store_be64(packet + 20, header.number)
