"""How a fast loop tells Python something: a bounded ring of records and an eventfd.

One thread produces (a loop without the GIL), one consumes (Python). The loop must never wait for Python, so a full ring
refuses the record and counts it. The eventfd is written only when a record goes into an empty ring: a Python side that
lags behind costs the loop no system call per record. For that to lose no wake-up the consumer acknowledges the eventfd
first and drains afterwards, and both sides put a full fence between writing their own position and reading the other's.

Several rings may share one eventfd: then acknowledge once, and drain them all.
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t

import os


cdef list ring_drain(ring* source, Py_ssize_t limit):
    cdef list records = []
    cdef uint32_t kind = 0
    cdef long length
    cdef bytes payload
    while limit > 0:
        length = ring_peek(source, &kind)
        if length < 0:
            return records
        payload = PyBytes_FromStringAndSize(NULL, length)
        ring_take(source, PyBytes_AsString(payload), <size_t>length)
        records.append((kind, payload))
        limit -= 1
    if ring_peek(source, &kind) >= 0:
        ring_signal(source.event_fd)
    return records


cdef class Ring:
    """A ring with its own eventfd. The loops hold the C structure; this face is for tests and for Python producers."""

    cdef ring* _ring
    cdef int _event_fd

    def __cinit__(self, size_t capacity):
        self._ring = NULL
        self._event_fd = -1

    def __init__(self, size_t capacity):
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ring = ring_create(capacity, self._event_fd)
        if self._ring == NULL:
            raise MemoryError

    def __dealloc__(self):
        ring_destroy(self._ring)
        if self._event_fd >= 0:
            os.close(self._event_fd)

    def fileno(self):
        return self._event_fd

    @property
    def capacity(self):
        return self._ring.capacity

    @property
    def dropped(self):
        return self._ring.dropped

    def put(self, uint32_t kind, bytes payload not None):
        # Not any buffer: one typed memoryview brings 300 kB of Cython's own into the module.
        cdef const char* start = PyBytes_AsString(payload)
        cdef size_t length = <size_t> len(payload)
        cdef int result
        with nogil:
            result = ring_put(self._ring, kind, start, length, NULL, 0)
        return result == 0

    def drain(self, Py_ssize_t limit=256):
        ring_acknowledge(self._event_fd)
        return ring_drain(self._ring, limit)
