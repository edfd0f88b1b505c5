"""Which peer a destination belongs to: longest prefix match, read by the loop without locks.

One hash table holds all prefixes of both versions; for each version a bitmap tells which prefix lengths occur. A
look-up tries those from the longest to the shortest: a network has few lengths (hosts, subnets, a default), so mostly
one or two probes. The bitmaps may be ahead of or behind the table for a moment; a packet then takes the route before
or after the change, either of which is right.
"""

from libc.stdint cimport uint32_t, uint64_t

from ovng._fast.address cimport address, high_mask, low_mask, prefix
from ovng._fast.lookup cimport LOOKUP_WORDS, entry, lookup, lookup_find

cdef extern from *:
    int __builtin_clzll(unsigned long long) nogil

cdef enum:
    ROUTE_BITMAP = 3  # words: 129 lengths

cdef struct route:
    entry head  # key: high, low, version << 8 | bits
    uint64_t peer

cdef struct route_table:
    lookup prefixes
    uint64_t lengths[2][ROUTE_BITMAP]  # [0] IPv4, [1] IPv6
    uint32_t counts[2][129]

cdef inline void _route_key(uint64_t* key, const address* a, uint32_t bits) noexcept nogil:
    key[0] = a.high & high_mask(bits)
    key[1] = a.low & low_mask(bits)
    key[2] = <uint64_t> a.version << 8 | bits


cdef inline route* route_find(route_table* table, const address* destination) noexcept nogil:
    """The route of the longest prefix that covers `destination`, or NULL. Within the reader's epoch."""
    cdef uint64_t key[LOOKUP_WORDS]
    cdef uint64_t left
    cdef int word = ROUTE_BITMAP - 1
    cdef int bit
    cdef entry* found
    while word >= 0:
        left = table.lengths[destination.version == 6][word]
        while left:
            bit = 63 - __builtin_clzll(left)
            left &= ~(<uint64_t> 1 << bit)
            _route_key(key, destination, 64 * word + bit)
            found = lookup_find(&table.prefixes, key)
            if found != NULL:
                return <route*> found
        word -= 1
    return NULL


# Control thread. Replaces the peer of a prefix that is there already.
cdef int route_add(route_table* table, const prefix* p, uint64_t peer) except -1

# Removes the prefix if it leads to `peer`; whether it did.
cdef bint route_remove(route_table* table, const prefix* p, uint64_t peer) noexcept

# Frees everything at once: no reader may be left.
cdef void route_free(route_table* table) noexcept
