"""Which flows are sparse: they send little, and what they send may overtake what others have queued (PROTOCOL 2).

A cell holds what its flows have sent of late, in a bucket that leaks; a flow finds its cell by a keyed hash of
addresses, protocol and ports. Flows that share a cell share the account, which can only cost them priority. Whoever
has sent more than SPARSE_BURST is bulk until it was quiet for SPARSE_QUIET_MS: longer than packets wait in the queues
where sparse ones overtake, so that no packet overtakes an earlier one of its own flow. (Fragments, which have no
ports, are a flow of their own.)

One super-packet is one look-up.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ovng._fast.frame cimport load_be16
from ovng._fast.inner cimport PROTOCOL_TCP, PROTOCOL_UDP, inner_header, inner_protocol

cdef enum:
    SPARSE_CELLS = 4096
    SPARSE_BURST = 16384  # bytes: TCP's first window (RFC 6928) and its handshake
    SPARSE_RATE = 128  # bytes per millisecond, 1 Mbit/s: speech, games, remote shells
    SPARSE_QUIET_MS = 250

cdef struct sparse_cell:
    uint32_t last_ms
    uint32_t level  # bytes; beyond SPARSE_BURST: bulk

cdef struct sparse_table:
    uint64_t key  # random
    sparse_cell cells[SPARSE_CELLS]


cdef inline uint64_t _mix(uint64_t key, uint64_t so_far, uint64_t word) noexcept nogil:
    so_far = (so_far ^ word) * key
    return so_far ^ so_far >> 32


cdef inline uint64_t _flow_hash(uint64_t key, const uint8_t* packet, int header, size_t length) noexcept nogil:
    cdef uint64_t words[4]
    cdef uint32_t ports = 0
    cdef uint64_t hashed = key
    cdef int protocol = inner_protocol(packet)
    cdef bint whole = packet[0] >> 4 == 6 or not load_be16(packet + 6) & 0x3FFF  # neither MF nor an offset
    if (protocol == PROTOCOL_TCP or protocol == PROTOCOL_UDP) and whole and length >= <size_t> header + 4:
        memcpy(&ports, packet + header, 4)
    if packet[0] >> 4 == 4:
        memcpy(words, packet + 12, 8)
    else:
        memcpy(words, packet + 8, 32)
        hashed = _mix(key, _mix(key, _mix(key, hashed, words[1]), words[2]), words[3])
    return _mix(key, _mix(key, hashed, words[0]), <uint64_t> ports << 8 | <uint64_t> protocol)


cdef inline bint sparse_put(sparse_table* table, const uint8_t* packet, size_t length, uint64_t now_ms) noexcept nogil:
    """Whether this packet, which may still be to be segmented, is one of a sparse flow."""
    cdef int header = inner_header(packet, length)
    cdef uint32_t now = <uint32_t> now_ms
    cdef sparse_cell* cell
    cdef uint32_t quiet
    if header < 0:
        return False
    cell = &table.cells[_flow_hash(table.key | 1, packet, header, length) & (SPARSE_CELLS - 1)]
    quiet = now - cell.last_ms
    cell.last_ms = now
    if quiet >= SPARSE_QUIET_MS:
        cell.level = 0
    elif cell.level > SPARSE_BURST:
        return False
    else:
        cell.level -= min(cell.level, quiet * SPARSE_RATE)
    cell.level += <uint32_t> length
    return cell.level <= SPARSE_BURST
