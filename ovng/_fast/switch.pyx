"""The Switch's loop: UDP → table → UDP, without Python and without looking at a payload.

One worker is one thread with one SO_REUSEPORT socket per listen address. Its work comes in batches:

    receive → split into runs → look up → judge → sort into flows → send

A *run* is what one message holds of neighbouring datagrams with the same first 20 bytes; whole trains are one run, and
are looked up, judged and sent as one. Where a credit is touched and does not cover the run, it is judged again
datagram by datagram, so that credits are exact. Look-ups go in three passes over the batch, each of which prefetches
what the next one reads. Judged runs become *parcels*, which are sorted by destination and there by source: everything
for one destination that has one size leaves in one segmented send, and the order within each (source, destination)
flow is kept.

What is for the Switch itself goes to Python through two rings, so that strangers cannot crowd out attached nodes:
`known` for datagrams from attached nodes, `strangers` for the rest. Full rings refuse; Python's pace never reaches
the loop. That a source was not where the table says (`unmatched`) is told once per second, source and ID, within a
token bucket.
"""

from libc.errno cimport EINTR, ENOMEM, errno
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_AsString

from ovng._fast.frame cimport (
    FRAME_CONTROL, FRAME_DATA, FRAME_HEADER, FRAME_PRIVATE, FRAME_REPORT, frame_check, frame_destination, frame_source,
    store_be32, store_be64,
)
from ovng._fast.ring cimport ring_acknowledge, ring_create, ring_destroy, ring_drain, ring_put, ring_signal
from ovng._fast.siphash cimport siphash, siphash_set_key
from ovng._fast.table cimport (
    TABLE_FALLBACK, TABLE_GRACE, TABLE_LIVE, TABLE_LOCATOR, TABLE_NO_CREDIT, TABLE_NO_LOCATOR, TABLE_STRAY,
    TABLE_UNKNOWN, Table, atomic_get, atomic_put, table_find, table_hash, table_lookup, table_node, table_resolve,
    table_source, table_touch,
)
from ovng._fast.udp cimport (
    UDP_DROP_UNREACHABLE, udp_append, udp_flush, udp_is_mapped, udp_receive, udp_receiver_free, udp_receiver_init,
    udp_send_run, udp_sender_free, udp_sender_init,
)

import os

from ovng._fast.frame import DROP_NAMES
from ovng._fast.udp import COUNTER_NAMES as UDP_NAMES

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout)

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC_COARSE
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)

COUNTER_NAMES = (
    "forwarded", "forwarded_bytes", "forwarded_in_grace", "forwarded_to_fallback", "endpoint",
    *("drop_" + DROP_NAMES[reason] for reason in sorted(DROP_NAMES, reverse=True)),
    "drop_src_is_switch", "drop_endpoint_type", "drop_endpoint_size", "drop_endpoint_full", "drop_misdirected",
    "drop_source_budget", "drop_unattached", "drop_control_source", "drop_stray_source", "drop_unknown_destination",
    "drop_no_locator", "drop_no_credit",
    "events_limited", "events_full",
)
ENDPOINT, UNMATCHED, UNATTACHED = EVENT_ENDPOINT, EVENT_UNMATCHED, EVENT_UNATTACHED
assert len(COUNTER_NAMES) == SWITCH_COUNTERS


# -- What Python is told

cdef bint _take(token_bucket* bucket, uint64_t now) noexcept nogil:
    cdef uint64_t earned = (now - bucket.refilled) * BUCKET_RATE // 1000
    if earned > 0:
        bucket.tokens = <uint32_t> min(<uint64_t> BUCKET_BURST, bucket.tokens + earned)
        bucket.refilled = now
    if bucket.tokens == 0:
        return False
    bucket.tokens -= 1
    return True


