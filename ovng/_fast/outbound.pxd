"""The outbound loop: TUN → route → seal → socket of the active path.

One TUN read is up to 64 KiB of one flow. Its segments are sealed straight from the read buffer into the transmit arena,
one behind the other, so that equal ones leave as one GSO send. Packets are gathered until TUN has no more, or a batch
is full, and then flushed; there is no timer. Whoever waits in `poll` holds no pointers.
"""

from ovng._fast.node cimport node_state

# One batch, by the holder of TUN. Whether it was a full one, so that more may be waiting.
cdef bint outbound_step(node_state* node) noexcept nogil

# Until `stopping`. The thread's only call.
cdef void outbound_run(node_state* node) noexcept nogil
