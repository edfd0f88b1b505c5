"""Keeping queues short: how long a message has waited in its socket, and when one datagram of it must go.

TCP sends until something is lost. Without a limit it fills every buffer on its way, and all that comes behind waits.
So where a message has waited for more than SOJOURN_MAX_NS its first DATA datagram is dropped, one per
SOJOURN_INTERVAL_NS: enough for a stream to slow down, too few to hurt a flow that does not. The receive buffer bounds
what does not slow down. A loop that merely came late finds less than SOJOURN_BACKLOG. A head drop is heard of soonest,
and needs one retransmission, not those of a whole train. Where sender, Switch and receiver share few cores, a shorter
limit costs throughput: a queue hides the time slices of the others (ARCHITECTURE, Queues).

CoDel (RFC 8289) waits until a queue has not been empty for an interval. Where sender and receiver share processors a
loop empties its socket in every time slice, CoDel hardly ever acts, and the queue is long all the same (measured).
"""

from libc.stdint cimport uint64_t

from ovng._fast.udp cimport udp_message

cdef enum:
    SOJOURN_MAX_NS = 10_000_000
    SOJOURN_INTERVAL_NS = 50_000_000
    SOJOURN_BACKLOG = 65536  # bytes that wait, from which on it is a queue
    SOJOURN_CLOCK_SET_NS = 1_000_000_000  # nothing waits that long: the clock was set meanwhile


cdef inline bint sojourn_too_long(
    uint64_t* last_drop, uint64_t now_ns, uint64_t backlog, const udp_message* message
) noexcept nogil:
    """Whether to drop one datagram of this message now (`udp_now`); `last_drop` is kept for each socket."""
    cdef uint64_t waited = now_ns - message.arrived_ns
    if backlog < SOJOURN_BACKLOG or message.arrived_ns == 0:
        return False
    if not SOJOURN_MAX_NS < waited < SOJOURN_CLOCK_SET_NS:
        return False  # one from the future has waited for a very long time: unsigned
    if now_ns - last_drop[0] < SOJOURN_INTERVAL_NS:
        return False
    last_drop[0] = now_ns
    return True
