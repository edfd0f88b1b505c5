"""Bounded byte ring from a fast loop to Python. The theory is in `ring.pyx`, the atomics are in `ring.h`."""

from libc.stdint cimport uint32_t, uint64_t


cdef extern from "ring.h" nogil:
    cdef struct ring:
        size_t capacity
        int event_fd
        size_t tail  # free-running, the producer's; and the consumer's
        size_t head
        uint64_t dropped  # records that found the ring full

    ring* ring_create(size_t capacity, int event_fd)  # NULL: no memory
    void ring_destroy(ring*)

    # Producer. One record of two parts, either may be empty; 0, or -1 when full (counted).
    int ring_put(ring*, uint32_t kind, const void* first, size_t first_length, const void* second, size_t second_length)

    # Consumer.
    void ring_acknowledge(int event_fd)  # before draining, never after; once for all rings that share the eventfd
    long ring_peek(const ring*, uint32_t* kind)
    long ring_look(const ring*, size_t position, uint32_t* kind, void* first, size_t size)
    void ring_read(const ring*, size_t position, size_t offset, void* target, size_t length)
    void ring_write(ring*, size_t position, size_t offset, const void* source, size_t length)
    size_t ring_record_size(size_t length)
    void ring_take(ring*, void* target, size_t length)
    void ring_skip(ring*)  # the oldest record; there must be one
    void ring_signal(int event_fd)

    # One thread that is both sides. Records that were taken out to make room, -1: it never fits.
    long ring_put_newest(
        ring*, uint32_t kind, const void* first, size_t first_length, const void* second, size_t second_length
    )


# Consumer, with the GIL: up to `limit` records as (kind, payload). What is left behind signals the eventfd again.
cdef list ring_drain(ring* source, Py_ssize_t limit)
