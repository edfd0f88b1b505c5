"""What a worker sent last to nodes that asked for it, to be sent again after a move. The theory is in `tail.pyx`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ovng._fast.table cimport TABLE_LOCATOR


cdef enum:
    TAIL_NODES = 16384  # that are remembered; a power of two
    TAIL_RUNS = 4096  # of one node


cdef struct tail_head:
    uint64_t dst  # 0: nobody
    uint64_t latest  # position of its newest entry, 0: none
    uint64_t until  # milliseconds: when `spent` begins again
    uint64_t spent  # bytes, of bulk


# In the log, before its bytes.
cdef struct tail_entry:
    uint64_t dst
    uint64_t previous  # position of the entry before it of the same node, 0: none
    uint64_t at  # milliseconds
    uint32_t length
    uint32_t segment
    uint32_t count
    uint32_t size  # with this header and padding
    uint8_t to[TABLE_LOCATOR]  # where it was sent to last


cdef struct tail_log:
    uint8_t* bytes  # NULL: nothing is kept
    uint64_t size  # at most
    uint64_t extent  # of it in use, a power of two
    uint64_t began  # milliseconds: the present round
    uint64_t end  # position behind the newest entry; positions only grow
    tail_head* heads
    uint64_t* found  # positions of one replay, newest first
    uint64_t kept  # datagrams
    uint64_t skipped
    uint64_t replayed


# 0, or -errno. `size` bytes, a power of two.
cdef int tail_init(tail_log* log, uint64_t size) noexcept nogil
cdef void tail_free(tail_log* log) noexcept nogil
cdef void tail_keep(
    tail_log* log, uint64_t dst, uint64_t dst_hash, const uint8_t* data, uint32_t length, uint32_t segment,
    uint32_t count, bint sparse, const uint8_t* to, uint64_t now,
) noexcept nogil
# How many entries are to be sent again: `found` has them, newest first.
cdef unsigned int tail_collect(tail_log* log, uint64_t dst, uint64_t dst_hash, uint64_t now) noexcept nogil
cdef tail_entry* tail_at(tail_log* log, uint64_t position) noexcept nogil
