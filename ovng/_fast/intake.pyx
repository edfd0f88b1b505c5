"""See `intake.pxd`."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from ovng._fast.frame cimport FRAME_SPARSE, frame_flags
from ovng._fast.pages cimport pages_allocate
from ovng._fast.udp cimport UDP_BUFFER, udp_message, udp_receive, udp_receiver_free, udp_receiver_init

cdef enum:
    FLAGS_END = 4  # bytes from which on a datagram has its flags


cdef int intake_init(intake* i, unsigned int seats) noexcept nogil:
    cdef unsigned int k
    memset(i, 0, sizeof(intake))
    i.seats = seats
    i.memory = pages_allocate(<size_t> INTAKE_SPARES * UDP_BUFFER)
    if i.memory == NULL:
        return -ENOMEM
    for k in range(INTAKE_SPARES):
        i.spare[k] = i.memory + <size_t> k * UDP_BUFFER
    i.spare_count = INTAKE_SPARES
    return udp_receiver_init(&i.receiver, -1, seats)


cdef void intake_free(intake* i) noexcept nogil:
    udp_receiver_free(&i.receiver)
    free(i.memory)
    i.memory = NULL


cdef inline bint _is_sparse(const udp_message* message, uint32_t offset) noexcept nogil:
    return message.length - offset >= FLAGS_END and (frame_flags(message.data + offset) & FRAME_SPARSE) != 0


cdef void _put(intake* i, int which, const udp_message* message, unsigned char* buffer) noexcept nogil:
    """There is room: a queue holds as many as there are buffers that are in no seat."""
    cdef intake_queue* queue = &i.queues[which]
    cdef intake_entry* entry = &queue.entries[(queue.head + queue.count) & (INTAKE_SPARES - 1)]
    entry.message = message[0]
    entry.buffer = buffer
    queue.count += 1
    queue.bytes += message.length


cdef void _part(intake* i, udp_message* message, uint32_t start, uint32_t end) noexcept nogil:
    """Sparse datagrams of a message, copied into a buffer of their own."""
    cdef udp_message part = message[0]
    i.spare_count -= 1
    part.data = i.spare[i.spare_count]
    part.length = end - start
    part.segment = min(message.segment, part.length)
    memcpy(part.data, message.data + start, part.length)
    _put(i, INTAKE_SPARSE, &part, part.data)


cdef void _sort(intake* i, udp_message* message) noexcept nogil:
    """A message that has left its seat, into its queue."""
    cdef unsigned char* buffer = message.data
    cdef uint32_t begin = 0
    cdef uint32_t last
    while begin < message.length and _is_sparse(message, begin):
        begin += message.segment
    if begin >= message.length:
        _put(i, INTAKE_SPARSE if message.length else INTAKE_BULK, message, buffer)
        return
    if begin and i.spare_count:
        _part(i, message, 0, begin)
        message.data += begin
        message.length -= begin
    last = (message.length - 1) // message.segment * message.segment
    if last and i.spare_count and _is_sparse(message, last):
        _part(i, message, last, message.length)
        message.length = last
    message.segment = min(message.segment, message.length)
    _put(i, INTAKE_BULK, message, buffer)


cdef int intake_receive(intake* i, int fd, uint64_t origin) noexcept nogil:
    cdef udp_receiver* receiver = &i.receiver
    cdef udp_message* message
    cdef unsigned int seat = 0
    cdef unsigned int asked = min(i.seats, i.spare_count)
    cdef int got, k
    if asked == 0:
        return 0
    receiver.fd, receiver.size = fd, asked
    got = udp_receive(receiver)
    if got < 0:
        return got
    for k in range(got):  # each takes its buffer with it
        while receiver.pieces[seat].iov_base != receiver.messages[k].data:
            seat += 1
        i.spare_count -= 1
        receiver.pieces[seat].iov_base = i.spare[i.spare_count]
    for k in range(got):
        message = &receiver.messages[k]
        message.origin = origin
        _sort(i, message)
    return got


cdef udp_message* intake_take(intake* i, int which, uint64_t bulk_bytes) noexcept nogil:
    cdef intake_queue* queue = &i.queues[which]
    cdef intake_entry* entry
    cdef uint64_t most = INTAKE_SPARSE_BYTES if which == INTAKE_SPARSE else bulk_bytes
    if queue.taken == queue.count or queue.taken == i.seats or queue.taken_bytes >= most:
        return NULL
    entry = &queue.entries[(queue.head + queue.taken) & (INTAKE_SPARES - 1)]
    queue.taken += 1
    queue.taken_bytes += entry.message.length
    queue.bytes -= entry.message.length
    return &entry.message


cdef void intake_release(intake* i) noexcept nogil:
    cdef intake_queue* queue
    cdef int which
    for which in range(INTAKE_CLASSES):
        queue = &i.queues[which]
        while queue.taken:
            i.spare[i.spare_count] = queue.entries[queue.head & (INTAKE_SPARES - 1)].buffer
            i.spare_count += 1
            queue.head += 1
            queue.count -= 1
            queue.taken -= 1
        queue.taken_bytes = 0
