"""Batches of UDP datagrams.

A *message* is what one system call entry carries; with GRO and GSO it holds many *datagrams* of one length, of which
only the last may be shorter. Receiving gives an array of messages in buffers allocated once; sending takes pieces of
memory that stay where they are until the flush (scatter-gather, no copy).

A socket of strangers never stops a loop: errors that ICMP left on it are counted and passed over, and a datagram that
cannot be sent is counted under its reason. When the kernel refuses to segment one message (EIO: the way out cannot
fill in checksums, EINVAL: segments above the path's MTU), that message alone is sent datagram by datagram. A sender that
meets nothing but EIO gives segmentation up for good.
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.errno cimport (
    EACCES, EADDRNOTAVAIL, EAGAIN, EBADF, ECONNREFUSED, EHOSTUNREACH, EINTR, EINVAL, EIO, EMSGSIZE, ENETDOWN,
    ENETUNREACH, ENOBUFS, ENODEV, ENOMEM, ENOTSOCK, EPERM, errno,
)
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from ovng._fast.pages cimport pages_allocate
from ovng._fast.ring cimport ring_put_newest

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        SOCK_DGRAM
        SOCK_CLOEXEC
        MSG_DONTWAIT
        MSG_TRUNC
        MSG_CTRUNC
    int socket(int domain, int type, int protocol)
    struct sockaddr:
        pass
    struct sockaddr_storage:
        unsigned short ss_family
    int bind(int fd, const sockaddr* name, unsigned int length)
    int getsockname(int fd, sockaddr* name, unsigned int* length)
    int setsockopt(int fd, int level, int option, const void* value, unsigned int length)
    int recvmmsg(int fd, mmsghdr* headers, unsigned int count, int flags, void* timeout)
    int sendmmsg(int fd, mmsghdr* headers, unsigned int count, int flags)
    ssize_t sendmsg(int fd, const msghdr* header, int flags)

cdef extern from "<poll.h>" nogil:
    enum:
        POLLOUT
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    MESSAGES_MAX = 1024  # UIO_MAXIOV: the kernel's limit for one sendmmsg
    PIECES_MAX = 2048
    RECEIVE_ERRORS_MAX = 64  # passed over in one call; more would starve the rest of the loop
    SEND_WAITS = 4  # per flush: when the device is slower than that, dropping is better than queueing
    SEND_WAIT_MS = 5
    EIO_MAX = 16  # refused one after the other: the way out never segments

COUNTER_NAMES = (
    "received", "received_bytes", "received_messages", "receive_errors", "receive_truncated",
    "sent", "sent_bytes", "sent_messages", "gso_given_up",
    "send_no_buffer", "send_unreachable", "send_refused", "send_too_big", "send_other",
)


# -- Receiving

cdef int udp_receiver_init(udp_receiver* receiver, int fd, unsigned int size) noexcept nogil:
    cdef unsigned int i
    memset(receiver, 0, sizeof(udp_receiver))
    receiver.fd = fd
    receiver.size = receiver.used = size
    receiver.buffers = pages_allocate(<size_t>size * UDP_BUFFER)
    receiver.headers = <mmsghdr*>calloc(size, sizeof(mmsghdr))
    receiver.pieces = <iovec*>calloc(size, sizeof(iovec))
    receiver.names = <sockaddr_in6*>calloc(size, sizeof(sockaddr_in6))
    receiver.controls = <unsigned char*>calloc(size, UDP_CONTROL_SIZE)
    receiver.messages = <udp_message*>calloc(size, sizeof(udp_message))
    if (receiver.buffers == NULL or receiver.headers == NULL or receiver.pieces == NULL or receiver.names == NULL
            or receiver.controls == NULL or receiver.messages == NULL):
        return -ENOMEM
    for i in range(size):
        receiver.pieces[i].iov_base = receiver.buffers + <size_t>i * UDP_BUFFER
        receiver.pieces[i].iov_len = UDP_BUFFER
        receiver.headers[i].msg_hdr.msg_iov = &receiver.pieces[i]
        receiver.headers[i].msg_hdr.msg_iovlen = 1
    return 0


cdef void udp_receiver_free(udp_receiver* receiver) noexcept nogil:
    free(receiver.buffers)
    free(receiver.headers)
    free(receiver.pieces)
    free(receiver.names)
    free(receiver.controls)
    free(receiver.messages)
    memset(receiver, 0, sizeof(udp_receiver))
    receiver.fd = -1


cdef int udp_receive(udp_receiver* receiver) noexcept nogil:
    cdef msghdr* header
    cdef udp_message* message
    cdef int got = -1
    cdef int errors = 0
    cdef unsigned int i, kept = 0
    for i in range(receiver.used):  # the kernel overwrote what it filled in
        header = &receiver.headers[i].msg_hdr
        header.msg_name = &receiver.names[i]
        header.msg_namelen = sizeof(sockaddr_in6)
        header.msg_control = receiver.controls + <size_t>i * UDP_CONTROL_SIZE
        header.msg_controllen = UDP_CONTROL_SIZE
    receiver.used = 0
    while True:
        got = recvmmsg(receiver.fd, receiver.headers, receiver.size, MSG_DONTWAIT, NULL)
        if got >= 0:
            break
        if errno == EAGAIN:
            return 0
        if errno == EBADF or errno == ENOTSOCK or errno == EINVAL:
            return -errno
        if errno != EINTR:
            receiver.counters[UDP_RECEIVE_ERRORS] += 1
        errors += 1
        if errors == RECEIVE_ERRORS_MAX:
            return 0
    receiver.used = <unsigned int>got
    receiver.bytes = 0
    receiver.counters[UDP_RECEIVED_MESSAGES] += <uint64_t>got
    for i in range(receiver.used):
        header = &receiver.headers[i].msg_hdr
        if header.msg_flags & (MSG_TRUNC | MSG_CTRUNC):  # without GRO's segment size a train cannot be split
            receiver.counters[UDP_DROP_TRUNCATED] += 1
            continue
        message = &receiver.messages[kept]
        message.data = <unsigned char*>receiver.pieces[i].iov_base
        message.length = receiver.headers[i].msg_len
        udp_read_control(header, &message.segment, &message.arrived_ns, message.local)
        if message.segment == 0 or message.segment > message.length:
            message.segment = message.length if message.length > 0 else 1
        udp_locator_from_name(&message.source, &receiver.names[i])
        receiver.counters[UDP_RECEIVED] += (
            (message.length + message.segment - 1) // message.segment if message.length > 0 else 1
        )
        receiver.counters[UDP_RECEIVED_BYTES] += message.length
        receiver.bytes += message.length
        kept += 1
    return <int>kept


# -- Sending

cdef int udp_sender_init(udp_sender* sender, int fd, unsigned int segments_max) noexcept nogil:
    cdef sockaddr_storage name
    cdef unsigned int length = sizeof(sockaddr_storage)
    memset(sender, 0, sizeof(udp_sender))
    sender.fd = fd
    if getsockname(fd, <sockaddr*>&name, &length) < 0:
        return -errno
    sender.family = name.ss_family
    sender.segments_max = max(1, min(segments_max, <unsigned int>UDP_SEGMENTS_MAX))
    sender.messages_max = MESSAGES_MAX
    sender.pieces_max = PIECES_MAX
    # 280 kB, of which a node with little to send never touches more than the first pages: nothing clears them.
    sender.headers = <mmsghdr*>malloc(MESSAGES_MAX * sizeof(mmsghdr))
    sender.pieces = <iovec*>malloc(PIECES_MAX * sizeof(iovec))
    sender.names = <sockaddr_in6*>malloc(MESSAGES_MAX * sizeof(sockaddr_in6))
    sender.controls = <unsigned char*>malloc(MESSAGES_MAX * UDP_CONTROL_SIZE)
    sender.outgoing = <udp_outgoing*>malloc(MESSAGES_MAX * sizeof(udp_outgoing))
    if (sender.headers == NULL or sender.pieces == NULL or sender.names == NULL or sender.controls == NULL
            or sender.outgoing == NULL):
        return -ENOMEM
    return 0


cdef void udp_sender_free(udp_sender* sender) noexcept nogil:
    free(sender.headers)
    free(sender.pieces)
    free(sender.names)
    free(sender.controls)
    free(sender.outgoing)
    memset(sender, 0, sizeof(udp_sender))
    sender.fd = -1


cdef int udp_open(udp_sender* sender, const locator* to, uint32_t segment) noexcept nogil:
    cdef unsigned int i, length
    cdef msghdr* header
    if sender.messages == sender.messages_max or sender.pieces_used == sender.pieces_max:
        udp_flush(sender)
    i = sender.messages
    length = udp_name_from_locator(&sender.names[i], to, sender.family)
    if length == 0:
        return -1
    header = &sender.headers[i].msg_hdr
    header.msg_name = &sender.names[i]
    header.msg_namelen = length
    header.msg_iov = &sender.pieces[sender.pieces_used]
    header.msg_iovlen = 0
    header.msg_flags = 0
    sender.outgoing[i].bytes = 0
    sender.outgoing[i].segment = <uint16_t>segment
    sender.outgoing[i].segments = 0
    sender.outgoing[i].closed = False
    sender.outgoing[i].refused = False
    sender.outgoing[i].has_local = False
    sender.messages = i + 1
    return 0


cdef void udp_leave_from(udp_sender* sender, const uint8_t* local) noexcept nogil:
    cdef udp_outgoing* message = &sender.outgoing[sender.messages - 1]
    cdef int i
    for i in range(16):
        message.has_local = message.has_local or local[i] != 0
    memcpy(message.local, local, 16)


cdef bint udp_append(udp_sender* sender, unsigned char* data, uint32_t length) noexcept nogil:
    cdef unsigned int last = sender.messages - 1
    cdef udp_outgoing* message
    cdef msghdr* header
    cdef iovec* piece
    cdef uint32_t segments
    if sender.messages == 0:
        return False
    message = &sender.outgoing[last]
    header = &sender.headers[last].msg_hdr
    segments = (length + message.segment - 1) // message.segment
    if (message.closed or segments == 0 or message.segments + segments > sender.segments_max
            or message.bytes + length > UDP_MESSAGE_MAX):
        return False
    piece = header.msg_iov + header.msg_iovlen - 1
    if header.msg_iovlen > 0 and <unsigned char*>piece.iov_base + piece.iov_len == data:
        piece.iov_len += length
    else:
        if sender.pieces_used == sender.pieces_max:
            return False
        piece += 1
        piece.iov_base = data
        piece.iov_len = length
        header.msg_iovlen += 1
        sender.pieces_used += 1
    message.bytes += length
    message.segments = <uint16_t>(message.segments + segments)
    message.closed = length % message.segment != 0
    return True


cdef int udp_send_run(
    udp_sender* sender, const locator* to, unsigned char* data, uint32_t length, uint32_t segment
) noexcept nogil:
    cdef uint32_t most, taken
    if segment == 0 or length == 0:
        return -1
    if segment > UDP_MESSAGE_MAX:
        sender.counters[UDP_DROP_TOO_BIG] += 1
        return -1
    most = segment * min(sender.segments_max, <uint32_t>UDP_MESSAGE_MAX // segment)
    while length > 0:
        taken = min(length, most)
        if udp_open(sender, to, segment) < 0:
            sender.counters[UDP_DROP_UNREACHABLE] += (length + segment - 1) // segment
            return -1
        udp_append(sender, data, taken)
        data += taken
        length -= taken
    return 0


cdef int _blame(int error) noexcept nogil:
    """The counter for a datagram that `error` kept from leaving."""
    if error == EAGAIN or error == ENOBUFS or error == ENOMEM:
        return UDP_DROP_NO_BUFFER
    if error in (ENETUNREACH, EHOSTUNREACH, ENETDOWN, ENODEV, EADDRNOTAVAIL, ECONNREFUSED):
        return UDP_DROP_UNREACHABLE
    if error == EPERM or error == EACCES:
        return UDP_DROP_REFUSED
    if error == EMSGSIZE:
        return UDP_DROP_TOO_BIG
    return UDP_DROP_OTHER


cdef void _wait_writable(int fd) noexcept nogil:
    cdef pollfd wanted
    wanted.fd = fd
    wanted.events = POLLOUT
    wanted.revents = 0
    poll(&wanted, 1, SEND_WAIT_MS)


cdef void _send_singly(udp_sender* sender, unsigned int index) noexcept nogil:
    """One message's datagrams, each by its own call. Pieces hold whole datagrams, so none lies across two."""
    cdef msghdr single = sender.headers[index].msg_hdr
    cdef msghdr* header = &sender.headers[index].msg_hdr
    cdef size_t segment = sender.outgoing[index].segment
    cdef size_t i, offset
    cdef ssize_t sent
    cdef iovec piece
    udp_write_control(
        &single,
        sender.controls + <size_t>index * UDP_CONTROL_SIZE,
        0,
        sender.outgoing[index].local if sender.outgoing[index].has_local else NULL,
        sender.family,
    )
    single.msg_iov = &piece
    single.msg_iovlen = 1
    for i in range(header.msg_iovlen):
        offset = 0
        while offset < header.msg_iov[i].iov_len:
            piece.iov_base = <unsigned char*>header.msg_iov[i].iov_base + offset
            piece.iov_len = min(segment, header.msg_iov[i].iov_len - offset)
            offset += piece.iov_len
            sent = sendmsg(sender.fd, &single, MSG_DONTWAIT)
            if sent < 0 and errno == EAGAIN:
                _wait_writable(sender.fd)
                sent = sendmsg(sender.fd, &single, MSG_DONTWAIT)
            if sent < 0:
                sender.counters[_blame(errno)] += 1
            else:
                sender.counters[UDP_SENT] += 1
                sender.counters[UDP_SENT_BYTES] += piece.iov_len
                sender.counters[UDP_SENT_MESSAGES] += 1