cdef int _tell(
    switch_worker* worker, bint known, uint32_t event, const udp_message* message, const unsigned char* packet,
    uint32_t kept, uint32_t length,
) noexcept nogil:
    """The first `kept` bytes of a datagram into a ring. 0, or -1 when it was full."""
    cdef switch_origin origin
    origin.source = message.source
    memcpy(origin.local, message.local, sizeof(origin.local))
    store_be32(origin.length, length)
    return ring_put(
        worker.known if known else worker.strangers, event | <uint32_t> worker.socket << 8,
        &origin, sizeof(origin), packet, kept,
    )


cdef void _to_endpoint(
    switch_worker* worker, const udp_message* message, const unsigned char* packet, uint32_t length, int kind
) noexcept nogil:
    """One datagram for the Switch itself. Its answers go where it came from, so no source is refused here."""
    cdef uint64_t source = frame_source(packet)
    cdef int verdict
    cdef bint known
    if kind == FRAME_DATA:
        worker.counters[SWITCH_DROP_ENDPOINT_TYPE] += 1
        return
    if length > ENDPOINT_MAX:
        worker.counters[SWITCH_DROP_ENDPOINT_SIZE] += 1
        return
    verdict = table_source(
        worker.table, table_lookup(worker.table, source), source, <const uint8_t*> &message.source, 0
    )
    known = verdict == TABLE_LIVE or (verdict != TABLE_UNKNOWN and _take(&worker.elsewhere, worker.now))
    if _tell(worker, known, EVENT_ENDPOINT, message, packet, length, length) < 0:
        worker.counters[SWITCH_DROP_ENDPOINT_FULL] += 1
    else:
        worker.counters[SWITCH_ENDPOINT] += 1


cdef void _unmatched(switch_worker* worker, const switch_run* run, bint attached) noexcept nogil:
    """Its source is not where the table says: Python may send a hint. At most one per second, source and ID."""
    cdef uint8_t who[TABLE_LOCATOR + 8]
    cdef uint64_t hashed
    cdef uint64_t* stamp
    memcpy(who, &run.message.source, TABLE_LOCATOR)
    store_be64(who + TABLE_LOCATOR, run.src)
    hashed = siphash(&worker.key, who, sizeof(who))
    stamp = &worker.stamps[hashed & (STAMP_SLOTS - 1)]
    if (
        (stamp[0] >> 32 == hashed >> 32 and <uint32_t> (worker.now - stamp[0]) < STAMP_MS)
        or not _take(&worker.elsewhere if attached else &worker.unattached, worker.now)
    ):
        worker.counters[SWITCH_EVENTS_LIMITED] += 1
        return
    stamp[0] = (hashed >> 32) << 32 | <uint32_t> worker.now
    if _tell(
        worker, attached, EVENT_UNMATCHED if attached else EVENT_UNATTACHED, run.message, run.data, FRAME_HEADER,
        min(run.segment, run.length),
    ) < 0:
        worker.counters[SWITCH_EVENTS_FULL] += 1


# -- Sending: parcels, by destination and flow

cdef unsigned int _flow(switch_worker* worker, uint64_t dst, uint64_t src, uint64_t hashed) noexcept nogil:
    """The index of a flow (src 0: of a destination), a new one included. There is always room: FLOWS_MAX."""
    cdef uint32_t slot = <uint32_t> hashed & (FLOW_SLOTS - 1)
    cdef switch_flow* flow
    while worker.flow_slots[slot] >= 0:
        flow = &worker.flows[worker.flow_slots[slot]]
        if flow.dst == dst and flow.src == src:
            return <unsigned int> worker.flow_slots[slot]
        slot = (slot + 1) & (FLOW_SLOTS - 1)
    flow = &worker.flows[worker.flows_used]
    flow.dst, flow.src, flow.slot = dst, src, slot
    flow.first = flow.last = flow.next = -1
    worker.flow_slots[slot] = <int32_t> worker.flows_used
    worker.flows_used += 1
    return worker.flows_used - 1


