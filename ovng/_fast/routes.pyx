"""See `routes.pxd`."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from ovng._fast.lookup cimport lookup_each, lookup_free, lookup_put, lookup_remove
from ovng._fast.reclaim cimport reclaim_later


cdef void _release(void* object) noexcept nogil:
    free(object)


cdef void _count(route_table* table, const prefix* p, int change) noexcept:
    cdef int family = p.base.version == 6
    table.counts[family][p.bits] += <uint32_t> change
    if table.counts[family][p.bits]:
        table.lengths[family][p.bits >> 6] |= <uint64_t> 1 << (p.bits & 63)
    else:
        table.lengths[family][p.bits >> 6] &= ~(<uint64_t> 1 << (p.bits & 63))


cdef int route_add(route_table* table, const prefix* p, uint64_t peer) except -1:
    cdef route* new = <route*> calloc(1, sizeof(route))
    cdef entry* old
    if new == NULL:
        raise MemoryError
    _route_key(new.head.key, &p.base, p.bits)
    new.peer = peer
    try:
        old = lookup_put(&table.prefixes, &new.head)
    except BaseException:
        free(new)
        raise
    if old == NULL:
        _count(table, p, 1)
    else:
        reclaim_later(table.prefixes.readers, old, _release)
    return 0


cdef bint route_remove(route_table* table, const prefix* p, uint64_t peer) noexcept:
    cdef uint64_t key[LOOKUP_WORDS]
    cdef entry* held
    _route_key(key, &p.base, p.bits)
    held = lookup_find(&table.prefixes, key)
    if held == NULL or (<route*> held).peer != peer:
        return False
    lookup_remove(&table.prefixes, key)
    _count(table, p, -1)
    reclaim_later(table.prefixes.readers, held, _release)
    return True


cdef void route_free(route_table* table) noexcept:
    cdef size_t position = 0
    cdef entry* held
    if table.prefixes.array == NULL:
        return
    held = lookup_each(&table.prefixes, &position)
    while held != NULL:
        free(held)
        held = lookup_each(&table.prefixes, &position)
    lookup_free(&table.prefixes)