cdef void _keep(udp_sender* sender, unsigned int index) noexcept nogil:
    """One message's datagrams, which the way out could not take."""
    cdef msghdr* header = &sender.headers[index].msg_hdr
    cdef size_t i
    for i in range(header.msg_iovlen):
        ring_put_newest(
            sender.unsent,
            sender.outgoing[index].segment,
            header.msg_iov[i].iov_base,
            header.msg_iov[i].iov_len,
            NULL,
            0,
        )


cdef void udp_flush(udp_sender* sender) noexcept nogil:
    cdef unsigned int i, done = 0
    cdef int result, error
    cdef int waits = 0
    cdef bint asked_again = False  # an unconnected socket reports an earlier ICMP error once
    cdef udp_outgoing* message
    for i in range(sender.messages):
        message = &sender.outgoing[i]
        udp_write_control(
            &sender.headers[i].msg_hdr,
            sender.controls + <size_t>i * UDP_CONTROL_SIZE,
            message.segment if message.segments > 1 else 0,
            message.local if message.has_local else NULL,
            sender.family,
        )
    while done < sender.messages:
        result = sendmmsg(sender.fd, sender.headers + done, sender.messages - done, MSG_DONTWAIT)
        if result > 0:
            sender.counters[UDP_SENT_MESSAGES] += <uint64_t>result
            for i in range(done, done + <unsigned int>result):
                sender.counters[UDP_SENT_BYTES] += sender.outgoing[i].bytes
                sender.counters[UDP_SENT] += sender.outgoing[i].segments
            done += <unsigned int>result
            asked_again = False
            sender.refused = 0
            continue
        error = errno
        message = &sender.outgoing[done]
        if error == EINTR:
            continue
        if (error == EAGAIN or error == ENOBUFS) and waits < SEND_WAITS:
            waits += 1
            _wait_writable(sender.fd)
            continue
        if error == ECONNREFUSED and not asked_again:
            asked_again = True
            continue
        if message.segments > 1 and (error == EINVAL or error == EIO or error == EMSGSIZE):
            sender.counters[UDP_GSO_GIVEN_UP] += 1
            _send_singly(sender, done)
            sender.refused += error == EIO
            if sender.refused == EIO_MAX:
                sender.segments_max = 1
        else:
            sender.counters[_blame(error)] += message.segments
            if sender.unsent != NULL and _blame(error) == UDP_DROP_UNREACHABLE:
                _keep(sender, done)
                message.refused = True
        done += 1
        asked_again = False
    sender.messages = 0
    sender.pieces_used = 0


