"""Inner IP packets: what the data path must know of them, and the Internet checksum (RFC 1071).

A packet is a pointer and a length; nothing here reads beyond it. Inline only: there is no module of this name.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ovng._fast.frame cimport htobe16, load_be16, store_be16

cdef extern from "checksum.h" nogil:
    # `total` plus the 16-bit words of `data` in memory order, not yet folded. 64 KiB at a time cannot overflow.
    uint64_t checksum_add(const uint8_t* data, size_t length, uint64_t total)

cdef enum:
    IPV4_HEADER = 20
    IPV6_HEADER = 40
    PROTOCOL_TCP = 6
    PROTOCOL_UDP = 17
    TCP_HEADER = 20
    UDP_HEADER = 8
    TCP_CHECKSUM = 16  # offsets in the transport header
    UDP_CHECKSUM = 6
    INNER_MAX = 65535

    INNER_BAD_VERSION = -1
    INNER_BAD_LENGTH = -2


cdef inline int inner_header(const uint8_t* packet, size_t length) noexcept nogil:
    """Bytes of the (fixed) IP header: 20 … 60 for IPv4, 40 for IPv6. They are inside the packet, or it is negative."""
    cdef int header
    if length < 1:
        return INNER_BAD_LENGTH
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        if header < IPV4_HEADER or length < <size_t> header:
            return INNER_BAD_LENGTH
        return header
    if packet[0] >> 4 == 6:
        return IPV6_HEADER if length >= IPV6_HEADER else INNER_BAD_LENGTH
    return INNER_BAD_VERSION


cdef inline int inner_check(const uint8_t* packet, size_t length) noexcept nogil:
    """`inner_header`, and the length that the header tells is exactly the packet's."""
    cdef int header = inner_header(packet, length)
    if header < 0:
        return header
    if packet[0] >> 4 == 4:
        return header if load_be16(packet + 2) == length else INNER_BAD_LENGTH
    return header if load_be16(packet + 4) + <size_t> IPV6_HEADER == length else INNER_BAD_LENGTH


cdef inline int inner_protocol(const uint8_t* packet) noexcept nogil:
    return packet[9] if packet[0] >> 4 == 4 else packet[6]


cdef inline uint16_t checksum_fold(uint64_t total) noexcept nogil:
    total = <uint32_t> total + (total >> 32)
    total = <uint32_t> total + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return <uint16_t> ((total & 0xFFFF) + (total >> 16))


cdef inline uint64_t pseudo_header(const uint8_t* packet, int protocol, uint32_t transport_length) noexcept nogil:
    """The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1). The IP header must be complete."""
    cdef uint64_t total = <uint64_t> htobe16(<uint16_t> protocol) + htobe16(<uint16_t> transport_length)
    if packet[0] >> 4 == 4:
        return checksum_add(packet + 12, 8, total)
    return checksum_add(packet + 8, 32, total)


cdef inline void checksum_put(uint8_t* field, uint64_t total) noexcept nogil:
    """Store the checksum of `total`; never 0, which in UDP would say "none" (RFC 768) and elsewhere equals 0xFFFF."""
    cdef uint16_t value = <uint16_t> ~checksum_fold(total)
    if value == 0:
        value = 0xFFFF
    memcpy(field, &value, 2)


cdef inline void partial_put(uint8_t* field, uint64_t total) noexcept nogil:
    """Store a sum that the kernel is to complete over the transport part."""
    cdef uint16_t value = checksum_fold(total)
    memcpy(field, &value, 2)


cdef inline void inner_set_length(uint8_t* packet, int header, uint32_t length) noexcept nogil:
    """Tell the new total length; `header` is what `inner_header` said. IPv4's header checksum follows."""
    cdef uint16_t value = 0
    if packet[0] >> 4 == 6:
        store_be16(packet + 4, <uint16_t> (length - IPV6_HEADER))
        return
    store_be16(packet + 2, <uint16_t> length)
    memcpy(packet + 10, &value, 2)
    value = <uint16_t> ~checksum_fold(checksum_add(packet, header, 0))
    memcpy(packet + 10, &value, 2)
