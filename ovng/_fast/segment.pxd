"""Segmentation of what TUN hands over: one super-packet becomes many packets that fit the MTU, checksums complete.

The kernel leaves segmentation and checksums to us (TSO, USO, virtio 1.2, 5.1.6.2), says so in the virtio header, and
we finish both here, so that the wire never depends on anybody's offloads (PROTOCOL 2).

No payload byte is copied. Segment i's payload lies in the buffer where it is needed; its headers are written straight
before it, over the tail of segment i−1. So the caller must be done with one segment (sealed into another buffer)
before it asks for the next. Only the headers of the first segment are saved aside.

Where the way to a peer is narrower than the TUN, TCP is cut smaller here than its sender has cut it: its sequence
numbers count bytes, so the far end sees nothing but smaller segments, and nothing needs to be fragmented.

    read:       | headers | payload 0 | payload 1 | payload 2 |
    segment 0:  [ headers | payload 0 ]
    segment 1:            [·· headers | payload 1 ]
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    VNET_HEADER = 10
    VNET_NEEDS_CSUM = 1  # flags
    VNET_GSO_NONE = 0  # gso_type
    VNET_GSO_TCPV4 = 1
    VNET_GSO_TCPV6 = 4
    VNET_GSO_UDP_L4 = 5
    VNET_GSO_ECN = 0x80

    SEGMENT_MAX_HEADERS = 256  # IP with options or extensions, TCP with options

cdef enum:
    SEGMENT_TRUNCATED = -1  # headers reach beyond the packet
    SEGMENT_VERSION = -2  # neither IPv4 nor IPv6
    SEGMENT_LENGTH = -3  # the IP or UDP header tells another length, or headers are longer than any
    SEGMENT_CHECKSUM_RANGE = -4  # checksum start or offset outside the packet
    SEGMENT_GSO_TYPE = -5  # unknown, or not what the packet is
    SEGMENT_GSO_SIZE = -6  # no segment size, or no payload

# In the machine's byte order (a legacy virtio header, as TUN has it by default).
cdef struct vnet_header:
    uint8_t flags
    uint8_t gso_type
    uint16_t hdr_len
    uint16_t gso_size
    uint16_t csum_start
    uint16_t csum_offset

cdef struct segmenter:
    uint8_t* packet
    uint32_t headers  # bytes repeated before every segment; 0: the packet passes whole
    uint32_t transport  # where TCP or UDP begins
    uint32_t payload  # bytes to give out
    uint32_t size  # of it per segment
    uint32_t offset  # of it given out
    uint64_t pseudo  # sum of the pseudo header without a length
    uint32_t sequence
    uint16_t identification
    uint8_t tcp_flags
    bint tcp
    uint8_t saved[SEGMENT_MAX_HEADERS]

# `packet` (without the virtio header) stays the caller's and is written to. 0, or a negative segment_reason.
cdef int segment_begin(segmenter* s, const vnet_header* vnet, uint8_t* packet, size_t length) noexcept nogil


cdef inline uint32_t segment_largest(const segmenter* s) noexcept nogil:
    """Bytes of the largest packet that will come out."""
    return s.headers + (s.size if s.size < s.payload else s.payload)


# Between the two: cut TCP smaller, so that no packet is larger than `fits`. False: it is no TCP that may be cut (a SYN,
# urgent data, a signature, a wrong checksum, a fragment), and comes out as it is.
cdef bint segment_fit(segmenter* s, uint32_t fits) noexcept nogil

# 1 with the next packet, valid until the next call; 0 when all are out.
cdef int segment_next(segmenter* s, uint8_t** packet, uint32_t* length) noexcept nogil
