"""What was read from TUN and waits to be sealed: sparse packets before bulk, each class in the order of reading.

    TUN ──► read until it is empty ──► sparse ──► sealed and sent first, all of it
                                  └──► bulk   ──► then a batch

Reading costs a tenth of sealing and sending. So TUN is emptied first, and a sparse packet does not wait behind what a
stream has queued in it. What finds no frame stays in TUN, whose queue is the bound as before.

Order within a flow is kept as it is by the receivers (`intake`): a flow that was bulk is sparse again only after 250 ms
of quiet; and what it sent while it was sparse is gone before its bulk.
"""

from libc.stdint cimport uint8_t, uint32_t

from ovng._fast.segment cimport VNET_HEADER

cdef enum:
    TUN_FRAMES = 64  # a power of 2; 4 MiB, of which only what queues is ever touched
    TUN_FRAME = VNET_HEADER + 65536 + 64  # bytes of one read: virtio header, packet
    # Of a read in its pages: behind 10 + 20 … 80 bytes of headers, payload is no byte 1 … 63 (`pages`).
    TUN_FRAME_PLACE = 64

cdef enum:
    TUN_SPARSE = 0
    TUN_BULK = 1
    TUN_CLASSES = 2

cdef struct tun_frame:
    uint8_t* data
    uint32_t size

cdef struct tun_line:
    uint32_t head
    uint32_t count
    tun_frame frames[TUN_FRAMES]

cdef struct tunqueue:
    uint8_t* memory
    uint32_t spare_count
    uint8_t* spare[TUN_FRAMES]  # the one used last is the first to be used again
    tun_line lines[TUN_CLASSES]


# 0, or -errno. Free also what failed half-way.
cdef int tunqueue_init(tunqueue* q) noexcept nogil
cdef void tunqueue_free(tunqueue* q) noexcept nogil


cdef inline uint8_t* tunqueue_seat(const tunqueue* q) noexcept nogil:
    """Where the next read goes; NULL: all are taken."""
    return q.spare[q.spare_count - 1] if q.spare_count else NULL


cdef inline uint32_t tunqueue_count(const tunqueue* q) noexcept nogil:
    """Frames that wait."""
    return q.lines[TUN_SPARSE].count + q.lines[TUN_BULK].count


cdef inline void tunqueue_put(tunqueue* q, int which, uint32_t size) noexcept nogil:
    """What was read into the seat. There is room: a line holds as many as there are frames."""
    cdef tun_line* line = &q.lines[which]
    cdef tun_frame* frame = &line.frames[(line.head + line.count) & (TUN_FRAMES - 1)]
    q.spare_count -= 1
    frame.data, frame.size = q.spare[q.spare_count], size
    line.count += 1


cdef inline tun_frame* tunqueue_first(tunqueue* q, int which) noexcept nogil:
    """The oldest of a class, to be taken out with `tunqueue_pop` when it is dealt with; NULL: none waits."""
    cdef tun_line* line = &q.lines[which]
    return &line.frames[line.head & (TUN_FRAMES - 1)] if line.count else NULL


cdef inline void tunqueue_pop(tunqueue* q, int which) noexcept nogil:
    cdef tun_line* line = &q.lines[which]
    q.spare[q.spare_count] = line.frames[line.head & (TUN_FRAMES - 1)].data
    q.spare_count += 1
    line.head += 1
    line.count -= 1
