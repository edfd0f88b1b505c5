"""See `tunqueue.pxd`."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.string cimport memset

from ovng._fast.pages cimport PAGE, pages_allocate

cdef enum:
    STRIDE = (TUN_FRAME_PLACE + TUN_FRAME + PAGE - 1) & ~(PAGE - 1)  # each begins alike in its page


cdef int tunqueue_init(tunqueue* q) noexcept nogil:
    cdef int i
    memset(q, 0, sizeof(tunqueue))
    q.memory = pages_allocate(<size_t> TUN_FRAMES * STRIDE)
    if q.memory == NULL:
        return -ENOMEM
    for i in range(TUN_FRAMES):
        q.spare[i] = q.memory + <size_t> i * STRIDE + TUN_FRAME_PLACE
    q.spare_count = TUN_FRAMES
    return 0


cdef void tunqueue_free(tunqueue* q) noexcept nogil:
    free(q.memory)
    memset(q, 0, sizeof(tunqueue))
