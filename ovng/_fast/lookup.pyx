"""See `lookup.pxd`."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ovng._fast.reclaim cimport pointer_publish, reclaim_later
from ovng._fast.siphash cimport siphash_set_key


cdef slot_array* _new_array(size_t size) except NULL:
    cdef slot_array* array = <slot_array*> calloc(1, sizeof(slot_array) + size * sizeof(void*))
    if array == NULL:
        raise MemoryError
    array.mask = size - 1
    array.slots = <void**> (array + 1)
    return array


cdef void _free_array(void* array) noexcept nogil:
    free(array)


cdef int lookup_init(lookup* table, domain* readers, const uint8_t* hash_key) except -1:
    memset(table, 0, sizeof(table[0]))
    table.readers = readers
    siphash_set_key(&table.hash_key, hash_key)
    table.array = _new_array(LOOKUP_FIRST_SLOTS)
    return 0


cdef void lookup_free(lookup* table) noexcept nogil:
    free(table.array)
    table.array = NULL


cdef void _place(lookup* table, slot_array* array, entry* new) noexcept nogil:
    cdef size_t at = _hash(table, new.key) & array.mask
    while array.slots[at] != NULL:
        at = (at + 1) & array.mask
    array.used += 1
    pointer_publish(&array.slots[at], new)


cdef int _make_room(lookup* table) except -1:
    """A fresh array without tombstones, at most a quarter full."""
    cdef slot_array* old = <slot_array*> table.array
    cdef slot_array* array
    cdef size_t size = LOOKUP_FIRST_SLOTS
    cdef size_t i
    while size < 4 * (table.count + 1):
        size *= 2
    array = _new_array(size)
    for i in range(old.mask + 1):
        if old.slots[i] != NULL and old.slots[i] != lookup_tombstone():
            _place(table, array, <entry*> old.slots[i])
    pointer_publish(&table.array, array)
    reclaim_later(table.readers, old, _free_array)
    return 0


cdef entry* lookup_put(lookup* table, entry* new) except? NULL:
    cdef slot_array* array = <slot_array*> table.array
    cdef size_t at = _hash(table, new.key) & array.mask
    cdef entry* held
    while array.slots[at] != NULL:
        held = <entry*> array.slots[at]
        if held != lookup_tombstone() and _same(held.key, new.key):
            pointer_publish(&array.slots[at], new)
            return held
        at = (at + 1) & array.mask
    if 2 * (array.used + 1) > array.mask + 1:
        _make_room(table)
    _place(table, <slot_array*> table.array, new)
    table.count += 1
    return NULL


cdef entry* lookup_remove(lookup* table, const uint64_t* key) noexcept:
    cdef slot_array* array = <slot_array*> table.array
    cdef size_t at = _hash(table, key) & array.mask
    cdef entry* held
    while array.slots[at] != NULL:
        held = <entry*> array.slots[at]
        if held != lookup_tombstone() and _same(held.key, key):
            pointer_publish(&array.slots[at], lookup_tombstone())
            table.count -= 1
            return held
        at = (at + 1) & array.mask
    return NULL


cdef entry* lookup_each(lookup* table, size_t* position) noexcept:
    cdef slot_array* array = <slot_array*> table.array
    cdef void* held
    while position[0] <= array.mask:
        held = array.slots[position[0]]
        position[0] += 1
        if held != NULL and held != lookup_tombstone():
            return <entry*> held
    return NULL