cdef unsigned int _flow_of(switch_worker* worker, const switch_run* run) noexcept nogil:
    cdef switch_flow* flow
    cdef switch_flow* destination
    cdef unsigned int index, at
    if worker.flows_used > 0:
        flow = &worker.flows[worker.latest]
        if flow.dst == run.dst and flow.src == run.src:
            return worker.latest
    index = _flow(worker, run.dst, run.src, run.dst_hash ^ (run.src_hash << 32 | run.src_hash >> 32))
    worker.latest = index
    if worker.flows[index].first >= 0:
        return index
    at = _flow(worker, run.dst, 0, run.dst_hash)
    destination = &worker.flows[at]
    if destination.first < 0:
        destination.first = <int32_t> index
    else:
        worker.flows[destination.last].next = <int32_t> index
    destination.last = <int32_t> index
    return index


cdef void _post(
    switch_worker* worker, const switch_run* run, unsigned char* data, uint32_t length, uint32_t count,
    const uint8_t* to, bint fallback,
) noexcept nogil:
    """A run, or one datagram of it, was judged good."""
    cdef switch_flow* flow
    cdef switch_parcel* parcel
    cdef int32_t index
    if worker.parcels_used == PARCELS_MAX:
        _send_parcels(worker)
    flow = &worker.flows[_flow_of(worker, run)]
    index = <int32_t> worker.parcels_used
    worker.parcels_used += 1
    parcel = &worker.parcels[index]
    parcel.data, parcel.length, parcel.count = data, length, count
    parcel.segment = run.segment if count > 1 else length
    parcel.next = -1
    memcpy(&parcel.to, to, sizeof(locator))
    if flow.first < 0:
        flow.first = index
    else:
        worker.parcels[flow.last].next = index
    flow.last = index
    worker.counters[SWITCH_FORWARDED] += count
    worker.counters[SWITCH_FORWARDED_BYTES] += length
    if fallback:
        worker.counters[SWITCH_FALLBACK] += count


cdef void _send_destination(switch_worker* worker, const switch_flow* destination) noexcept nogil:
    """Its flows one after the other. A parcel joins the message before it where locator and segment size allow."""
    cdef const switch_parcel* joined = NULL  # gave the open message its locator and segment size
    cdef const switch_parcel* parcel
    cdef int32_t flow = destination.first
    cdef int32_t at
    cdef int exit = -1
    while flow >= 0:
        at = worker.flows[flow].first
        while at >= 0:
            parcel = &worker.parcels[at]
            at = parcel.next
            if (
                joined != NULL
                and (parcel.segment == joined.segment or parcel.count == 1 and parcel.length < joined.segment)
                and memcmp(&parcel.to, &joined.to, sizeof(locator)) == 0
                and udp_append(&worker.senders[exit], parcel.data, parcel.length)
            ):
                continue
            joined = NULL
            exit = worker.exit_v4 if udp_is_mapped(parcel.to.address) else worker.exit_v6
            if exit < 0:
                worker.senders[0].counters[UDP_DROP_UNREACHABLE] += parcel.count
            elif udp_send_run(&worker.senders[exit], &parcel.to, parcel.data, parcel.length, parcel.segment) == 0:
                joined = parcel
        flow = worker.flows[flow].next


cdef void _send_parcels(switch_worker* worker) noexcept nogil:
    cdef unsigned int i
    for i in range(worker.flows_used):
        if worker.flows[i].src == 0:
            _send_destination(worker, &worker.flows[i])
        worker.flow_slots[worker.flows[i].slot] = -1
    for i in range(<unsigned int> worker.sockets):
        udp_flush(&worker.senders[i])
    worker.flows_used = worker.parcels_used = 0


# -- Judging: PROTOCOL 6.1

