"""See `coalesce.pxd`."""

from cpython.bytes cimport PyBytes_AsString
from libc.errno cimport EINTR, EINVAL, EMSGSIZE, EOPNOTSUPP, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from ovng._fast.frame cimport load_be16, load_be32, store_be16
from ovng._fast.inner cimport (
    INNER_MAX,
    IPV4_HEADER,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_CHECKSUM,
    TCP_HEADER,
    UDP_CHECKSUM,
    UDP_HEADER,
    checksum_add,
    checksum_fold,
    inner_check,
    inner_protocol,
    inner_set_length,
    partial_put,
    pseudo_header,
)
from ovng._fast.segment cimport (
    VNET_GSO_TCPV4,
    VNET_GSO_TCPV6,
    VNET_GSO_UDP_L4,
    VNET_NEEDS_CSUM,
)
from ovng._fast.udp cimport UDP_SEGMENTS_SAFE

cdef enum:
    PSH = 0x08
    ACK = 0x10
    IPV4_DONT_FRAGMENT = 0x4000
    IPV4_FRAGMENT = 0x3FFF  # more fragments, or an offset
    IPV6_HOP_BY_HOP = 0  # extension headers
    IPV6_ROUTING = 43
    IPV6_FRAGMENT = 44
    IPV6_DESTINATION = 60


cdef struct candidate:
    const uint8_t* packet
    uint32_t length
    uint32_t transport
    uint32_t headers
    uint32_t payload
    bint tcp
    bint joins  # may begin or continue a run


cdef void coalesce_init(coalescer* c, int fd, bint vnet, bint tso, bint uso) noexcept nogil:
    memset(c, 0, sizeof(c[0]))
    c.fd, c.vnet = fd, vnet
    c.tso, c.uso = vnet and tso, vnet and uso


cdef void coalesce_put(coalescer* c, const uint8_t* packet, uint32_t length) noexcept nogil:
    cdef candidate new
    cdef flow* run
    if not (c.tso or c.uso):
        _write_whole(c, packet, length)
        return
    if not _examine(c, packet, length, &new):
        if _may_be_gathered(packet):
            coalesce_flush(c)  # it must not overtake
        _write_whole(c, packet, length)
        return
    run = _find(c, &new)
    if run != NULL:
        if new.joins and _fits(run, &new):
            _append(run, &new)
            return
        _write_run(c, run)
    if not new.joins:
        _write_whole(c, packet, length)
        return
    if run == NULL:
        run = _free_flow(c)
    _start(run, &new)


cdef void coalesce_flush(coalescer* c) noexcept nogil:
    cdef int i
    for i in range(COALESCE_FLOWS):
        _write_run(c, &c.flows[i])


cdef inline bint _examine(coalescer* c, const uint8_t* packet, uint32_t length, candidate* new) noexcept nogil:
    """Whether this is a whole TCP or UDP packet with plain IP headers; if so `new` describes it."""
    cdef int protocol = inner_protocol(packet)
    cdef uint32_t minimum
    cdef uint8_t flags
    new.packet, new.length = packet, length
    if packet[0] >> 4 == 4:
        new.transport = (packet[0] & 15) * 4
        if new.transport != IPV4_HEADER or load_be16(packet + 6) & IPV4_FRAGMENT:
            return False
    else:
        new.transport = 40
    if protocol == PROTOCOL_TCP:
        new.tcp, minimum = True, TCP_HEADER
    elif protocol == PROTOCOL_UDP:
        new.tcp, minimum = False, UDP_HEADER
    else:
        return False
    if length < new.transport + minimum:
        return False
    if new.tcp:
        minimum = (packet[new.transport + 12] >> 4) * 4
        if minimum < TCP_HEADER or length < new.transport + minimum:
            return False
    new.headers = new.transport + minimum
    new.payload = length - new.headers
    if new.tcp:
        flags = packet[new.transport + 13]
        new.joins = c.tso and new.payload > 0 and flags & ACK and not flags & ~(ACK | PSH)
    else:
        new.joins = (
            c.uso
            and new.payload > 0
            and load_be16(packet + new.transport + 4) == length - new.transport
            and load_be16(packet + new.transport + UDP_CHECKSUM) != 0
        )
    if new.joins:
        new.joins = _checksum_holds(new, protocol)
    return True


