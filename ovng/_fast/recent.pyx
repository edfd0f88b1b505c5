"""See `recent.pxd`."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ovng._fast.ring cimport ring_create, ring_destroy, ring_peek, ring_put_newest, ring_take
from ovng._fast.udp cimport locator, msghdr, udp_send_run, udp_sender


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
    cdef unsigned int i
    cdef size_t k
    if now_ms - r.window >= WINDOW_MS:
        r.window, r.spent = now_ms, 0
    for i in range(messages):
        r.spent += sender.outgoing[i].bytes
    if r.spent > RECENT_SHARE:
        return
    for i in range(messages):
        header = &sender.headers[i].msg_hdr
        for k in range(header.msg_iovlen):
            ring_put_newest(
                r.kept,
                sender.outgoing[i].segment,
                &now_ms,
                sizeof(now_ms),
                header.msg_iov[k].iov_base,
                header.msg_iov[k].iov_len,
            )


cdef size_t recent_send(
    recent* r, udp_sender* sender, const locator* to, unsigned char* arena, uint64_t since_ms, uint64_t now_ms
) noexcept nogil:
    cdef unsigned char* record
    cdef uint32_t segment
    cdef uint32_t size
    cdef uint64_t at
    cdef size_t used = 0
    cdef long length = ring_peek(r.kept, &segment)
    while length >= 0 and used + <size_t> length <= RECENT_BYTES:
        record = arena + used
        ring_take(r.kept, record, <size_t> length)
        memcpy(&at, record, sizeof(at))
        if at >= since_ms and now_ms - at <= RECENT_MS:
            size = <uint32_t> length - <uint32_t> sizeof(at)
            udp_send_run(sender, to, record + sizeof(at), size, segment)
            r.sent_again += (size + segment - 1) // segment
            used += <size_t> length
        length = ring_peek(r.kept, &segment)
    return used
