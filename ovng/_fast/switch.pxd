"""The Switch's loop: its state and its counters. The theory is in `switch.pyx`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ovng._fast.intake cimport intake
from ovng._fast.parcels cimport PARCELS_SOCKETS, flow_key, parcel_book
from ovng._fast.ring cimport ring
from ovng._fast.siphash cimport siphash_key
from ovng._fast.tail cimport tail_log
from ovng._fast.table cimport node_table
from ovng._fast.udp cimport locator, udp_message


cdef enum:
    SOCKETS_MAX = PARCELS_SOCKETS  # listen addresses
    RUNS_MAX = 1024  # judged together
    INTERLEAVED_RUNS = 8  # per message, on the average, from which on a batch is larger:
    INTERLEAVED_BYTES = 1 << 20
    BATCHES_PER_TURN = 8  # before the loop looks for anything else
    BUDGET_SLOTS = 1024
    BUDGET = 512  # runs of one source in one batch, when datagrams queue
    STAMP_SLOTS = 4096
    STAMP_MS = 1000  # one event per second, source and ID (PROTOCOL 6.1)
    BUCKET_RATE = 4096  # events per second that Python is asked to look at, per worker
    BUCKET_BURST = 1024
    ENDPOINT_MAX = 1232  # no CONTROL, REPORT or PRIVATE is built larger (PROTOCOL 1), but
    PROBE_MAX = 8952  # a PROBE
    REPORT_PROBE = 6  # its key ID byte

    EVENT_ENDPOINT = 1
    EVENT_UNMATCHED = 2  # its source is attached, and sends from elsewhere
    EVENT_UNATTACHED = 3

# Datagrams, but for the one that says bytes. `switch.pyx` has the names in this order.
cdef enum:
    SWITCH_FORWARDED
    SWITCH_FORWARDED_BYTES
    SWITCH_GRACE  # of them: from a new source, within its credit
    SWITCH_FALLBACK  # of them: to the old locator, the new one's share being spent
    SWITCH_COPIED  # to further paths, not among `forwarded`
    SWITCH_ENDPOINT
    SWITCH_DROP_HEADER  # seven, in the order of frame_reason
    SWITCH_DROP_HEADER_LAST = SWITCH_DROP_HEADER + 6
    SWITCH_DROP_IS_SWITCH  # source: the Switch's own ID
    SWITCH_DROP_ENDPOINT_TYPE  # DATA for the Switch
    SWITCH_DROP_ENDPOINT_SIZE
    SWITCH_DROP_ENDPOINT_FULL
    SWITCH_DROP_MISDIRECTED  # REPORT or PRIVATE for somebody else
    SWITCH_DROP_BUDGET
    SWITCH_DROP_SOJOURN  # has waited too long
    SWITCH_DROP_UNATTACHED
    SWITCH_DROP_CONTROL_SOURCE
    SWITCH_DROP_STRAY
    SWITCH_DROP_UNKNOWN_DESTINATION
    SWITCH_DROP_NO_LOCATOR
    SWITCH_DROP_NO_CREDIT
    SWITCH_EVENTS_LIMITED  # events, not datagrams: told already, or too many
    SWITCH_EVENTS_FULL
    SWITCH_COUNTERS


# What an event's record begins with.
cdef packed struct switch_origin:
    locator source
    uint8_t local[16]  # zeros: not known
    uint8_t length[4]  # of the datagram, big-endian


# Neighbouring datagrams of one message whose first 20 bytes are the same: judged as one.
cdef struct switch_run:
    unsigned char* data
    uint32_t length
    uint32_t segment  # every datagram has this length, the last may be shorter
    uint32_t count
    int kind
    flow_key flow
    const udp_message* message


cdef struct token_bucket:
    uint32_t tokens
    uint64_t refilled  # milliseconds


cdef struct switch_worker:
    const node_table* table
    uint64_t switch_id
    int sockets
    int fds[SOCKETS_MAX]
    int wake_fd
    uint32_t stopping
    siphash_key key

    intake intake  # of all sockets; a message's origin is its socket's index
    parcel_book book
    uint64_t now  # milliseconds, read once per batch
    bint backlog
    uint64_t sojourn_drop[SOCKETS_MAX]  # when

    switch_run* runs
    unsigned int runs_used
    uint32_t* spent  # runs per source in this batch
    uint64_t first_src  # in this batch
    uint32_t company  # not 0: this batch or the last had more than one source
    uint64_t* stamps  # high half: who, low half: when

    token_bucket elsewhere  # for attached IDs at other locators
    token_bucket unattached
    ring* known  # for Python: from attached nodes
    ring* strangers
    ring* replays  # from Python: whose tail is to be sent again
    tail_log tail
    uint64_t counters[SWITCH_COUNTERS]
