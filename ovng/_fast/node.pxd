"""What the two loops of a node and the control thread share.

    TUN ──► outbound loop ──► socket of the active path        (outbound.pyx)
    TUN ◄── inbound loop  ◄── sockets of all paths             (inbound.pyx)
               │  rings + one eventfd
               ▼
            Python (control thread, holds the GIL)             (node.pyx)

Each loop has a thread, in one long call without the GIL. A loop writes only its own struct; peers, routes and paths it
reads through published pointers within its epoch (`reclaim`). It never waits for Python: what Python must know goes
into a bounded ring, and what the ring does not take is dropped and counted.

While there is little to do, one thread serves both directions: an answer that an application gives at once leaves
without waking another thread. An idle round trip is a few hundredths shorter for it, not more. The thread that *holds*
TUN takes the steps of the outbound loop. The inbound thread holds it at first and hands it over when there is work for
two; the outbound thread gives it back after `LINGER_MS` without work. Whoever does not hold TUN touches nothing of
`outbound_state`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ovng._fast.coalesce cimport coalescer
from ovng._fast.intake cimport intake
from ovng._fast.interactive cimport interactive_set
from ovng._fast.lookup cimport lookup
from ovng._fast.moderation cimport moderation
from ovng._fast.paths cimport MAX_PATHS, egress, path
from ovng._fast.reclaim cimport domain, flag_claim, flag_store
from ovng._fast.ring cimport ring, ring_put
from ovng._fast.routes cimport route_table
from ovng._fast.sparse cimport sparse_table
from ovng._fast.stash cimport stash
from ovng._fast.tunqueue cimport tunqueue

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)
    int CLOCK_MONOTONIC

cdef enum:
    OUTBOUND = 0  # readers of the domain
    INBOUND = 1

    CONTROL_MAX = 8952  # bytes of a datagram that Python is shown
    ARENA = 1 << 20  # sealed datagrams of one flush
    HELD_BYTES = 1 << 18  # packets that wait for a path
    HELD_REST_MS = 40  # after the first of them; by then the Switch has read the report that left between
    AGAIN_BYTES = 8192  # of what leaves once more, at a time; what is new goes first in each turn
    AGAIN_MS = 2  # from one such part to the next

    HELD_INBOUND = 0  # `tun_holder`
    HELD_OUTBOUND = 1
    LINGER_MS = 100
    CROWD = 64  # datagrams in one turn of the inbound loop that are work for two
    BULK = 1000  # bytes of a packet that may be too large for a path
    TOO_LARGE_SHOWN = 1232  # bytes of a packet that is too large: what an ICMP error may quote

# Kinds of ring records; their payloads.
cdef enum:
    EVENT_CONTROL = 1  # path 1, locator 18, datagram
    EVENT_NO_ROUTE = 2  # packet
    EVENT_NO_KEY = 3  # peer 8 (machine order), packet
    EVENT_UNKNOWN_DATA = 4  # source 8
    EVENT_FIRST_RECEIVE = 5  # peer 8, key ID 1
    EVENT_SOFT_LIMIT = 6  # the same
    EVENT_HARD_LIMIT = 7  # the same
    EVENT_TRAFFIC = 8  # nothing
    EVENT_TOO_LARGE = 9  # peer 8 (machine order), the first bytes of a packet

# Records from Python to the outbound loop.
cdef enum:
    INJECT_PACKET = 0
    INJECT_KEEPALIVE = 1  # peer 8 (machine order)
    INJECT_AGAIN = 2  # since when, milliseconds 8; bytes at most 8

# Drop counters. The first of each loop are the reasons of other modules: reason −1 is the base, −2 the next.
cdef enum:
    IN_FRAME = 0
    IN_REPLAY = 7
    IN_AEAD = 10
    IN_INNER = 14
    IN_MISADDRESSED = 16
    IN_NO_SESSION
    IN_UNKNOWN_KEY
    IN_CLUSTER
    IN_SOURCE_ADDRESS
    IN_CONTROL_TOO_BIG
    IN_SOJOURN  # has waited too long
    IN_DROPS

cdef enum:
    OUT_SEGMENT = 0
    OUT_LOCAL_NOISE = 6
    OUT_NO_PATH
    OUT_TOO_BIG
    OUT_SEAL_FAILED
    OUT_RATE  # events for Python beyond what it can use
    OUT_HELD_OVER  # held, but newer ones needed the room
    OUT_DROPS

# Events per second, with a burst of one second's worth.
cdef struct bucket:
    uint64_t rate
    uint64_t tokens
    uint64_t at_ms

cdef struct outbound_state:
    uint64_t now_ms
    uint64_t packets  # inner ones, sealed
    uint64_t bytes
    uint64_t reads
    uint64_t last_ms
    int tun_error  # errno of the last read; 0: all is well
    uint64_t drops[OUT_DROPS]
    bucket events
    bucket too_large
    uint64_t bulk  # bytes of packets of BULK and more
    uint64_t cut  # TUN frames whose TCP was cut smaller than its sender did
    uint64_t oversize  # packets that were too large, and left nevertheless
    uint64_t held_packets  # TUN frames that had to wait for a path
    uint64_t held_sent
    uint64_t stashed
    uint64_t resent
    uint64_t doubled  # sealed packets, not their copies
    uint64_t sparse  # TUN frames
    egress active
    egress second  # copies of packets with DUP
    sparse_table flows
    stash stash  # packets to silent peers
    tunqueue queue
    uint8_t* frame  # one that did not come from TUN just now
    uint8_t* arena
    size_t arena_used
    ring* ring
    ring* injected  # from Python
    ring* held  # virtio header, packet: wait for a path
    bint rest_waits  # of them, and what comes now behind it, until
    uint64_t rest_ms
    uint64_t again_left  # bytes that may leave once more, of what was sent since; 0: none
    uint64_t again_since_ms
    uint64_t again_ms  # when the next part of them may
    uint64_t again_stay  # on which path: `recent`
    bint again_unfinished
    uint64_t small  # TUN frames shorter than SUPER
    moderation moderation

cdef struct inbound_state:
    uint64_t now_ms
    uint64_t packets  # inner ones, authentic
    uint64_t bytes
    uint64_t keepalives
    uint64_t bulk  # as in `outbound_state`
    uint64_t last_ms
    uint64_t drops[IN_DROPS]
    uint64_t sojourn_drop[MAX_PATHS]  # when
    uint32_t received  # datagrams of this turn
    bucket unknown
    intake intake
    path* via  # of this message
    path gone  # stands for one that was replaced while its messages waited
    coalescer out
    ring* ring

cdef struct node_state:
    uint64_t id
    int tun_fd
    bint vnet
    unsigned int segments_max
    int stopping
    int event_fd  # to Python
    int outbound_wake  # to the holder of TUN: something was injected
    int outbound_called  # to the outbound thread, while it holds nothing
    int inbound_wake  # paths or the holder have changed
    int tun_holder
    domain readers
    lookup peers
    route_table routes
    void* paths[MAX_PATHS]  # path*, published
    int active  # path index, −1: none
    int second  # the same
    int standby  # the same
    void* interactive  # interactive_set*, published, NULL: nothing is
    int awake  # 0: Python sleeps, and is told of the first packet
    outbound_state outbound
    inbound_state inbound


cdef inline uint64_t monotonic_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t> now.tv_sec * 1000 + <uint64_t> now.tv_nsec // 1000000


cdef inline void tell_traffic(node_state* node, ring* to) noexcept nogil:
    """Once, while Python sleeps. Again with the next packet, should the ring be full."""
    if flag_claim(&node.awake) and ring_put(to, EVENT_TRAFFIC, NULL, 0, NULL, 0) < 0:
        flag_store(&node.awake, 0)


cdef inline bint bucket_take(bucket* b, uint64_t now_ms) noexcept nogil:
    cdef uint64_t refill = (now_ms - b.at_ms) * b.rate // 1000
    if refill:
        b.tokens = min(b.rate, b.tokens + refill)
        b.at_ms = now_ms
    if b.tokens == 0:
        return False
    b.tokens -= 1
    return True
