"""TCP packets that may have been lost to silent peers, sent again when these are heard.

After a gap at the far end a TCP stream would go on when its retransmission timer fires, which a long gap has backed off
to a minute (RFC 6298, 5.5). So the newest data that was sent into the silence is kept, and leaves again, sealed anew,
when the peer is heard: a stream resumes within a round trip.

A peer is silent when TCP data that was sent to it has had no answer for `SILENT_MS`; TCP acknowledges data at once, so
that an idle peer is not a silent one. All this is the outbound loop's; the inbound loop wakes it when such a peer is
heard. In normal traffic a packet costs one comparison here, and one look at what the inbound loop writes in `LOOK_MS`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ovng._fast.lookup cimport lookup
from ovng._fast.peers cimport peer
from ovng._fast.ring cimport ring

cdef enum:
    SILENT_MS = 500
    LOOK_MS = 100
    STASH_PEERS = 32  # 1 MiB in all
    STASH_PACKETS = 16  # of one peer
    STASH_BYTES = 1 << 15

cdef struct stash_slot:
    uint64_t peer  # 0: free
    uint64_t newest_ms
    long count
    ring* packets  # NULL until first used

cdef struct stash:
    int used  # slots; the inbound loop looks at it
    stash_slot slots[STASH_PEERS]


cdef inline bint stash_wants(peer* to, uint64_t now_ms, const uint8_t* packet, size_t length) noexcept nogil:
    """Whether this packet (also one still to be segmented) should be kept."""
    return now_ms - to.unanswered_ms > LOOK_MS and stash_silent(to, now_ms, packet, length)


cdef bint stash_silent(peer* to, uint64_t now_ms, const uint8_t* packet, size_t length) noexcept nogil
# A whole IP packet. The oldest of the peer go when there is no room, all of the longest forgotten peer if need be.
cdef bint stash_put(stash* s, uint64_t id, uint64_t now_ms, const uint8_t* packet, size_t length) noexcept nogil
# One packet to send again, at most STASH_BYTES; its length, −1: none.
cdef long stash_take(stash* s, lookup* peers, uint8_t* packet) noexcept nogil
cdef void stash_free(stash* s) noexcept nogil
