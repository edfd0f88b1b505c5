"""A hash table of pointers, read by the loops without locks while the control thread changes it.

Open addressing with linear probing at most half full. One writer adds and removes in place; a removed slot becomes a
tombstone, so that a reader in the middle of a probe misses nothing. When used slots run out a new array is filled and
swapped in whole. Hashing is keyed, because strangers choose node IDs.
"""

from libc.stdint cimport uint8_t, uint64_t

from ovng._fast.reclaim cimport domain, pointer_load, retired
from ovng._fast.siphash cimport siphash, siphash_key

cdef enum:
    LOOKUP_WORDS = 3
    LOOKUP_FIRST_SLOTS = 64

# What the table holds pointers to begins with this.
cdef struct entry:
    retired link
    uint64_t key[LOOKUP_WORDS]

cdef struct slot_array:
    retired link
    size_t mask
    size_t used  # tombstones included
    void** slots

cdef struct lookup:
    domain* readers
    siphash_key hash_key
    void* array  # slot_array*, published
    size_t count

cdef inline bint _same(const uint64_t* a, const uint64_t* b) noexcept nogil:
    return a[0] == b[0] and a[1] == b[1] and a[2] == b[2]


cdef inline size_t _hash(const lookup* table, const uint64_t* key) noexcept nogil:
    return <size_t> siphash(&table.hash_key, <const uint8_t*> key, LOOKUP_WORDS * 8)


cdef inline entry* lookup_find(lookup* table, const uint64_t* key) noexcept nogil:
    """The entry of `key` (3 words), valid within the reader's epoch; NULL when there is none."""
    cdef slot_array* array = <slot_array*> pointer_load(&table.array)
    cdef size_t at = _hash(table, key) & array.mask
    cdef entry* found
    while True:
        found = <entry*> pointer_load(&array.slots[at])
        if found == NULL:
            return NULL
        if found != lookup_tombstone() and _same(found.key, key):
            return found
        at = (at + 1) & array.mask


cdef inline entry* lookup_tombstone() noexcept nogil:
    return <entry*> <size_t> 1


# Control thread. `hash_key` is 16 random bytes.
cdef int lookup_init(lookup* table, domain* readers, const uint8_t* hash_key) except -1

# Frees the array at once: no reader may be left. The entries are the caller's.
cdef void lookup_free(lookup* table) noexcept nogil

# Returns the entry of the same key that was replaced (for the caller to retire), or NULL.
cdef entry* lookup_put(lookup* table, entry* new) except? NULL

# Returns the removed entry for the caller to retire, or NULL when there was none.
cdef entry* lookup_remove(lookup* table, const uint64_t* key) noexcept

# All entries one after the other: start with `position` 0, NULL at the end. Nothing may change in between.
cdef entry* lookup_each(lookup* table, size_t* position) noexcept
