"""See `segment.pxd`."""

from cpython.bytes cimport PyBytes_AsString
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from ovng._fast.frame cimport htobe16, load_be16, load_be32, store_be16, store_be32
from ovng._fast.inner cimport (
    INNER_BAD_VERSION,
    INNER_MAX,
    IPV6_HEADER,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_CHECKSUM,
    TCP_HEADER,
    UDP_CHECKSUM,
    UDP_HEADER,
    checksum_add,
    checksum_fold,
    checksum_put,
    inner_check,
    inner_protocol,
    inner_set_length,
    pseudo_header,
)
from ovng._fast.mss cimport (
    OPTION_AO, OPTION_MD5, TCP_FLAGS, TCP_SYN, mss_clamp, tcp_begins, tcp_option,
)

from ovng.errors import Malformed

DROP_NAMES = {
    SEGMENT_TRUNCATED: "tun_truncated",
    SEGMENT_VERSION: "tun_version",
    SEGMENT_LENGTH: "tun_length",
    SEGMENT_CHECKSUM_RANGE: "tun_checksum_range",
    SEGMENT_GSO_TYPE: "tun_gso_type",
    SEGMENT_GSO_SIZE: "tun_gso_size",
}

cdef enum:
    FIN_PSH = 0x01 | 0x08  # belong to the last segment
    CWR = 0x80  # belongs to the first
    RST_URG = 0x04 | 0x20
    CUT_MIN = 256  # payload bytes: less is no segment size


cdef int segment_begin(segmenter* s, const vnet_header* vnet, uint8_t* packet, size_t length) noexcept nogil:
    cdef int ip = inner_check(packet, length)
    if ip < 0:
        return SEGMENT_VERSION if ip == INNER_BAD_VERSION else SEGMENT_LENGTH
    s.packet = packet
    s.offset = 0
    if vnet.gso_type & ~VNET_GSO_ECN == VNET_GSO_NONE:
        return _begin_whole(s, vnet, packet, length, ip)
    return _begin_super(s, vnet, packet, length, ip)


cdef int _begin_whole(segmenter* s, const vnet_header* vnet, uint8_t* packet, size_t length, int ip) noexcept nogil:
    cdef size_t field
    if vnet.flags & VNET_NEEDS_CSUM:
        field = <size_t> vnet.csum_start + vnet.csum_offset
        if vnet.csum_start < ip or field + 2 > length:
            return SEGMENT_CHECKSUM_RANGE
        # The field holds the pseudo header's sum: adding everything from csum_start completes it.
        checksum_put(packet + field, checksum_add(packet + vnet.csum_start, length - vnet.csum_start, 0))
    s.headers = 0
    s.payload = s.size = <uint32_t> length
    return 0


cdef int _begin_super(segmenter* s, const vnet_header* vnet, uint8_t* packet, size_t length, int ip) noexcept nogil:
    cdef int kind = vnet.gso_type & ~VNET_GSO_ECN
    cdef int version = packet[0] >> 4
    cdef size_t start = vnet.csum_start
    cdef uint16_t told
    if not (
        (kind == VNET_GSO_TCPV4 and version == 4)
        or (kind == VNET_GSO_TCPV6 and version == 6)
        or kind == VNET_GSO_UDP_L4
    ):
        return SEGMENT_GSO_TYPE
    s.tcp = kind != VNET_GSO_UDP_L4
    # IPv6 extension headers may stand between; only then the protocol is further on than we look.
    if (start == <size_t> ip or version == 4) and inner_protocol(packet) != (PROTOCOL_TCP if s.tcp else PROTOCOL_UDP):
        return SEGMENT_GSO_TYPE
    if (
        not vnet.flags & VNET_NEEDS_CSUM
        or vnet.csum_offset != (TCP_CHECKSUM if s.tcp else UDP_CHECKSUM)
        or (start != <size_t> ip if version == 4 else start < IPV6_HEADER)
    ):
        return SEGMENT_CHECKSUM_RANGE
    if start + (TCP_HEADER if s.tcp else UDP_HEADER) > length:
        return SEGMENT_TRUNCATED
    s.headers = <uint32_t> start + ((packet[start + 12] >> 4) * 4 if s.tcp else UDP_HEADER)
    if s.headers < start + (TCP_HEADER if s.tcp else UDP_HEADER) or s.headers > length:
        return SEGMENT_TRUNCATED
    if s.headers > SEGMENT_MAX_HEADERS or (not s.tcp and load_be16(packet + start + 4) != length - start):
        return SEGMENT_LENGTH
    s.transport = <uint32_t> start
    s.payload = <uint32_t> (length - s.headers)
    s.size = vnet.gso_size
    if s.size == 0 or s.payload == 0 or s.headers + s.size > INNER_MAX:
        return SEGMENT_GSO_SIZE
    # The field holds the pseudo header's sum; what is taken out of it is the whole's length (RFC 1624).
    memcpy(&told, packet + start + vnet.csum_offset, 2)
    s.pseudo = <uint64_t> told + <uint16_t> ~htobe16(<uint16_t> (length - start))
    store_be16(packet + start + vnet.csum_offset, 0)
    _save_headers(s)
    return 0


cdef inline void _save_headers(segmenter* s) noexcept nogil:
    cdef uint8_t* transport = s.packet + s.transport
    memcpy(s.saved, s.packet, s.headers)
    if s.packet[0] >> 4 == 4:
        s.identification = load_be16(s.packet + 4)
    if s.tcp:
        s.sequence = load_be32(transport + 4)
        s.tcp_flags = transport[TCP_FLAGS]


