"""Paths of a node, and how sealed datagrams leave on them.

A path is published by the control thread; the figures in it are written by one loop each. An egress is the outbound
loop's way out through the path of this batch. What that path cannot send because its link has just gone is kept, sealed
as it is, and leaves on the path that comes next, if that is soon: the far end's replay window takes it. What it has
taken is kept for a while, too (`recent`), and leaves again when Python says that it was in vain.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ovng._fast.recent cimport recent
from ovng._fast.reclaim cimport retired
from ovng._fast.ring cimport ring
from ovng._fast.udp cimport locator, udp_append, udp_open, udp_sender

cdef enum:
    MAX_PATHS = 4
    UNSENT_BYTES = 1 << 18  # kept of what a path could not send
    UNSENT_MS = 1000  # how long the next path may take
    BROKEN_MS = 200  # before a path that has refused is tried again, while another is ready

# Of one direction, since the path was set.
cdef struct path_figures:
    uint64_t datagrams
    uint64_t bytes  # UDP payload
    uint64_t last_ms  # CLOCK_MONOTONIC, of DATA, authentic when received; 0: never

cdef struct path:
    retired link
    int fd
    int family
    unsigned int segments_max  # per GSO send; 1: given up
    unsigned int refusals  # of GSO sends in a row
    uint64_t serial  # no other path had it
    locator switch
    path_figures sent
    uint64_t apart[8]
    path_figures received

cdef struct egress:
    path* via  # of this batch; NULL: none
    udp_sender sender
    ring* unsent  # what was refused; NULL: neither this nor `recent` is kept
    recent recent
    uint64_t serial  # of `via`
    uint64_t counted  # datagrams and bytes that are in some path's figures
    uint64_t counted_bytes
    uint64_t unreachable  # datagrams, up to the last flush
    uint64_t refused_serial  # the path whose refused datagrams are kept; 0: none are
    uint64_t broken_serial  # the path that was the last to refuse, and when
    uint64_t refused_ms
    uint64_t sent_later  # datagrams that were kept


cdef inline bint egress_is_full(const egress* e) noexcept nogil:
    """Whether the next message would make the sender flush all before it, unseen by the egress."""
    return e.sender.messages == e.sender.messages_max or e.sender.pieces_used == e.sender.pieces_max


cdef inline bint egress_queue(egress* e, uint8_t* datagram, uint32_t length) noexcept nogil:
    """Behind the datagrams of the same length, if it is not longer; else a new message. False: unreachable."""
    cdef unsigned int messages = e.sender.messages
    if messages and length <= e.sender.outgoing[messages - 1].segment and udp_append(&e.sender, datagram, length):
        return True
    if udp_open(&e.sender, &e.via.switch, length) < 0:
        return False
    udp_append(&e.sender, datagram, length)
    return True


# 0, or -errno. Free also what failed half-way. `keeps`: what is lost with a path leaves by the next one.
cdef int egress_init(egress* e, int any_fd, unsigned int segments_max, bint keeps) noexcept nogil
cdef void egress_free(egress* e) noexcept nogil
cdef void egress_choose(egress* e, path* via) noexcept nogil
# Whether this path has refused what it was given a moment ago.
cdef bint egress_is_broken(const egress* e, const path* via, uint64_t now_ms) noexcept nogil
# Sends what is queued, and counts it.
cdef void egress_flush(egress* e, uint64_t now_ms) noexcept nogil
# Queues what the path before this one could not send, copied to `arena` (UNSENT_BYTES): bytes used there.
cdef size_t egress_send_later(egress* e, uint8_t* arena, uint64_t now_ms) noexcept nogil
# Sends again what was sent since then before this stay began, copied to `arena` (RECENT_BYTES), of it the newest `most`
# bytes. Nothing may be queued. Bytes it was, refused ones among them.
cdef uint64_t egress_send_again(egress* e, uint8_t* arena, uint64_t since_ms, uint64_t most, uint64_t now_ms) noexcept nogil
