"""When may memory be freed that a loop without locks may still be reading?

Objects are published through an atomic pointer, never changed where a reader could be confused, and unpublished by the
one control thread (which holds the GIL). A reader keeps a counter that is odd while it uses pointers and even while it
holds none (in `poll`). The writer notes all counters when it retires an object: once each was even then or has changed
since, nobody can hold the object any more and it is released. (Epoch-based reclamation: Fraser 2004.)

An object embeds `retired` as its first member, so that retiring never allocates and cannot fail.
"""

from libc.stdint cimport uint64_t

cdef extern from "reclaim.h" nogil:
    void* pointer_load(void** at)
    void pointer_publish(void** at, void* value)
    int flag_load(const int* at)
    void flag_store(int* at, int value)
    bint flag_claim(int* at)
    uint64_t counter_load(const uint64_t* at)
    uint64_t counter_add(uint64_t* at, uint64_t amount)
    void epoch_enter(uint64_t* epoch)
    void epoch_leave(uint64_t* epoch)
    uint64_t epoch_snapshot(const uint64_t* epoch)

cdef enum:
    READERS = 2

cdef struct reader:
    uint64_t epoch
    uint64_t apart[15]  # each on cache lines of its own

cdef struct retired:
    retired* next
    void (*release)(void* object) noexcept nogil
    uint64_t seen[READERS]

cdef struct domain:
    reader readers[READERS]
    retired* waiting

# Control thread. `object` begins with `retired` and is published nowhere any more.
cdef void reclaim_later(domain* d, void* object, void (*release)(void*) noexcept nogil) noexcept nogil

# Control thread. Releases what nobody can hold; number of objects still waiting.
cdef int reclaim(domain* d) noexcept nogil
