"""See `recent.pxd`."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ovng._fast.ring cimport (
    ring_create, ring_destroy, ring_look, ring_peek, ring_put_newest, ring_record_size, ring_take,
)
from ovng._fast.udp cimport locator, msghdr, udp_send_run, udp_sender


# When something that is kept was sent, milliseconds; and in which stay the last time.
cdef struct kept_at:
    uint64_t first_ms
    uint64_t last_ms
    uint64_t stay


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
    at.stay = r.stay
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


cdef inline bint _is_wanted(const recent* r, const kept_at* at, uint64_t since_ms, uint64_t now_ms) noexcept nogil:
    return now_ms - at.first_ms <= RECENT_MS and at.last_ms >= since_ms and at.stay != r.stay


cdef uint64_t _wanted(const recent* r, uint64_t since_ms, uint64_t now_ms) noexcept nogil:
    """Bytes of it."""
    cdef size_t position = r.kept.head
    cdef uint64_t bytes = 0
    cdef kept_at at
    cdef uint32_t segment
    cdef long length
    while position != r.kept.tail:
        length = ring_look(r.kept, position, &segment, &at, sizeof(at))
        if _is_wanted(r, &at, since_ms, now_ms):
            bytes += <uint64_t> length - sizeof(at)
        position += ring_record_size(<size_t> length)
    return bytes


cdef void recent_send(
    recent* r, udp_sender* sender, const locator* to, unsigned char* arena, uint64_t since_ms, uint64_t most, uint64_t now_ms
) noexcept nogil:
    """Each record makes room before it is put back, so that all those within RECENT_MS go once round the ring."""
    cdef unsigned char* record = arena
    cdef size_t end = r.kept.tail
    cdef uint64_t wanted = _wanted(r, since_ms, now_ms)
    cdef uint64_t excess = wanted - min(wanted, most)
    cdef kept_at at
    cdef uint32_t segment
    cdef uint32_t size, passed
    cdef long length = ring_peek(r.kept, &segment)
    while length >= 0 and r.kept.head != end:
        ring_take(r.kept, record, <size_t> length)
        memcpy(&at, record, sizeof(at))
        if now_ms - at.first_ms <= RECENT_MS:
            size = <uint32_t> length - <uint32_t> sizeof(at)
            if _is_wanted(r, &at, since_ms, now_ms):
                passed = <uint32_t> min(<uint64_t> size, (excess + segment - 1) // segment * segment)
                excess -= min(excess, <uint64_t> passed)
                if passed < size:
                    at.last_ms = now_ms
                    if passed == 0:  # else all of it leaves with the rest
                        at.stay = r.stay
                    udp_send_run(sender, to, record + sizeof(at) + passed, size - passed, segment)
                    r.sent_again += (size - passed + segment - 1) // segment
            ring_put_newest(r.kept, segment, &at, sizeof(at), record + sizeof(at), size)
            record += length
        length = ring_peek(r.kept, &segment)
