"""The largest segment that TCP's ends announce, made to fit the path (RFC 9293, 3.7.1; RFC 6691).

A SYN says how large a segment its sender takes. Where the tunnel carries less, the node lowers the number as the SYN
passes, in both directions, so that segments fit from the first one on. For all that is no SYN it is one test. Inline
only: there is no module of this name.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ovng._fast.frame cimport htobe16, load_be16, store_be16
from ovng._fast.inner cimport (
    IPV4_HEADER, IPV6_HEADER, PROTOCOL_TCP, TCP_CHECKSUM, TCP_HEADER, checksum_fold, inner_header, inner_protocol,
)

cdef enum:
    TCP_FLAGS = 13  # offset
    TCP_SYN = 0x02
    OPTION_END = 0
    OPTION_NOTHING = 1
    OPTION_MSS = 2
    OPTION_MD5 = 19  # RFC 2385
    OPTION_AO = 29  # RFC 5925


cdef inline int tcp_begins(const uint8_t* packet, size_t length) noexcept nogil:
    """Where TCP's header begins, all of it inside the packet. 0: no TCP, a later fragment, behind extension headers."""
    cdef int header
    if inner_protocol(packet) != PROTOCOL_TCP:
        return 0
    header = inner_header(packet, length)
    if header < 0 or length < <size_t> header + TCP_HEADER:
        return 0
    if packet[0] >> 4 == 4 and load_be16(packet + 6) & 0x1FFF:
        return 0
    return header


cdef inline int tcp_option(const uint8_t* tcp, size_t length, uint8_t kind) noexcept nogil:
    """Offset of the first option of this kind in the TCP header, which it does not leave; 0: none. `length` ≥ 20."""
    cdef size_t end = (tcp[12] >> 4) * 4
    cdef size_t at = TCP_HEADER
    if end > length:
        return 0
    while at + 1 < end:
        if tcp[at] == OPTION_END:
            return 0
        if tcp[at] == OPTION_NOTHING:
            at += 1
            continue
        if tcp[at + 1] < 2 or at + tcp[at + 1] > end:
            return 0
        if tcp[at] == kind:
            return <int> at
        at += tcp[at + 1]
    return 0


cdef inline void checksum_replace(uint8_t* checksum, size_t offset, uint8_t* field, uint16_t value) noexcept nogil:
    """Store two bytes, `offset` bytes into what the checksum covers, and follow in the checksum (RFC 1624, eq. 3)."""
    cdef uint16_t words[3]  # old ones, then the checksum; an odd offset touches two words
    cdef uint64_t total
    cdef uint8_t* base = field - (offset & 1)
    cdef size_t size = 4 if offset & 1 else 2
    words[0] = words[1] = 0
    memcpy(words, base, size)
    memcpy(&words[2], checksum, 2)
    total = <uint64_t> <uint16_t> ~words[2] + <uint16_t> ~words[0] + (<uint16_t> ~words[1] if size == 4 else 0)
    store_be16(field, value)
    words[0] = words[1] = 0
    memcpy(words, base, size)
    total += <uint64_t> words[0] + words[1]
    words[2] = <uint16_t> ~checksum_fold(total)
    memcpy(checksum, &words[2], 2)


cdef inline void mss_clamp(uint8_t* packet, size_t length, uint32_t fits) noexcept nogil:
    """Lower the MSS of a SYN to what packets of `fits` bytes can carry. The packet has passed `inner_check`."""
    cdef int header
    cdef int at
    cdef uint8_t* tcp
    cdef uint32_t most
    if inner_protocol(packet) != PROTOCOL_TCP:
        return
    header = tcp_begins(packet, length)
    if header == 0 or not packet[header + TCP_FLAGS] & TCP_SYN:
        return
    tcp = packet + header
    at = tcp_option(tcp, length - header, OPTION_MSS)
    most = fits - TCP_HEADER - (IPV4_HEADER if packet[0] >> 4 == 4 else IPV6_HEADER)
    if at and tcp[at + 1] == 4 and load_be16(tcp + at + 2) > most:
        checksum_replace(tcp + TCP_CHECKSUM, at + 2, tcp + at + 2, <uint16_t> most)
