"""The outbound loop: TUN → route → seal → socket of the active path.

One TUN read is up to 64 KiB of one flow. Its segments are sealed straight from the read buffer into the transmit arena,
one behind the other, so that equal ones leave as one GSO send. Packets are gathered until TUN has no more, or a batch
is full, and then flushed; there is no timer for them. Whoever waits in `poll` holds no pointers.

What the path before this one may have lost leaves behind what is new, a little at a time: else a stream would stand
still until a burst of old datagrams, most of which had arrived, has passed a slow uplink.
"""

from ovng._fast.node cimport node_state


cdef inline bint outbound_waits(const node_state* node) noexcept nogil:
    """Whether something waits for its time, which the outbound thread sees to."""
    return node.outbound.rest_waits or node.outbound.again_left != 0


# One batch, by the holder of TUN. Whether it was a full one, so that more may be waiting.
cdef bint outbound_step(node_state* node) noexcept nogil

# Until `stopping`. The thread's only call.
cdef void outbound_run(node_state* node) noexcept nogil