cdef void _judge_destination(switch_worker* worker, const switch_run* run, table_node* node) noexcept nogil:
    """The source is good. Resolve as a whole, or one by one where a provisional locator's share does not cover it."""
    cdef uint8_t to[TABLE_LOCATOR]
    cdef uint32_t i, offset, length
    cdef int verdict = table_resolve(worker.table, node, run.dst, run.length, to)
    if verdict == TABLE_LIVE or (verdict == TABLE_FALLBACK and run.count == 1):
        _post(worker, run, run.data, run.length, run.count, to, verdict == TABLE_FALLBACK)
    elif verdict == TABLE_UNKNOWN:
        worker.counters[SWITCH_DROP_UNKNOWN_DESTINATION] += run.count
    elif verdict == TABLE_NO_LOCATOR:
        worker.counters[SWITCH_DROP_NO_LOCATOR] += run.count
    elif run.count == 1:
        worker.counters[SWITCH_DROP_NO_CREDIT] += 1
    else:
        for i in range(run.count):
            offset = i * run.segment
            length = min(run.segment, run.length - offset)
            verdict = table_resolve(worker.table, node, run.dst, length, to)
            if verdict >= 0:
                _post(worker, run, run.data + offset, length, 1, to, verdict == TABLE_FALLBACK)
            else:
                worker.counters[SWITCH_DROP_NO_CREDIT] += 1


cdef void _judge(
    switch_worker* worker, const switch_run* run, table_node* src_node, table_node* dst_node
) noexcept nogil:
    cdef const uint8_t* source = <const uint8_t*> &run.message.source
    cdef uint32_t i, offset
    cdef switch_run single
    # CONTROL has no grace, so it must not spend any.
    cdef int verdict = table_source(
        worker.table, src_node, run.src, source, run.length if run.kind == FRAME_DATA else 0
    )
    if verdict == TABLE_UNKNOWN:
        worker.counters[SWITCH_DROP_UNATTACHED] += run.count
        _unmatched(worker, run, False)
    elif verdict != TABLE_LIVE and run.kind == FRAME_CONTROL:
        worker.counters[SWITCH_DROP_CONTROL_SOURCE] += run.count
        _unmatched(worker, run, True)
    elif verdict == TABLE_STRAY and run.count > 1:
        single = run[0]
        single.count = 1
        for i in range(run.count):
            offset = i * run.segment
            single.data = run.data + offset
            single.length = single.segment = min(run.segment, run.length - offset)
            _judge(worker, &single, src_node, dst_node)
    elif verdict == TABLE_STRAY:
        worker.counters[SWITCH_DROP_STRAY] += 1
        _unmatched(worker, run, True)
    else:
        if verdict == TABLE_GRACE:
            worker.counters[SWITCH_GRACE] += run.count
            _unmatched(worker, run, True)
        elif run.kind == FRAME_CONTROL:
            table_source(worker.table, src_node, run.src, source, run.length)  # a provisional locator earns by it
        _judge_destination(worker, run, dst_node)


cdef bint _within_budget(switch_worker* worker, const switch_run* run) noexcept nogil:
    """While datagrams queue, no source may make the others wait for more than BUDGET sends per batch."""
    cdef uint32_t* spent = &worker.spent[run.src_hash & (BUDGET_SLOTS - 1)]
    worker.runs_judged += 1
    if spent[0] >= BUDGET and spent[0] + 1 < worker.runs_judged:  # it is not alone
        return False
    spent[0] += 1
    return True


cdef void _judge_runs(switch_worker* worker) noexcept nogil:
    cdef const switch_run* run
    cdef table_node* src_node = NULL
    cdef table_node* dst_node = NULL
    cdef uint64_t src = 0
    cdef uint64_t dst = 0
    cdef unsigned int i
    for i in range(worker.runs_used):
        table_touch(worker.table, worker.runs[i].src_hash)
        table_touch(worker.table, worker.runs[i].dst_hash)
    for i in range(worker.runs_used):
        run = &worker.runs[i]
        if worker.backlog and not _within_budget(worker, run):
            worker.counters[SWITCH_DROP_BUDGET] += run.count
            continue
        if run.src != src:
            src = run.src
            src_node = table_find(worker.table, src, run.src_hash)
        if run.dst != dst:
            dst = run.dst
            dst_node = table_find(worker.table, dst, run.dst_hash)
        _judge(worker, run, src_node, dst_node)
    worker.runs_used = 0


# -- Receiving

