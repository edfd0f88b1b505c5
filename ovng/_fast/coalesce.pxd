"""Coalescing of what arrives: runs of TCP segments or equal UDP datagrams become one super-packet for TUN.

The mirror of `segment`. Up to 8 flows are gathered side by side; order within a flow is kept, between flows it never
meant anything. A packet joins its flow's run only when segmenting the result would give back the same packet (as in
the kernel's GRO): next sequence number, the same headers but for lengths and checksums, not longer than the first, and
nothing after a shorter one or a PSH. Its own checksum is verified first, because the kernel will trust the
super-packet; damage from outside must not be blessed. Whatever is not understood passes as it is.

No payload byte is copied and no packet is changed: a run is headers built aside and pointers to payloads, written by
one writev. So packets must stay in place until `coalesce_flush`. Should the kernel refuse a super-packet, its packets
are written one by one and that offload is given up.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ovng._fast.segment cimport VNET_HEADER, vnet_header

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len
    ssize_t writev(int fd, const iovec* parts, int count)

cdef enum:
    COALESCE_FLOWS = 8
    COALESCE_SEGMENTS = 128
    COALESCE_MAX_HEADERS = 100  # IPv6 40, TCP with all options 60

cdef struct flow:
    uint32_t count  # packets in the run; 0: free
    uint32_t headers
    uint32_t transport
    uint32_t size  # payload bytes of the first packet
    uint32_t total  # bytes of the super-packet
    uint32_t sequence  # the next one expected (TCP)
    uint8_t last_flags
    bint tcp
    bint closed
    uint8_t lead[VNET_HEADER + COALESCE_MAX_HEADERS]  # virtio header, then the super-packet's headers
    iovec parts[1 + COALESCE_SEGMENTS]  # [0] is `lead`, the others payloads in place

cdef struct coalescer:
    int fd
    bint vnet  # every write begins with a virtio header
    bint tso
    bint uso
    uint32_t next  # the flow to give way when all are taken
    uint64_t writes
    uint64_t failed  # packets that TUN did not take
    flow flows[COALESCE_FLOWS]

cdef void coalesce_init(coalescer* c, int fd, bint vnet, bint tso, bint uso) noexcept nogil

# The packet must have passed `inner_check`.
cdef void coalesce_put(coalescer* c, const uint8_t* packet, uint32_t length) noexcept nogil

cdef void coalesce_flush(coalescer* c) noexcept nogil