cdef bint segment_fit(segmenter* s, uint32_t fits) noexcept nogil:
    if s.headers == 0 and not _begin_cut(s):
        return False
    if not s.tcp or fits < s.headers + CUT_MIN:
        return False
    s.size = min(s.size, fits - s.headers)
    return True


cdef bint _begin_cut(segmenter* s) noexcept nogil:
    """Make a whole TCP packet one that is to be segmented. Its checksum is made anew, so it must have been right."""
    cdef uint8_t* packet = s.packet
    cdef uint32_t length = s.payload
    cdef int start = tcp_begins(packet, length)
    cdef uint8_t* tcp = packet + start
    cdef uint64_t pseudo
    cdef uint32_t headers
    if start == 0 or tcp[TCP_FLAGS] & (TCP_SYN | RST_URG) or (packet[0] >> 4 == 4 and load_be16(packet + 6) & 0x2000):
        return False
    headers = <uint32_t> start + (tcp[12] >> 4) * 4
    if headers < <uint32_t> start + TCP_HEADER or headers >= length:
        return False
    if tcp_option(tcp, length - start, OPTION_MD5) or tcp_option(tcp, length - start, OPTION_AO):
        return False
    pseudo = pseudo_header(packet, PROTOCOL_TCP, 0)
    if checksum_fold(checksum_add(tcp, length - start, pseudo + htobe16(<uint16_t> (length - start)))) != 0xFFFF:
        return False
    s.tcp, s.transport, s.headers = True, <uint32_t> start, headers
    s.payload = s.size = length - headers
    s.pseudo = pseudo
    store_be16(tcp + TCP_CHECKSUM, 0)
    _save_headers(s)
    return True


cdef int segment_next(segmenter* s, uint8_t** packet, uint32_t* length) noexcept nogil:
    cdef uint32_t take = s.payload - s.offset
    cdef uint8_t* at = s.packet + s.offset
    cdef bint last = take <= s.size
    if take == 0:
        return 0
    if not last:
        take = s.size
    packet[0] = at
    length[0] = s.headers + take
    if s.headers:
        if s.offset:
            memcpy(at, s.saved, s.headers)
        _finish_headers(s, at, take, last)
    s.offset += take
    return 1


cdef inline void _finish_headers(segmenter* s, uint8_t* packet, uint32_t take, bint last) noexcept nogil:
    """Make lengths, ID, sequence, flags and checksums those of this segment. RFC 6864 wants an ID of its own."""
    cdef uint8_t* transport = packet + s.transport
    cdef uint32_t transport_length = s.headers - s.transport + take
    cdef uint8_t* checksum = transport + (TCP_CHECKSUM if s.tcp else UDP_CHECKSUM)
    cdef uint8_t flags = s.tcp_flags
    if packet[0] >> 4 == 4:
        store_be16(packet + 4, s.identification)
        s.identification += 1
    inner_set_length(packet, <int> s.transport, s.headers + take)
    if s.tcp:
        store_be32(transport + 4, s.sequence + s.offset)
        if not last:
            flags &= <uint8_t> ~FIN_PSH
        if s.offset:
            flags &= <uint8_t> ~CWR
        transport[13] = flags
    else:
        store_be16(transport + 4, <uint16_t> transport_length)
    checksum_put(
        checksum, checksum_add(transport, transport_length, s.pseudo + htobe16(<uint16_t> transport_length))
    )


def clamped(bytes packet not None, uint32_t fits):
    """The packet, with its MSS lowered to what packets of `fits` bytes carry if it is a SYN. Raises Malformed."""
    cdef size_t length = <size_t> len(packet)
    cdef uint8_t* copy
    if inner_check(<const uint8_t*> PyBytes_AsString(packet), length) < 0:
        raise Malformed(DROP_NAMES[SEGMENT_LENGTH])
    copy = <uint8_t*> malloc(length)
    if copy == NULL:
        raise MemoryError
    try:
        memcpy(copy, PyBytes_AsString(packet), length)
        mss_clamp(copy, length, fits)
        return (<char*> copy)[:length]
    finally:
        free(copy)


def segments(bytes frame not None, uint32_t fits=0):
    """The packets that one TUN read (virtio header first) stands for, TCP cut to `fits` bytes (0: as its sender did).

    Raises Malformed with the drop's reason.
    """
    cdef segmenter s
    cdef vnet_header vnet
    cdef uint8_t* packet
    cdef uint32_t length
    cdef size_t size = <size_t> len(frame)
    cdef uint8_t* copy
    cdef int verdict
    if size < VNET_HEADER:
        raise Malformed(DROP_NAMES[SEGMENT_TRUNCATED])
    memset(&s, 0, sizeof(s))
    memcpy(&vnet, PyBytes_AsString(frame), VNET_HEADER)
    # Exactly as large as the packet, so that a sanitizer sees any step beyond it.
    copy = <uint8_t*> malloc(size - VNET_HEADER or 1)
    if copy == NULL:
        raise MemoryError
    try:
        memcpy(copy, PyBytes_AsString(frame) + VNET_HEADER, size - VNET_HEADER)
        verdict = segment_begin(&s, &vnet, copy, size - VNET_HEADER)
        if verdict < 0:
            raise Malformed(DROP_NAMES[verdict])
        if fits and segment_largest(&s) > fits:
            segment_fit(&s, fits)
        found = []
        while segment_next(&s, &packet, &length):
            found.append((<char*> packet)[:length])
        return found
    finally:
        free(copy)
