"""See `paths.pxd`."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from ovng._fast.recent cimport recent_free, recent_init, recent_keep, recent_send
from ovng._fast.ring cimport ring_create, ring_destroy, ring_peek, ring_take
from ovng._fast.udp cimport (
    UDP_DROP_UNREACHABLE,
    UDP_GSO_GIVEN_UP,
    UDP_SENT,
    UDP_SENT_BYTES,
    udp_flush,
    udp_send_run,
    udp_sender_free,
    udp_sender_init,
)

cdef enum:
    REFUSALS = 16  # flushes in a row with a refused GSO send before GSO is given up on a path


cdef int egress_init(egress* e, int any_fd, unsigned int segments_max, bint keeps) noexcept nogil:
    cdef int result
    memset(e, 0, sizeof(egress))
    result = udp_sender_init(&e.sender, any_fd, segments_max)
    if result < 0 or not keeps:
        return result
    e.unsent = e.sender.unsent = ring_create(UNSENT_BYTES, -1)
    return recent_init(&e.recent) if e.unsent != NULL else -ENOMEM


cdef void egress_free(egress* e) noexcept nogil:
    udp_sender_free(&e.sender)
    if e.unsent != NULL:
        ring_destroy(e.unsent)
    recent_free(&e.recent)
    memset(e, 0, sizeof(egress))


cdef void egress_choose(egress* e, path* via) noexcept nogil:
    cdef uint64_t serial = via.serial if via != NULL else 0
    if serial != e.serial:
        e.serial = serial
        e.recent.stay += 1
    e.via = via
    if via != NULL:
        e.sender.fd, e.sender.family, e.sender.segments_max = via.fd, via.family, via.segments_max


cdef bint egress_is_broken(const egress* e, const path* via, uint64_t now_ms) noexcept nogil:
    return via != NULL and via.serial == e.broken_serial and now_ms - e.refused_ms < BROKEN_MS


cdef void egress_flush(egress* e, uint64_t now_ms) noexcept nogil:
    _flush(e, now_ms, True)


cdef void _flush(egress* e, uint64_t now_ms, bint keep) noexcept nogil:
    cdef uint64_t* counters = e.sender.counters
    cdef uint64_t refused = counters[UDP_GSO_GIVEN_UP]
    cdef unsigned int messages = e.sender.messages
    if messages == 0:
        return
    udp_flush(&e.sender)
    if counters[UDP_GSO_GIVEN_UP] == refused:
        e.via.refusals = 0
    elif e.via.segments_max > 1:
        e.via.refusals += 1
        if e.via.refusals == REFUSALS:
            e.via.segments_max = e.sender.segments_max = 1
    if counters[UDP_SENT] != e.counted:
        e.via.sent.datagrams += counters[UDP_SENT] - e.counted
        e.via.sent.bytes += counters[UDP_SENT_BYTES] - e.counted_bytes
        e.via.sent.last_ms = now_ms
        e.counted, e.counted_bytes = counters[UDP_SENT], counters[UDP_SENT_BYTES]
    if counters[UDP_DROP_UNREACHABLE] != e.unreachable:
        e.unreachable = counters[UDP_DROP_UNREACHABLE]
        e.refused_serial, e.refused_ms = e.via.serial, now_ms
        e.broken_serial = e.via.serial
    if keep and e.recent.kept != NULL:
        recent_keep(&e.recent, &e.sender, messages, now_ms)


cdef size_t egress_send_later(egress* e, uint8_t* arena, uint64_t now_ms) noexcept nogil:
    cdef uint32_t segment
    cdef uint32_t datagrams
    cdef size_t used = 0
    cdef long length
    if e.unsent == NULL or e.via == NULL or e.refused_serial in (0, e.via.serial):
        return 0
    # A message may be refused again, and kept again, before all are queued: the arena's end is the end.
    length = ring_peek(e.unsent, &segment)
    while length >= 0 and used + <size_t> length <= UNSENT_BYTES:
        ring_take(e.unsent, arena + used, <size_t> length)
        if now_ms - e.refused_ms <= UNSENT_MS:
            datagrams = (<uint32_t> length + segment - 1) // segment
            if e.sender.messages + datagrams > e.sender.messages_max:
                egress_flush(e, now_ms)  # it would be flushed otherwise, and not kept
            udp_send_run(&e.sender, &e.via.switch, arena + used, <uint32_t> length, segment)
            e.sent_later += datagrams
            used += <size_t> length
        length = ring_peek(e.unsent, &segment)
    e.refused_serial = 0
    return used


cdef uint64_t egress_send_again(
    egress* e, uint8_t* arena, uint64_t since_ms, uint64_t most, uint64_t now_ms
) noexcept nogil:
    cdef uint64_t sent
    if e.recent.kept == NULL or e.via == NULL:
        return 0
    e.sender.unsent = NULL  # what is refused is still kept as recent
    sent = recent_send(&e.recent, &e.sender, &e.via.switch, arena, since_ms, most, now_ms)
    _flush(e, now_ms, False)
    e.sender.unsent = e.unsent
    return sent
