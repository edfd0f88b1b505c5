"""What waits for a loop, taken out of its sockets: sparse datagrams before bulk, each class in the order of arrival.

    sockets ──► receive ──► sparse ──► the loop takes a little of it, first
                       └──► bulk   ──► then a batch

Bulk waits here rather than in the socket, so that a sparse datagram (PROTOCOL 2) is seen as soon as it is there. A turn
of the loop takes at most INTAKE_SPARSE_BYTES of sparse messages beside a share of bulk that the caller names: a flood of
the one leaves the other its share. What finds no buffer stays in the socket, whose buffer bounds the queue as before.

A receiver with GRO may find sparse datagrams joined to bulk ones. Those that begin a message or end it are parted from
the rest; one in between has lost its priority, nothing else.
"""

from libc.stdint cimport uint32_t, uint64_t

from ovng._fast.udp cimport udp_message, udp_receiver

cdef enum:
    INTAKE_SPARES = 64  # a power of 2; with GRO 4 MiB, of which only what queues is ever touched
    INTAKE_BULK_BYTES = 1 << 17  # the usual share: two trains
    INTAKE_SPARSE_BYTES = 1 << 15

cdef enum:
    INTAKE_SPARSE = 0
    INTAKE_BULK = 1
    INTAKE_CLASSES = 2

cdef struct intake_entry:
    udp_message message
    unsigned char* buffer

cdef struct intake_queue:
    uint32_t head
    uint32_t count
    uint32_t taken  # of them, since the last release
    uint64_t bytes  # of all that are not taken
    uint64_t taken_bytes
    intake_entry entries[INTAKE_SPARES]

cdef struct intake:
    udp_receiver receiver
    uint64_t now_ns  # by `udp_now`, of this turn
    unsigned int seats  # messages per receive
    unsigned char* memory
    uint32_t spare_count
    unsigned char* spare[INTAKE_SPARES]  # buffers; the one used last is the first to be used again
    intake_queue queues[INTAKE_CLASSES]


cdef inline uint32_t intake_count(const intake* i) noexcept nogil:
    """Messages that wait."""
    return i.queues[INTAKE_SPARSE].count + i.queues[INTAKE_BULK].count


cdef inline uint64_t intake_backlog(const intake* i, int which) noexcept nogil:
    """Bytes of a class that waited when the turn began."""
    return i.queues[which].bytes + i.queues[which].taken_bytes


# `seats` messages at a time. 0, or -errno. Free also what failed half-way.
cdef int intake_init(intake* i, unsigned int seats) noexcept nogil
cdef void intake_free(intake* i) noexcept nogil
# From one socket, once; `origin` is the caller's word for it. Messages, or -errno when the socket is gone.
cdef int intake_receive(intake* i, int fd, uint64_t origin) noexcept nogil
# The next message of a class, valid until the release; NULL: there is none, or the turn's share is used up, which is
# `bulk_bytes` (it may differ from call to call) or INTAKE_SPARSE_BYTES.
cdef udp_message* intake_take(intake* i, int which, uint64_t bulk_bytes) noexcept nogil
# Ends a turn: the buffers of what was taken are used again.
cdef void intake_release(intake* i) noexcept nogil
