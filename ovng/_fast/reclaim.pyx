"""See `reclaim.pxd`."""

from libc.stdint cimport uint64_t


cdef void reclaim_later(domain* d, void* object, void (*release)(void*) noexcept nogil) noexcept nogil:
    cdef retired* link = <retired*> object
    cdef int i
    link.release = release
    for i in range(READERS):
        link.seen[i] = epoch_snapshot(&d.readers[i].epoch)
    link.next = d.waiting
    d.waiting = link


cdef inline bint _held(domain* d, const retired* link) noexcept nogil:
    cdef int i
    for i in range(READERS):
        if link.seen[i] & 1 and epoch_snapshot(&d.readers[i].epoch) == link.seen[i]:
            return True
    return False


cdef int reclaim(domain* d) noexcept nogil:
    cdef retired* link = d.waiting
    cdef retired* following
    cdef int waiting = 0
    d.waiting = NULL
    while link != NULL:
        following = link.next
        if _held(d, link):
            link.next = d.waiting
            d.waiting = link
            waiting += 1
        else:
            link.release(link)
        link = following
    return waiting