cdef unsigned int udp_gso_limit() noexcept nogil:
    """Asks the kernel by sending UDP_SEGMENTS_MAX bytes over a loopback socket of its own."""
    cdef udp_sender sender
    cdef locator to
    cdef sockaddr_in6 name
    cdef unsigned char data[UDP_SEGMENTS_MAX]
    cdef unsigned int length
    cdef unsigned int limit = 1
    cdef int off = 0
    cdef int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    if fd < 0:
        return limit
    if setsockopt(fd, SOL_UDP, UDP_SEGMENT, &off, sizeof(off)) == 0:  # Linux 4.18 or newer
        limit = UDP_SEGMENTS_SAFE
        memset(&to, 0, sizeof(to))
        memset(data, 0, sizeof(data))
        to.address[10] = to.address[11] = 0xFF
        to.address[12] = 127
        to.address[15] = 1
        length = udp_name_from_locator(&name, &to, AF_INET)
        if bind(fd, <sockaddr*>&name, length) == 0 and getsockname(fd, <sockaddr*>&name, &length) == 0:
            udp_locator_from_name(&to, &name)
            if udp_sender_init(&sender, fd, UDP_SEGMENTS_MAX) == 0:
                udp_send_run(&sender, &to, data, UDP_SEGMENTS_MAX, 1)
                udp_flush(&sender)
                if sender.counters[UDP_SENT_MESSAGES] == 1:
                    limit = UDP_SEGMENTS_MAX
            udp_sender_free(&sender)
    close(fd)
    return limit


