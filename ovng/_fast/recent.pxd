"""What a path took last: it leaves again by the next one when this one turns out to have been gone already.

A link can go without the kernel refusing a datagram: Wi-Fi that has lost its access point takes what is sent until its
driver says so, and a socket bound to an interface without a route sends to a neighbour that never answers. The Switch
keeps a tail of what it sends to a node (`tail.pyx`); this is the other direction's. The far end's replay window drops
what had arrived.

What is sent again comes to the Switch while it is yet to learn where we are, and what it lets pass until then (PROTOCOL
6.1) must do for new packets, too: so the newest may go at once, the rest when the Switch has answered.

What leaves again is still kept, for the next way may be gone as soon: an address is there before its route is.
What left in this stay on this path, as all that had waited for it, is not sent again.

A node that goes on sending more than `RECENT_SHARE` within `WINDOW_MS` would find a tail shorter than what it takes to
notice such a loss; what it sends then is not kept, for copying has its price. One burst is no rate: what had to wait
for a path leaves in one, just when the next change is likely.
"""

from libc.stdint cimport uint32_t, uint64_t

from ovng._fast.ring cimport ring
from ovng._fast.udp cimport locator, udp_sender

cdef enum:
    RECENT_BYTES = 1 << 18
    RECENT_SHARE = 1 << 16
    WINDOW_MS = 5
    RECENT_MS = 1000  # what is older is not worth sending any more

cdef struct recent:
    ring* kept  # by segment size: kept_at, sealed datagrams
    uint64_t window  # milliseconds: since when `spent` counts
    uint64_t spent  # bytes
    bint beyond  # the share, in the window before
    uint64_t stay  # the present one, on one path without another or none in between: a number
    uint64_t sent_again  # datagrams


# 0, or -errno. Free also what failed half-way.
cdef int recent_init(recent* r) noexcept nogil
cdef void recent_free(recent* r) noexcept nogil
# The first `messages` of what the sender has just flushed, but for those that it was refused.
cdef void recent_keep(recent* r, const udp_sender* sender, unsigned int messages, uint64_t now_ms) noexcept nogil
# Queues what was sent since then, first or again, in another stay than this, copied to `arena` (RECENT_BYTES): of it the
# newest `most` bytes, rounded up to whole datagrams; what is kept meanwhile takes the room of the oldest. Bytes queued.
cdef uint64_t recent_send(
    recent* r, udp_sender* sender, const locator* to, unsigned char* arena, uint64_t since_ms, uint64_t most, uint64_t now_ms
) noexcept nogil
