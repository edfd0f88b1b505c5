"""Keeping queues short: how long a message has waited in its socket, and when one datagram of it must go.

TCP sends until something is lost. Without a limit it fills every buffer on its way, and all that comes behind waits.
So where a message has waited for more than SOJOURN_MAX_NS its first DATA datagram is dropped, one per
SOJOURN_INTERVAL_NS: enough for a stream to slow down, too few to hurt a flow that does not. The receive buffer bounds
what does not slow down. A head drop is heard of soonest, and needs one retransmission, not those of a whole train.

CoDel (RFC 8289) waits until a queue has not been empty for an interval. Where sender and receiver share processors a
loop empties its socket in every time slice, CoDel hardly ever acts, and the queue is long all the same (measured).
"""

from libc.stdint cimport uint64_t

cdef enum:
    SOJOURN_MAX_NS = 2_000_000
    SOJOURN_INTERVAL_NS = 20_000_000
    SOJOURN_CLOCK_SET_NS = 1_000_000_000  # nothing waits that long: the clock was set meanwhile


cdef inline bint sojourn_too_long(uint64_t* last_drop, uint64_t arrived_ns, uint64_t now_ns) noexcept nogil:
    """Whether to drop one now. Both instants by the same clock; `arrived_ns` 0: not known."""
    cdef uint64_t waited = now_ns - arrived_ns
    if arrived_ns == 0 or not SOJOURN_MAX_NS < waited < SOJOURN_CLOCK_SET_NS:
        return False  # one from the future has waited for a very long time: unsigned
    if now_ns - last_drop[0] < SOJOURN_INTERVAL_NS:
        return False
    last_drop[0] = now_ns
    return True