# -- The Python face: tests, and what needs no speed

def gso_limit():
    cdef unsigned int limit
    with nogil:
        limit = udp_gso_limit()
    return limit


def stamp(int fd):
    return udp_stamp(fd) == 0


cdef dict _counters(const uint64_t* values):
    return {name: values[i] for i, name in enumerate(COUNTER_NAMES)}


cdef class Receiver:
    cdef udp_receiver _receiver

    def __cinit__(self, int fd, unsigned int size=UDP_BATCH_GRO):
        memset(&self._receiver, 0, sizeof(udp_receiver))

    def __init__(self, int fd, unsigned int size=UDP_BATCH_GRO):
        if not 1 <= size <= MESSAGES_MAX:
            raise ValueError(f"a batch has 1 to {MESSAGES_MAX} messages")
        if udp_receiver_init(&self._receiver, fd, size) < 0:
            raise MemoryError

    def __dealloc__(self):
        udp_receiver_free(&self._receiver)

    def receive(self):
        cdef int got, i
        cdef udp_message* message
        with nogil:
            got = udp_receive(&self._receiver)
        if got < 0:
            raise OSError(-got, "receive")
        messages = []
        for i in range(got):
            message = &self._receiver.messages[i]
            messages.append((
                PyBytes_FromStringAndSize(<char*>message.data, message.length),
                message.segment,
                PyBytes_FromStringAndSize(<char*>&message.source, sizeof(locator)),
                PyBytes_FromStringAndSize(<char*>message.local, 16),
            ))
        return messages

    def counters(self):
        return _counters(self._receiver.counters)