cdef inline bint _may_be_gathered(const uint8_t* packet) noexcept nogil:
    """Whether what `_examine` refused may belong to a gathered flow: a fragment, or behind options or extensions."""
    cdef int protocol = inner_protocol(packet)
    if protocol in (PROTOCOL_TCP, PROTOCOL_UDP):
        return True
    return packet[0] >> 4 == 6 and protocol in (IPV6_HOP_BY_HOP, IPV6_ROUTING, IPV6_FRAGMENT, IPV6_DESTINATION)


cdef inline bint _checksum_holds(const candidate* new, int protocol) noexcept nogil:
    """That of TCP or UDP, and IPv4's own, which is made anew for the whole."""
    cdef uint32_t length = new.length - new.transport
    cdef uint64_t total = pseudo_header(new.packet, protocol, length)
    if new.transport == IPV4_HEADER and checksum_fold(checksum_add(new.packet, IPV4_HEADER, 0)) != 0xFFFF:
        return False
    return checksum_fold(checksum_add(new.packet + new.transport, length, total)) == 0xFFFF


cdef inline flow* _find(coalescer* c, const candidate* new) noexcept nogil:
    """The run of the same protocol, addresses and ports."""
    cdef int i
    cdef flow* run
    cdef const uint8_t* held
    cdef const uint8_t* packet = new.packet
    for i in range(COALESCE_FLOWS):
        run = &c.flows[i]
        if run.count == 0 or run.tcp != new.tcp or run.transport != new.transport:
            continue
        held = run.lead + VNET_HEADER
        if memcmp(packet + new.transport, held + new.transport, 4) != 0:
            continue
        # The transport's offset tells the IP version: without options and extensions there are two.
        if new.transport == IPV4_HEADER:
            if memcmp(packet + 12, held + 12, 8) == 0:
                return run
        elif memcmp(packet + 8, held + 8, 32) == 0:
            return run
    return NULL


cdef inline bint _fits(const flow* run, const candidate* new) noexcept nogil:
    """Whether segmentation of the run with `new` at its end gives `new` back."""
    cdef const uint8_t* held = run.lead + VNET_HEADER
    cdef const uint8_t* packet = new.packet
    cdef const uint8_t* transport = packet + new.transport
    if (
        run.closed
        or run.count == (COALESCE_SEGMENTS if run.tcp else UDP_SEGMENTS_SAFE)  # TUN refuses more, as sockets do
        or new.headers != run.headers
        or new.payload > run.size
        or run.total + new.payload > INNER_MAX
    ):
        return False
    if new.transport == IPV4_HEADER:
        # Version and type of service; flags; time to live. The ID counts up, and means nothing with DF (RFC 6864).
        if packet[1] != held[1] or packet[6] != held[6] or packet[8] != held[8]:
            return False
        if (
            not load_be16(packet + 6) & IPV4_DONT_FRAGMENT
            and load_be16(packet + 4) != <uint16_t> (load_be16(held + 4) + run.count)
        ):
            return False
    elif memcmp(packet, held, 4) != 0 or packet[7] != held[7]:  # class and flow label; hop limit
        return False
    if not new.tcp:
        return True
    held += new.transport
    return (
        load_be32(transport + 4) == run.sequence
        and memcmp(transport + 8, held + 8, 5) == 0  # acknowledgement, header length
        and memcmp(transport + 14, held + 14, 2) == 0  # window
        and memcmp(transport + 18, held + 18, run.headers - run.transport - 18) == 0  # urgent pointer, options
    )


cdef inline flow* _free_flow(coalescer* c) noexcept nogil:
    cdef int i
    for i in range(COALESCE_FLOWS):
        if c.flows[i].count == 0:
            return &c.flows[i]
    c.next = (c.next + 1) % COALESCE_FLOWS
    _write_run(c, &c.flows[c.next])
    return &c.flows[c.next]


cdef inline void _start(flow* run, const candidate* new) noexcept nogil:
    run.count = 0
    run.tcp = new.tcp
    run.headers, run.transport = new.headers, new.transport
    run.size = new.payload
    run.total = new.headers
    run.closed = False
    memcpy(run.lead + VNET_HEADER, new.packet, new.headers)
    if new.tcp:
        run.sequence = load_be32(new.packet + new.transport + 4)
    _append(run, new)


