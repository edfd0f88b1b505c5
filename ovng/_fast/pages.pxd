"""Large buffers that the kernel copies into and out of begin at a page.

The kernel copies by `rep movsb`, and its own data mostly begin at a page. On AMD's Zen 3 (FSRM) such a copy takes 12 to
30 times as long when the target lies 1 to 63 bytes further into its page than the source does (measured: 65,000 bytes,
2 to 3 µs, or 46 to 84 µs): `malloc` returns such addresses, 16 bytes behind a page.
"""

from libc.stdint cimport uint8_t

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** made, size_t alignment, size_t size)

cdef enum:
    PAGE = 4096


cdef inline uint8_t* pages_allocate(size_t size) noexcept nogil:
    """For `free`; NULL when there is no memory."""
    cdef void* made = NULL
    return <uint8_t*> made if posix_memalign(&made, PAGE, size) == 0 else NULL