cdef void _split(switch_worker* worker, const udp_message* message) noexcept nogil:
    """A message into runs; what is malformed, or for the Switch itself, is dealt with here."""
    cdef uint32_t start = 0
    cdef uint32_t end, size, count
    cdef unsigned char* packet
    cdef switch_run* run
    cdef uint64_t dst
    cdef int kind
    while start < message.length or message.length == 0:
        packet = message.data + start
        size = min(message.segment, message.length - start)
        kind = frame_check(packet, size)
        if kind < 0:
            worker.counters[SWITCH_DROP_HEADER - kind - 1] += 1
            if message.length == 0:
                return
            start += size
            continue
        dst = frame_destination(packet)
        if frame_source(packet) == worker.switch_id:
            worker.counters[SWITCH_DROP_IS_SWITCH] += 1
            start += size
            continue
        if dst == 0 or dst == worker.switch_id:
            _to_endpoint(worker, message, packet, size, kind)
            start += size
            continue
        count = 1
        end = start + size
        while end < message.length:
            size = min(message.segment, message.length - end)
            if size < FRAME_HEADER or memcmp(packet, message.data + end, 20) != 0:
                break
            count += 1
            end += size
        if kind == FRAME_REPORT or kind == FRAME_PRIVATE:
            worker.counters[SWITCH_DROP_MISDIRECTED] += count
            start = end
            continue
        if worker.runs_used == RUNS_MAX:
            _judge_runs(worker)
        run = &worker.runs[worker.runs_used]
        worker.runs_used += 1
        run.data = packet
        run.length = end - start
        run.segment = message.segment if count > 1 else run.length
        run.count = count
        run.kind = kind
        run.message = message
        run.src, run.dst = frame_source(packet), dst
        run.src_hash, run.dst_hash = table_hash(worker.table, run.src), table_hash(worker.table, dst)
        start = end


cdef int _work_socket(switch_worker* worker, int index) noexcept nogil:
    """What waits at one socket, up to its share. 0, or -errno when the socket is gone."""
    cdef timespec now
    cdef int turn, got, i
    worker.socket = index
    worker.receiver.fd = worker.fds[index]
    for turn in range(BATCHES_PER_TURN):
        got = udp_receive(&worker.receiver)
        if got < 0:
            return got
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
        worker.now = <uint64_t> now.tv_sec * 1000 + <uint64_t> now.tv_nsec // 1000000
        worker.backlog = worker.receiver.used == worker.receiver.size
        if worker.backlog:
            memset(worker.spent, 0, BUDGET_SLOTS * sizeof(uint32_t))
            worker.runs_judged = 0
        for i in range(got):
            _split(worker, &worker.receiver.messages[i])
        _judge_runs(worker)
        _send_parcels(worker)
        if not worker.backlog:
            break
    return 0


cdef int _work(switch_worker* worker) noexcept nogil:
    """Until stopped. 0, or -errno when a socket is gone."""
    cdef pollfd wanted[SOCKETS_MAX + 1]
    cdef int i, result
    for i in range(worker.sockets):
        wanted[i].fd = worker.fds[i]
        wanted[i].events = POLLIN
    wanted[worker.sockets].fd = worker.wake_fd
    wanted[worker.sockets].events = POLLIN
    while not atomic_get(&worker.stopping):
        if poll(wanted, <unsigned long> worker.sockets + 1, -1) < 0:
            if errno == EINTR:
                continue
            return -errno
        for i in range(worker.sockets):
            if wanted[i].revents:
                result = _work_socket(worker, i)
                if result < 0:
                    return result
    return 0


# -- Life, and the Python face

