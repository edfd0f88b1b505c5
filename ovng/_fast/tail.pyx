"""The tail of what a worker has sent: a node that moved without warning gets it again (PROTOCOL 6).

One log for all nodes, a ring of bytes: what is sent to a node that asked is copied to its end, a run of datagrams at a
time, and points back to the entry of the same node before it. So nothing is kept per node but where its newest entry
is; memory is bounded by the log, and the oldest gives way by being written over. Going back from the newest entry
ends at one that is too old, was written over, or exceeds a node's share.

The ring is no longer than it must be: it begins short, and doubles when its end meets an entry that is not too old yet.

A node that gets more than its share within `WINDOW_MS` would find a tail shorter than any move: what it gets then is
not copied, for copying costs as much as sending.
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
    LAP_FIRST = 1 << 20

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
    log.lap = min(size, <uint64_t> LAP_FIRST)
    log.end = log.lap  # so that no position is 0
    return 0


cdef void tail_free(tail_log* log) noexcept nogil:
    if log.bytes != NULL:
        munmap(log.bytes, log.size)
    free(log.heads)
    free(log.found)
    memset(log, 0, sizeof(tail_log))


cdef inline tail_head* _head(tail_log* log, uint64_t dst_hash) noexcept nogil:
    return &log.heads[dst_hash & (TAIL_NODES - 1)]


cdef void _turn(tail_log* log, uint64_t now) noexcept nogil:
    """A lap is over. At every second one the positions before it lie, in a ring of twice the length, where they are."""
    cdef tail_entry* oldest = tail_at(log, log.end)
    if log.lap < log.size and log.end & log.lap and oldest.dst and now - oldest.at <= TAIL_MS:
        log.lap *= 2


cdef void tail_keep(
    tail_log* log, uint64_t dst, uint64_t dst_hash, const uint8_t* data, uint32_t length, uint32_t segment,
    uint32_t count, uint64_t now,
) noexcept nogil:
    cdef tail_head* head = _head(log, dst_hash)
    cdef tail_entry* entry
    cdef uint64_t room
    cdef uint32_t size = (<uint32_t> sizeof(tail_entry) + length + 7) & ~<uint32_t> 7
    if head.dst != dst:  # two nodes in one place: the one that gets something now has it
        memset(head, 0, sizeof(tail_head))
        head.dst = dst
    if now - head.window >= WINDOW_MS:
        head.window, head.spent = now, 0
    head.spent += length
    if head.spent > TAIL_BYTES:
        log.skipped += count
        return
    room = log.lap - (log.end & (log.lap - 1))
    if room < size:  # an entry lies in one piece
        log.end += room
    if log.end & (log.lap - 1) == 0:
        _turn(log, now)
    entry = tail_at(log, log.end)
    entry.dst, entry.previous, entry.at = dst, head.latest, now
    entry.length, entry.segment, entry.count, entry.size = length, segment, count, size
    memcpy(<uint8_t*> entry + sizeof(tail_entry), data, length)
    head.latest = log.end
    log.end += size
    log.kept += count


cdef tail_entry* tail_at(tail_log* log, uint64_t position) noexcept nogil:
    return <tail_entry*> (log.bytes + (position & (log.lap - 1)))


cdef unsigned int tail_collect(tail_log* log, uint64_t dst, uint64_t dst_hash, uint64_t now) noexcept nogil:
    cdef tail_head* head = _head(log, dst_hash)
    cdef tail_entry* entry
    cdef uint64_t position = head.latest
    cdef uint64_t bytes = 0
    cdef uint64_t datagrams = 0
    cdef unsigned int found = 0
    if head.dst != dst:
        return 0
    while position and log.end - position <= log.lap and found < TAIL_RUNS:
        entry = tail_at(log, position)
        bytes += entry.length
        datagrams += entry.count
        if entry.dst != dst or now - entry.at > TAIL_MS or bytes > TAIL_BYTES or datagrams > TAIL_DATAGRAMS:
            break
        log.found[found] = position
        found += 1
        position = entry.previous
    return found
