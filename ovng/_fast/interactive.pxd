"""Which inner packets are interactive: by DSCP (RFC 2474) or by a port of TCP or UDP, either end's.

The set is published whole by the control thread. Inline only: there is no module of this name.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ovng._fast.frame cimport load_be16
from ovng._fast.inner cimport PROTOCOL_TCP, PROTOCOL_UDP, inner_header, inner_protocol
from ovng._fast.reclaim cimport retired

cdef struct interactive_set:
    retired link
    uint64_t dscp  # one bit each
    uint8_t ports[8192]  # one bit each


cdef inline bint interactive_port(const interactive_set* these, uint16_t port) noexcept nogil:
    return these.ports[port >> 3] >> (port & 7) & 1


cdef inline bint interactive_covers(const interactive_set* these, const uint8_t* packet, size_t length) noexcept nogil:
    """Of a packet, also one still to be segmented. Behind IPv6 extension headers and in later fragments nobody looks."""
    cdef int header = inner_header(packet, length)
    if header < 0:
        return False
    # The traffic class is the second and third half of an octet in IPv6, the second octet in IPv4.
    if these.dscp >> ((packet[1] if packet[0] >> 4 == 4 else load_be16(packet) >> 4 & 0xFF) >> 2) & 1:
        return True
    if inner_protocol(packet) != PROTOCOL_TCP and inner_protocol(packet) != PROTOCOL_UDP:
        return False
    if length < <size_t> header + 4 or (packet[0] >> 4 == 4 and load_be16(packet + 6) & 0x1FFF):
        return False
    return (
        interactive_port(these, load_be16(packet + header))
        or interactive_port(these, load_be16(packet + header + 2))
    )