cdef int _allocate(switch_worker* worker, unsigned int batch, size_t ring_bytes, int event_fd) noexcept nogil:
    worker.runs = <switch_run*> calloc(RUNS_MAX, sizeof(switch_run))
    worker.parcels = <switch_parcel*> calloc(PARCELS_MAX, sizeof(switch_parcel))
    worker.flows = <switch_flow*> calloc(FLOWS_MAX, sizeof(switch_flow))
    worker.flow_slots = <int32_t*> calloc(FLOW_SLOTS, sizeof(int32_t))
    worker.spent = <uint32_t*> calloc(BUDGET_SLOTS, sizeof(uint32_t))
    worker.stamps = <uint64_t*> calloc(STAMP_SLOTS, sizeof(uint64_t))
    worker.known = ring_create(ring_bytes, event_fd)
    worker.strangers = ring_create(ring_bytes, event_fd)
    if (worker.runs == NULL or worker.parcels == NULL or worker.flows == NULL or worker.flow_slots == NULL
            or worker.spent == NULL or worker.stamps == NULL or worker.known == NULL or worker.strangers == NULL):
        return -ENOMEM
    memset(worker.flow_slots, 0xFF, FLOW_SLOTS * sizeof(int32_t))
    return udp_receiver_init(&worker.receiver, -1, batch)


cdef void _release(switch_worker* worker) noexcept nogil:
    cdef int i
    free(worker.runs)
    free(worker.parcels)
    free(worker.flows)
    free(worker.flow_slots)
    free(worker.spent)
    free(worker.stamps)
    ring_destroy(worker.known)
    ring_destroy(worker.strangers)
    udp_receiver_free(&worker.receiver)
    for i in range(worker.sockets):
        udp_sender_free(&worker.senders[i])
    free(worker)


cdef class Worker:
    cdef switch_worker* _worker
    cdef Table _table  # the loop reads it as long as this object lives

    def __cinit__(
        self, Table table not None, uint64_t switch_id, fds, int exit_v4, int exit_v6, int event_fd, bytes key not None,
        *, unsigned int batch, unsigned int segments_max, size_t ring_bytes,
    ):
        cdef int result, i
        if not 1 <= len(fds) <= SOCKETS_MAX:
            raise ValueError(f"a worker has 1 to {SOCKETS_MAX} sockets")
        if not (-1 <= exit_v4 < len(fds) and -1 <= exit_v6 < len(fds)):
            raise ValueError("no such socket to send from")
        if len(key) != 16:
            raise ValueError("the key has 16 bytes")
        self._table = table
        self._worker = <switch_worker*> calloc(1, sizeof(switch_worker))
        if self._worker == NULL:
            raise MemoryError
        self._worker.wake_fd = -1
        self._worker.table = &table.table
        self._worker.switch_id = switch_id
        self._worker.exit_v4, self._worker.exit_v6 = exit_v4, exit_v6
        siphash_set_key(&self._worker.key, <const uint8_t*> PyBytes_AsString(key))
        if _allocate(self._worker, batch, ring_bytes, event_fd) < 0:
            raise MemoryError
        for i in range(len(fds)):
            self._worker.fds[i] = fds[i]
            self._worker.sockets += 1
            result = udp_sender_init(&self._worker.senders[i], fds[i], segments_max)
            if result < 0:
                raise OSError(-result, os.strerror(-result))
        self._worker.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        if self._worker != NULL:
            if self._worker.wake_fd >= 0:
                os.close(self._worker.wake_fd)
            _release(self._worker)

    def run(self):
        cdef int result
        with nogil:
            result = _work(self._worker)
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def stop(self):
        atomic_put(&self._worker.stopping, 1)
        ring_signal(self._worker.wake_fd)

    def drain_known(self, Py_ssize_t limit):
        return ring_drain(self._worker.known, limit)

    def drain_strangers(self, Py_ssize_t limit):
        return ring_drain(self._worker.strangers, limit)

    def counters(self):
        cdef int i, k
        counters = {name: self._worker.counters[i] for i, name in enumerate(COUNTER_NAMES)}
        for k, name in enumerate(UDP_NAMES):
            counters[name] = self._worker.receiver.counters[k]
            for i in range(self._worker.sockets):
                counters[name] += self._worker.senders[i].counters[k]
        return counters


def acknowledge(int event_fd):
    ring_acknowledge(event_fd)
