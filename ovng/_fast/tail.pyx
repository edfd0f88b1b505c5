"""The tail of what a worker has sent: a node that moved without warning gets it again (PROTOCOL 6).

One log for all nodes, a ring of bytes: what is sent to a node that asked is copied to its end, a run of datagrams at a
time, and points back to the entry of the same node before it. So nothing is kept per node but where its newest entry
is; memory is bounded by the log, and the oldest gives way by being written over. Going back from the newest entry
ends at one that is too old, was written over, or exceeds a node's share.

A node that gets more than its share within `WINDOW_MS` would find a tail shorter than any move: nothing but its sparse
datagrams is copied in the `PAUSE_MS` after that, for copying costs as much as sending.

An entry knows where it was sent to last: who confirms a place that was used on its word already need not get again what
went there.

The log begins small and doubles when it comes round in less than `TAIL_MS`: memory that is written for the first time,
or long ago, costs more than the copy.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ovng import limits

cdef extern from "<sys/mman.h>" nogil:
    enum:
        PROT_READ
        PROT_WRITE
        MAP_PRIVATE
        MAP_ANONYMOUS
        MAP_NORESERVE
    void* MAP_FAILED
    void* mmap(void* at, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void* at, size_t length)

cdef enum:
    WINDOW_MS = 5
    PAUSE_MS = 100
    EXTENT = 1 << 20  # several shares of a node

cdef uint64_t TAIL_MS = limits.TAIL_MILLISECONDS
cdef uint64_t TAIL_BYTES = limits.TAIL_BYTES
cdef uint64_t TAIL_DATAGRAMS = limits.TAIL_DATAGRAMS


cdef int tail_init(tail_log* log, uint64_t size) noexcept nogil:
    cdef void* space
    memset(log, 0, sizeof(tail_log))
    log.heads = <tail_head*> calloc(TAIL_NODES, sizeof(tail_head))
    log.found = <uint64_t*> calloc(TAIL_RUNS, sizeof(uint64_t))
    if log.heads == NULL or log.found == NULL:
        return -ENOMEM
    # Pages come as they are written: a Switch whose nodes do not ask has none.
    space = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if space == MAP_FAILED:
        return -ENOMEM
    log.bytes = <uint8_t*> space
    log.size = size
    log.extent = min(size, <uint64_t> EXTENT)
    log.end = size  # so that no position is 0
    return 0


cdef void tail_free(tail_log* log) noexcept nogil:
    if log.bytes != NULL:
        munmap(log.bytes, log.size)
    free(log.heads)
    free(log.found)
    memset(log, 0, sizeof(tail_log))


cdef void _go_round(tail_log* log, uint64_t now) noexcept nogil:
    """To the beginning of the log; of a larger one when what would be written over may still be wanted.

    An odd round lies at the same place of a log twice as large; the next one is then its second half.
    """
    cdef uint64_t rest = log.end & (log.extent - 1)
    if rest:
        log.end += log.extent - rest
    if now - log.began < TAIL_MS and log.extent < log.size and log.end & log.extent:
        log.extent *= 2
    log.began = now


cdef inline tail_head* _head(tail_log* log, uint64_t dst_hash) noexcept nogil:
    return &log.heads[dst_hash & (TAIL_NODES - 1)]


cdef void tail_keep(
    tail_log* log, uint64_t dst, uint64_t dst_hash, const uint8_t* data, uint32_t length, uint32_t segment,
    uint32_t count, bint sparse, const uint8_t* to, uint64_t now,
) noexcept nogil:
    cdef tail_head* head = _head(log, dst_hash)
    cdef tail_entry* entry
    cdef uint64_t place
    cdef uint32_t size = (<uint32_t> sizeof(tail_entry) + length + 7) & ~<uint32_t> 7
    if head.dst != dst:  # two nodes in one place: the one that gets something now has it
        memset(head, 0, sizeof(tail_head))
        head.dst = dst
    if not sparse:
        if now >= head.until:
            head.until, head.spent = now + WINDOW_MS, 0
        if head.spent <= TAIL_BYTES:
            head.spent += length
            if head.spent > TAIL_BYTES:
                head.until = now + PAUSE_MS
        if head.spent > TAIL_BYTES:
            log.skipped += count
            return
    place = log.end & (log.extent - 1)
    if place == 0 or log.extent - place < size:  # an entry lies in one piece
        _go_round(log, now)
    entry = tail_at(log, log.end)
    entry.dst, entry.previous, entry.at = dst, head.latest, now
    entry.length, entry.segment, entry.count, entry.size = length, segment, count, size
    memcpy(entry.to, to, TABLE_LOCATOR)
    memcpy(<uint8_t*> entry + sizeof(tail_entry), data, length)
    head.latest = log.end
    log.end += size
    log.kept += count


cdef tail_entry* tail_at(tail_log* log, uint64_t position) noexcept nogil:
    return <tail_entry*> (log.bytes + (position & (log.extent - 1)))


cdef unsigned int tail_collect(tail_log* log, uint64_t dst, uint64_t dst_hash, uint64_t now) noexcept nogil:
    cdef tail_head* head = _head(log, dst_hash)
    cdef tail_entry* entry
    cdef uint64_t position = head.latest
    cdef uint64_t bytes = 0
    cdef uint64_t datagrams = 0
    cdef unsigned int found = 0
    if head.dst != dst:
        return 0
    while position and log.end - position <= log.extent and found < TAIL_RUNS:
        entry = tail_at(log, position)
        bytes += entry.length
        datagrams += entry.count
        if entry.dst != dst or now - entry.at > TAIL_MS or bytes > TAIL_BYTES or datagrams > TAIL_DATAGRAMS:
            break
        log.found[found] = position
        found += 1
        position = entry.previous
    return found
