"""Batches of UDP datagrams: many per system call, and many per message where the kernel segments (GSO, GRO).

The theory is in `udp.pyx`; `udp.h` holds what needs C's macros.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ovng._fast.ring cimport ring

cdef extern from "udp.h" nogil:
    cdef struct locator:
        uint8_t address[16]
        uint8_t port[2]

    cdef struct iovec:
        void* iov_base
        size_t iov_len

    cdef struct sockaddr_in6:
        pass

    cdef struct msghdr:
        void* msg_name
        unsigned int msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags

    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

    enum:
        UDP_CONTROL_SIZE
        SOL_UDP
        UDP_SEGMENT

    bint udp_is_mapped(const uint8_t* address)
    void udp_locator_from_name(locator*, const sockaddr_in6*)
    unsigned int udp_name_from_locator(sockaddr_in6*, const locator*, int family)
    void udp_read_control(msghdr*, uint32_t* segment, uint64_t* arrived, uint8_t* local)
    uint64_t udp_now()
    int udp_stamp(int fd)
    void udp_write_control(msghdr*, unsigned char* space, uint16_t segment, const uint8_t* local, int family)


cdef enum:
    UDP_MESSAGE_MAX = 65507  # bytes in one message, and in all segments of one GSO send
    UDP_BUFFER = 65536  # a GRO message is at most 65535
    UDP_BATCH_GRO = 16  # messages per receive: 1 MiB
    UDP_BATCH_SINGLE = 64  # without GRO; the pages that single datagrams do not reach are never touched
    UDP_SEGMENTS_SAFE = 64  # UDP_MAX_SEGMENTS before Linux 6.9
    UDP_SEGMENTS_MAX = 128


cdef enum:
    UDP_RECEIVED  # datagrams, after splitting
    UDP_RECEIVED_BYTES
    UDP_RECEIVED_MESSAGES
    UDP_RECEIVE_ERRORS  # ICMP errors and the like, passed over
    UDP_DROP_TRUNCATED
    UDP_SENT  # datagrams
    UDP_SENT_BYTES
    UDP_SENT_MESSAGES
    UDP_GSO_GIVEN_UP  # messages that the kernel would not segment, sent singly
    UDP_DROP_NO_BUFFER  # EAGAIN and ENOBUFS after a short wait
    UDP_DROP_UNREACHABLE  # no route, or the socket's family cannot reach it
    UDP_DROP_REFUSED  # EPERM: a firewall
    UDP_DROP_TOO_BIG
    UDP_DROP_OTHER
    UDP_COUNTERS


cdef struct udp_message:
    unsigned char* data
    uint32_t length
    uint32_t segment  # every datagram in it has this length, the last may be shorter; never 0
    uint64_t arrived_ns  # in the socket's buffer, by `udp_now`; 0 when the socket does not tell
    uint64_t origin  # the caller's
    locator source
    uint8_t local[16]  # the address it came to, zeros when the socket does not tell


cdef struct udp_receiver:
    int fd
    unsigned int size  # messages per batch
    unsigned int used  # headers that the last batch has changed
    uint64_t bytes  # in the last batch
    unsigned char* buffers
    mmsghdr* headers
    iovec* pieces
    sockaddr_in6* names
    unsigned char* controls
    udp_message* messages
    uint64_t counters[UDP_COUNTERS]


cdef struct udp_outgoing:
    uint32_t bytes
    uint16_t segment
    uint16_t segments
    bint closed  # its last segment is a shorter one: nothing may follow
    bint refused  # and kept as `unsent`
    bint has_local
    uint8_t local[16]  # the address it leaves from; meaningless unless has_local


cdef struct udp_sender:
    int fd
    int family
    unsigned int segments_max  # 1 = no GSO; becomes 1 when the way out never segments
    unsigned int refused  # EIO since the last message that left
    unsigned int messages_max
    unsigned int pieces_max
    unsigned int messages
    unsigned int pieces_used
    mmsghdr* headers
    iovec* pieces
    sockaddr_in6* names
    unsigned char* controls
    udp_outgoing* outgoing
    ring* unsent  # takes what was unreachable: (segment, datagrams); NULL: nothing does
    uint64_t counters[UDP_COUNTERS]


# 0, or -errno. Free also what failed half-way.
cdef int udp_receiver_init(udp_receiver* receiver, int fd, unsigned int size) noexcept nogil
cdef void udp_receiver_free(udp_receiver* receiver) noexcept nogil
# Number of messages in receiver.messages, valid until the next call; 0 = nothing there; -errno when the socket is gone.
cdef int udp_receive(udp_receiver* receiver) noexcept nogil

cdef int udp_sender_init(udp_sender* sender, int fd, unsigned int segments_max) noexcept nogil
cdef void udp_sender_free(udp_sender* sender) noexcept nogil
# Starts a message whose datagrams have `segment` bytes (1 … 65507). May flush. 0, or -1 when unreachable (not counted).
cdef int udp_open(udp_sender* sender, const locator* to, uint32_t segment) noexcept nogil
# The message that was opened last leaves from this address (16 bytes; zeros = the kernel chooses, as without).
cdef void udp_leave_from(udp_sender* sender, const uint8_t* local) noexcept nogil
# Adds whole datagrams to the message that was opened last; False when they do not fit there: open another.
cdef bint udp_append(udp_sender* sender, unsigned char* data, uint32_t length) noexcept nogil
# The two above for a run of datagrams that lie back to back: as few messages as can be. 0, or -1 when dropped (counted).
cdef int udp_send_run(
    udp_sender* sender, const locator* to, unsigned char* data, uint32_t length, uint32_t segment
) noexcept nogil
# Sends what is queued. The data must stay until then. Never fails: what cannot be sent is counted.
cdef void udp_flush(udp_sender* sender) noexcept nogil
# Segments per GSO send that this kernel takes: 1, 64 or 128.
cdef unsigned int udp_gso_limit() noexcept nogil
