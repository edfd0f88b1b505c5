"""See `recent.pxd`."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from ovng._fast.ring cimport (
    ring_create, ring_destroy, ring_look, ring_put_newest, ring_read, ring_record_size, ring_write,
)
from ovng._fast.udp cimport locator, msghdr, udp_send_run, udp_sender


# When something that is kept was sent, milliseconds; in which stay the last time, and what of its beginning was not.
cdef struct kept_at:
    uint64_t first_ms
    uint64_t last_ms
    uint64_t stay
    uint64_t left  # bytes


cdef int recent_init(recent* r) noexcept nogil:
    memset(r, 0, sizeof(recent))
    r.kept = ring_create(RECENT_BYTES, -1)
    return 0 if r.kept != NULL else -ENOMEM


cdef void recent_free(recent* r) noexcept nogil:
    if r.kept != NULL:
        ring_destroy(r.kept)
    r.kept = NULL


cdef void recent_keep(recent* r, const udp_sender* sender, unsigned int messages, uint64_t now_ms) noexcept nogil:
    cdef const msghdr* header
    cdef kept_at at
    cdef unsigned int i
    cdef size_t k
    if now_ms - r.window >= WINDOW_MS:
        r.beyond = r.spent > RECENT_SHARE and now_ms - r.window < 2 * WINDOW_MS
        r.window, r.spent = now_ms, 0
    for i in range(messages):
        if not sender.outgoing[i].refused:
            r.spent += sender.outgoing[i].bytes
    if r.beyond and r.spent > RECENT_SHARE:
        return
    at.first_ms = at.last_ms = now_ms
    at.stay, at.left = r.stay, 0
    for i in range(messages):
        header = &sender.headers[i].msg_hdr
        if sender.outgoing[i].refused:
            continue
        for k in range(header.msg_iovlen):
            ring_put_newest(
                r.kept,
                sender.outgoing[i].segment,
                &at,
                sizeof(at),
                header.msg_iov[k].iov_base,
                header.msg_iov[k].iov_len,
            )


cdef inline uint32_t _wanted_of(
    const recent* r, const kept_at* at, uint32_t size, uint64_t since_ms, uint64_t now_ms
) noexcept nogil:
    """Bytes from its beginning."""
    if now_ms - at.first_ms > RECENT_MS or at.last_ms < since_ms:
        return 0
    return size if at.stay != r.stay else <uint32_t> at.left


cdef uint64_t _wanted(const recent* r, uint64_t since_ms, uint64_t now_ms) noexcept nogil:
    """Bytes of it."""
    cdef size_t position = r.kept.head
    cdef uint64_t bytes = 0
    cdef kept_at at
    cdef uint32_t segment
    cdef long length
    while position != r.kept.tail:
        length = ring_look(r.kept, position, &segment, &at, sizeof(at))
        bytes += _wanted_of(r, &at, <uint32_t> (length - sizeof(at)), since_ms, now_ms)
        position += ring_record_size(<size_t> length)
    return bytes


cdef uint64_t recent_send(
    recent* r, udp_sender* sender, const locator* to, unsigned char* arena, uint64_t since_ms, uint64_t most, uint64_t now_ms
) noexcept nogil:
    cdef uint64_t wanted = _wanted(r, since_ms, now_ms)
    cdef uint64_t excess = wanted - min(wanted, most)
    cdef uint64_t queued = 0
    cdef size_t position = r.kept.head
    cdef kept_at at
    cdef uint32_t segment
    cdef uint32_t wants, passed
    cdef long length
    while queued < wanted and position != r.kept.tail:
        length = ring_look(r.kept, position, &segment, &at, sizeof(at))
        wants = _wanted_of(r, &at, <uint32_t> (length - sizeof(at)), since_ms, now_ms)
        passed = wants if excess >= wants else <uint32_t> (excess // segment * segment)
        excess = excess - wants if excess >= wants else 0
        if passed < wants:
            wants -= passed
            ring_read(r.kept, position, sizeof(at) + passed, arena + queued, wants)
            udp_send_run(sender, to, arena + queued, wants, segment)
            queued += wants
            r.sent_again += (wants + segment - 1) // segment
            at.last_ms, at.stay, at.left = now_ms, r.stay, passed
            ring_write(r.kept, position, 0, &at, sizeof(at))
        position += ring_record_size(<size_t> length)
    return queued