cdef inline void _append(flow* run, const candidate* new) noexcept nogil:
    run.count += 1
    run.parts[run.count].iov_base = <void*> (new.packet + new.headers)
    run.parts[run.count].iov_len = new.payload
    run.total += new.payload
    run.sequence += new.payload
    if new.tcp:
        run.last_flags = new.packet[new.transport + 13]
    run.closed = new.payload < run.size or (new.tcp and run.last_flags & PSH)


cdef void _write_run(coalescer* c, flow* run) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t count = run.count
    if count == 0:
        return
    run.count = 0
    if count > 1 and (c.tso if run.tcp else c.uso):
        _finish_lead(run)
        run.parts[0].iov_base = run.lead
        run.parts[0].iov_len = VNET_HEADER + run.headers
        if _write(c, run.parts, <int> count + 1):
            return
        if errno not in (EINVAL, EMSGSIZE, EOPNOTSUPP):
            c.failed += count
            return
        if run.tcp:
            c.tso = False
        else:
            c.uso = False
    for i in range(1, count + 1):
        _write_whole(
            c,
            <const uint8_t*> run.parts[i].iov_base - run.headers,
            <uint32_t> run.parts[i].iov_len + run.headers,
        )
    if not (c.tso or c.uso):
        coalesce_flush(c)  # what comes next is written at once, and must not overtake


cdef inline void _finish_lead(flow* run) noexcept nogil:
    """Headers of the whole: its lengths, the last packet's PSH, and the sum that the kernel will complete."""
    cdef vnet_header vnet
    cdef uint8_t* packet = run.lead + VNET_HEADER
    cdef uint8_t* transport = packet + run.transport
    cdef uint32_t length = run.total - run.transport
    vnet.flags = VNET_NEEDS_CSUM
    vnet.hdr_len = <uint16_t> run.headers
    vnet.gso_size = <uint16_t> run.size
    vnet.csum_start = <uint16_t> run.transport
    inner_set_length(packet, <int> run.transport, run.total)
    if run.tcp:
        vnet.gso_type = VNET_GSO_TCPV4 if packet[0] >> 4 == 4 else VNET_GSO_TCPV6
        vnet.csum_offset = TCP_CHECKSUM
        transport[13] = run.last_flags
        partial_put(transport + TCP_CHECKSUM, pseudo_header(packet, PROTOCOL_TCP, length))
    else:
        vnet.gso_type = VNET_GSO_UDP_L4
        vnet.csum_offset = UDP_CHECKSUM
        store_be16(transport + 4, <uint16_t> length)
        partial_put(transport + UDP_CHECKSUM, pseudo_header(packet, PROTOCOL_UDP, length))
    memcpy(run.lead, &vnet, VNET_HEADER)


cdef void _write_whole(coalescer* c, const uint8_t* packet, uint32_t length) noexcept nogil:
    """The packet as it came: a zero virtio header asks nothing of the kernel, which verifies the checksum itself."""
    cdef iovec parts[2]
    cdef uint8_t nothing[VNET_HEADER]
    cdef bint written
    memset(nothing, 0, VNET_HEADER)
    parts[0].iov_base = nothing
    parts[0].iov_len = VNET_HEADER
    parts[1].iov_base = <void*> packet
    parts[1].iov_len = length
    if c.vnet:
        written = _write(c, parts, 2)
    else:
        written = _write(c, &parts[1], 1)
    if not written:
        c.failed += 1


cdef bint _write(coalescer* c, const iovec* parts, int count) noexcept nogil:
    while writev(c.fd, parts, count) < 0:
        if errno != EINTR:
            return False
    c.writes += 1
    return True


def coalesce(int fd, list packets not None, bint vnet=True, bint tso=True, bint uso=True):
    """Write `packets` to `fd` as one batch. Returns {"writes", "failed", "tso", "uso"}.

    Raises ValueError on a packet that `inner_check` refuses: the loops never pass one on.
    """
    cdef coalescer* c
    for packet in packets:
        if inner_check(<const uint8_t*> PyBytes_AsString(packet), <size_t> len(packet)) < 0:
            raise ValueError("not an IP packet")
    c = <coalescer*> calloc(1, sizeof(coalescer))
    if c == NULL:
        raise MemoryError
    try:
        coalesce_init(c, fd, vnet, tso, uso)
        for packet in packets:
            coalesce_put(c, <const uint8_t*> PyBytes_AsString(packet), <uint32_t> len(packet))
        coalesce_flush(c)
        return {"writes": c.writes, "failed": c.failed, "tso": bool(c.tso), "uso": bool(c.uso)}
    finally:
        free(c)
