"""The inbound loop: sockets of all paths → checks of PROTOCOL 2, in their order → TUN.

A receive brings messages of up to 64 KiB, many datagrams of one sender each (GRO). They are opened in place, and what
they held is coalesced for TUN where it lies, so a batch's packets are written before its buffers are used again.
"""

from ovng._fast.node cimport node_state

# Until `stopping`. The thread's only call.
cdef void inbound_run(node_state* node) noexcept nogil