cdef locator _locator(bytes packed) except *:
    cdef locator where
    if len(packed) != sizeof(locator):
        raise ValueError("a locator has 18 bytes")
    memcpy(&where, PyBytes_AsString(packed), sizeof(locator))
    return where


cdef class Sender:
    cdef udp_sender _sender
    cdef list _held  # what the queued pieces point into

    def __cinit__(self, int fd, unsigned int segments_max=UDP_SEGMENTS_SAFE):
        memset(&self._sender, 0, sizeof(udp_sender))
        self._held = []

    def __init__(self, int fd, unsigned int segments_max=UDP_SEGMENTS_SAFE):
        cdef int result = udp_sender_init(&self._sender, fd, segments_max)
        if result < 0:
            raise OSError(-result, "sender")

    def __dealloc__(self):
        udp_sender_free(&self._sender)

    def queue(self, bytes to not None, bytes data not None, uint32_t segment=0):
        cdef locator where = _locator(to)
        self._held.append(data)
        udp_send_run(
            &self._sender, &where, <unsigned char*>PyBytes_AsString(data), <uint32_t>len(data), segment or len(data)
        )

    def queue_one(self, bytes to not None, bytes data not None, bytes local not None):
        cdef locator where = _locator(to)
        if len(local) != 16:
            raise ValueError("a local address has 16 bytes")
        if not 1 <= len(data) <= UDP_MESSAGE_MAX:
            raise ValueError(f"a datagram has 1 to {UDP_MESSAGE_MAX} bytes")
        if udp_open(&self._sender, &where, <uint32_t>len(data)) < 0:
            self._sender.counters[UDP_DROP_UNREACHABLE] += 1
            return
        self._held.append(data)
        udp_leave_from(&self._sender, <const uint8_t*>PyBytes_AsString(local))
        udp_append(&self._sender, <unsigned char*>PyBytes_AsString(data), <uint32_t>len(data))

    @property
    def segments_max(self):
        return self._sender.segments_max

    def flush(self):
        with nogil:
            udp_flush(&self._sender)
        self._held.clear()

    def counters(self):
        return _counters(self._sender.counters)
