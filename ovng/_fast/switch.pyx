"""The Switch's loop: UDP → table → UDP, without Python and without looking at a payload.

One worker is one thread with one SO_REUSEPORT socket per listen address. Its work comes in batches:

    receive → split into runs → look up → judge → sort into flows → send

A *run* is what one message holds of neighbouring datagrams with the same first 20 bytes; whole trains are one run, and
are looked up, judged and sent as one. Where a credit is touched and does not cover the run, it is judged again
datagram by datagram, so that credits are exact. Look-ups go in three passes over the batch, each of which prefetches
what the next one reads. What was judged good is sorted and sent by `parcels.pyx`.

What is for the Switch itself goes to Python through two rings, so that strangers cannot crowd out attached nodes:
`known` for datagrams from attached nodes, `strangers` for the rest. Full rings refuse; Python's pace never reaches
the loop. That a source was not where the table says (`unmatched`) is told once per second, source and ID, within a
token bucket.
"""

from libc.errno cimport EINTR, ENOMEM, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_AsString

from ovng._fast.frame cimport (
    FRAME_CONTROL, FRAME_DATA, FRAME_DUP, FRAME_HEADER, FRAME_PRIVATE, FRAME_REPORT, FRAME_SHORT, FRAME_SPARSE, frame_check,
    frame_destination, frame_flags, frame_source, store_be32, store_be64,
)
from ovng._fast.intake cimport (
    INTAKE_BULK, INTAKE_BULK_BYTES, INTAKE_CLASSES, intake_backlog, intake_count, intake_free, intake_init,
    intake_receive, intake_release, intake_take,
)
from ovng._fast.parcels cimport parcels_add_socket, parcels_free, parcels_init, parcels_post, parcels_send
from ovng._fast.ring cimport (
    ring_acknowledge, ring_create, ring_destroy, ring_drain, ring_peek, ring_put, ring_signal, ring_take,
)
from ovng._fast.siphash cimport siphash, siphash_set_key
from ovng._fast.sojourn cimport sojourn_too_long
from ovng._fast.table cimport (
    TABLE_FALLBACK, TABLE_GRACE, TABLE_LIVE, TABLE_LOCATOR, TABLE_NO_LOCATOR, TABLE_STRAY, TABLE_UNKNOWN, Table,
    atomic_get, atomic_put, table_find, table_hash, table_lookup, table_node, table_resolve, table_source, table_touch,
    TABLE_SLOTS, table_copies, table_copy, table_wants_tail,
)
from ovng._fast.tail cimport tail_at, tail_collect, tail_entry, tail_free, tail_init, tail_keep
from ovng._fast.udp cimport udp_message, udp_now

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

cdef enum:
    REPLAYS_BYTES = 65536  # thousands of moves at a time
    REPLAY_ALL = 0  # kinds of what is in that ring
    REPLAY_REST = 1

COUNTER_NAMES = (
    "forwarded", "forwarded_bytes", "forwarded_in_grace", "forwarded_to_fallback", "copied", "endpoint",
    *("drop_" + DROP_NAMES[reason] for reason in sorted(DROP_NAMES, reverse=True)),
    "drop_src_is_switch", "drop_endpoint_type", "drop_endpoint_size", "drop_endpoint_full", "drop_misdirected",
    "drop_source_budget", "drop_sojourn", "drop_unattached", "drop_control_source", "drop_stray_source",
    "drop_unknown_destination", "drop_no_locator", "drop_no_credit",
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
        worker.known if known else worker.strangers, event | <uint32_t> message.origin << 8,
        &origin, sizeof(origin), packet, kept,
    )


cdef void _to_endpoint(
    switch_worker* worker, const udp_message* message, const unsigned char* packet, uint32_t length, int kind
) noexcept nogil:
    """One datagram for the Switch itself. Its answers go where it came from, so no source is refused here."""
    cdef uint64_t source = frame_source(packet)
    cdef int verdict
    cdef bint known, probe
    if kind == FRAME_DATA:
        worker.counters[SWITCH_DROP_ENDPOINT_TYPE] += 1
        return
    verdict = table_source(
        worker.table, table_lookup(worker.table, source), source, <const uint8_t*> &message.source, 0
    )
    # Only who is where the table says may fill the ring with what is large.
    probe = kind == FRAME_REPORT and packet[1] == REPORT_PROBE and verdict == TABLE_LIVE
    if length > (PROBE_MAX if probe else ENDPOINT_MAX):
        worker.counters[SWITCH_DROP_ENDPOINT_SIZE] += 1
        return
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
    store_be64(who + TABLE_LOCATOR, run.flow.src)
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


# -- Judging: PROTOCOL 6.1

cdef void _copy(
    switch_worker* worker, const switch_run* run, unsigned char* data, uint32_t length, uint32_t count,
    const table_node* node,
) noexcept nogil:
    """To the further paths that its receiver has marked (DUP)."""
    cdef uint8_t to[TABLE_LOCATOR]
    cdef int slot
    for slot in range(TABLE_SLOTS):
        if table_copy(worker.table, node, run.flow.dst, slot, to):
            parcels_post(&worker.book, &run.flow, data, length, run.segment if count > 1 else length, to)
            worker.counters[SWITCH_COPIED] += count


cdef void _forward(
    switch_worker* worker, const switch_run* run, unsigned char* data, uint32_t length, uint32_t count,
    const uint8_t* to, int verdict, const table_node* node,
) noexcept nogil:
    """A run, or one datagram of it, was judged good."""
    if table_wants_tail(node) and run.kind == FRAME_DATA:
        tail_keep(
            &worker.tail, run.flow.dst, run.flow.dst_hash, data, length, run.segment if count > 1 else length, count,
            frame_flags(data) & FRAME_SPARSE != 0, to, worker.now,
        )
    if table_copies(node) and run.kind == FRAME_DATA and frame_flags(data) & FRAME_DUP:
        _copy(worker, run, data, length, count, node)
    parcels_post(&worker.book, &run.flow, data, length, run.segment if count > 1 else length, to)
    worker.counters[SWITCH_FORWARDED] += count
    worker.counters[SWITCH_FORWARDED_BYTES] += length
    if verdict == TABLE_FALLBACK:
        worker.counters[SWITCH_FALLBACK] += count


cdef void _judge_destination(switch_worker* worker, const switch_run* run, table_node* node) noexcept nogil:
    """The source is good. Resolve as a whole, or one by one where a provisional locator's share does not cover it."""
    cdef uint8_t to[TABLE_LOCATOR]
    cdef uint32_t i, offset, length
    cdef int verdict = table_resolve(worker.table, node, run.flow.dst, run.length, to)
    if verdict == TABLE_LIVE or (verdict == TABLE_FALLBACK and run.count == 1):
        _forward(worker, run, run.data, run.length, run.count, to, verdict, node)
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
            verdict = table_resolve(worker.table, node, run.flow.dst, length, to)
            if verdict >= 0:
                _forward(worker, run, run.data + offset, length, 1, to, verdict, node)
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
        worker.table, src_node, run.flow.src, source, run.length if run.kind == FRAME_DATA else 0
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
            table_source(worker.table, src_node, run.flow.src, source, run.length)  # a provisional locator earns by it
        _judge_destination(worker, run, dst_node)


cdef bint _within_budget(switch_worker* worker, const switch_run* run) noexcept nogil:
    """While datagrams queue, no source may make the others wait for more than BUDGET sends per batch."""
    cdef uint32_t* spent = &worker.spent[run.flow.src_hash & (BUDGET_SLOTS - 1)]
    if worker.first_src == 0:
        worker.first_src = run.flow.src
    elif worker.first_src != run.flow.src:
        worker.company = 2
    if spent[0] >= BUDGET and worker.company > 0:
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
        table_touch(worker.table, worker.runs[i].flow.src_hash)
        table_touch(worker.table, worker.runs[i].flow.dst_hash)
    for i in range(worker.runs_used):
        run = &worker.runs[i]
        if worker.backlog and not _within_budget(worker, run):
            worker.counters[SWITCH_DROP_BUDGET] += run.count
            continue
        if run.flow.src != src:
            src = run.flow.src
            src_node = table_find(worker.table, src, run.flow.src_hash)
        if run.flow.dst != dst:
            dst = run.flow.dst
            dst_node = table_find(worker.table, dst, run.flow.dst_hash)
        _judge(worker, run, src_node, dst_node)
    worker.runs_used = 0


# -- Again

cdef void _replay(switch_worker* worker, uint64_t dst, bint rest) noexcept nogil:
    """Send a node's tail to where it is now; of it the `rest` that was not sent there yet.

    (Should it be moving again, its credit is the bound.)
    """
    cdef uint64_t hashed = table_hash(worker.table, dst)
    cdef table_node* node = table_find(worker.table, dst, hashed)
    cdef unsigned int left = tail_collect(&worker.tail, dst, hashed, worker.now)
    cdef uint8_t to[TABLE_LOCATOR]
    cdef tail_entry* entry
    cdef flow_key flow
    cdef uint32_t offset, length
    if table_resolve(worker.table, node, dst, 0, to) != TABLE_LIVE:
        return
    while left > 0:
        left -= 1
        entry = tail_at(&worker.tail, worker.tail.found[left])
        if rest and memcmp(entry.to, to, TABLE_LOCATOR) == 0:
            continue
        flow.dst, flow.dst_hash = dst, hashed
        flow.src = frame_source(<unsigned char*> entry + sizeof(tail_entry))
        flow.src_hash = table_hash(worker.table, flow.src)
        offset = 0
        while offset < entry.length:
            length = min(entry.segment, entry.length - offset)
            if table_resolve(worker.table, node, dst, length, to) != TABLE_LIVE:
                parcels_send(&worker.book)
                return
            parcels_post(
                &worker.book, &flow, <unsigned char*> entry + sizeof(tail_entry) + offset, length, length, to
            )
            worker.tail.replayed += 1
            offset += length
        memcpy(entry.to, to, TABLE_LOCATOR)
    parcels_send(&worker.book)


cdef void _take_replays(switch_worker* worker) noexcept nogil:
    cdef uint32_t kind
    cdef uint64_t node
    ring_acknowledge(worker.wake_fd)
    _read_clock(worker)
    while ring_peek(worker.replays, &kind) == sizeof(node):
        ring_take(worker.replays, &node, sizeof(node))
        _replay(worker, node, kind == REPLAY_REST)


# -- Receiving

cdef void _split(switch_worker* worker, const udp_message* message, uint64_t backlog) noexcept nogil:
    """A message into runs; what is malformed, or for the Switch itself, is dealt with here."""
    cdef uint32_t start = 0
    cdef uint32_t end, size, count
    cdef unsigned char* packet
    cdef switch_run* run
    cdef uint64_t dst
    cdef int kind
    if message.length == 0:
        worker.counters[SWITCH_DROP_HEADER - FRAME_SHORT - 1] += 1
        return
    if (
        sojourn_too_long(&worker.sojourn_drop[message.origin], worker.intake.now_ns, backlog, message)
        and frame_check(message.data, message.segment) == FRAME_DATA
    ):
        worker.counters[SWITCH_DROP_SOJOURN] += 1
        start = message.segment
    while start < message.length:
        packet = message.data + start
        size = min(message.segment, message.length - start)
        kind = frame_check(packet, size)
        if kind < 0:
            worker.counters[SWITCH_DROP_HEADER - kind - 1] += 1
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
        run.flow.src, run.flow.dst = frame_source(packet), dst
        run.flow.src_hash = table_hash(worker.table, run.flow.src)
        run.flow.dst_hash = table_hash(worker.table, dst)
        start = end


cdef inline void _read_clock(switch_worker* worker) noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    worker.now = <uint64_t> now.tv_sec * 1000 + <uint64_t> now.tv_nsec // 1000000


cdef inline uint64_t _bulk_share(const switch_worker* worker) noexcept nogil:
    """Bytes. A batch is short, so that what is sparse waits for few sends: two trains to one node each are two sends.

    Two trains whose datagrams are for many nodes are a send for each of these, and hardly more when they are eight.
    """
    cdef uint32_t taken = worker.intake.queues[INTAKE_BULK].taken
    return INTERLEAVED_BYTES if worker.runs_used > taken * INTERLEAVED_RUNS else INTAKE_BULK_BYTES


cdef void _work_batch(switch_worker* worker) noexcept nogil:
    """One batch of what waits."""
    cdef udp_message* message
    cdef int which
    _read_clock(worker)
    worker.intake.now_ns = udp_now()
    if worker.backlog:
        memset(worker.spent, 0, BUDGET_SLOTS * sizeof(uint32_t))
        worker.first_src = 0
        worker.company -= worker.company > 0
    for which in range(INTAKE_CLASSES):
        message = intake_take(&worker.intake, which, INTAKE_BULK_BYTES)
        while message != NULL:
            _split(worker, message, intake_backlog(&worker.intake, which))
            message = intake_take(&worker.intake, which, _bulk_share(worker))
    _judge_runs(worker)
    parcels_send(&worker.book)
    intake_release(&worker.intake)


cdef int _turn(switch_worker* worker, pollfd* wanted) noexcept nogil:
    """Some batches, while there is something. 0, or -errno when a socket is gone."""
    cdef int batch, i, got
    for batch in range(BATCHES_PER_TURN):
        for i in range(worker.sockets):
            if wanted[i].revents or batch > 0:
                got = intake_receive(&worker.intake, worker.fds[i], <uint64_t> i)
                if got < 0:
                    return got
        worker.backlog = intake_count(&worker.intake) >= worker.intake.seats
        _work_batch(worker)
        if not worker.backlog and intake_count(&worker.intake) == 0:
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
        if poll(wanted, <unsigned long> worker.sockets + 1, 0 if intake_count(&worker.intake) else -1) < 0:
            if errno == EINTR:
                continue
            return -errno
        result = _turn(worker, wanted)
        if result < 0:
            return result
        if wanted[worker.sockets].revents:
            _take_replays(worker)
    return 0


# -- Life, and the Python face

cdef int _allocate(
    switch_worker* worker, unsigned int batch, size_t ring_bytes, size_t tail_bytes, int event_fd
) noexcept nogil:
    worker.runs = <switch_run*> calloc(RUNS_MAX, sizeof(switch_run))
    worker.spent = <uint32_t*> calloc(BUDGET_SLOTS, sizeof(uint32_t))
    worker.stamps = <uint64_t*> calloc(STAMP_SLOTS, sizeof(uint64_t))
    worker.known = ring_create(ring_bytes, event_fd)
    worker.strangers = ring_create(ring_bytes, event_fd)
    worker.replays = ring_create(REPLAYS_BYTES, worker.wake_fd)
    if (worker.runs == NULL or worker.spent == NULL or worker.stamps == NULL or worker.known == NULL
            or worker.strangers == NULL or worker.replays == NULL or tail_init(&worker.tail, tail_bytes) < 0):
        return -ENOMEM
    return intake_init(&worker.intake, batch)


cdef void _release(switch_worker* worker) noexcept nogil:
    free(worker.runs)
    free(worker.spent)
    free(worker.stamps)
    ring_destroy(worker.known)
    ring_destroy(worker.strangers)
    ring_destroy(worker.replays)
    tail_free(&worker.tail)
    intake_free(&worker.intake)
    parcels_free(&worker.book)
    free(worker)


cdef class Worker:
    cdef switch_worker* _worker
    cdef Table _table  # the loop reads it as long as this object lives

    def __cinit__(
        self, Table table not None, uint64_t switch_id, fds, int exit_v4, int exit_v6, int event_fd, bytes key not None,
        *, unsigned int batch, unsigned int segments_max, size_t ring_bytes, size_t tail_bytes,
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
        siphash_set_key(&self._worker.key, <const uint8_t*> PyBytes_AsString(key))
        self._worker.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if (_allocate(self._worker, batch, ring_bytes, tail_bytes, event_fd) < 0
                or parcels_init(&self._worker.book, exit_v4, exit_v6) < 0):
            raise MemoryError
        for i in range(len(fds)):
            self._worker.fds[i] = fds[i]
            self._worker.sockets += 1
            result = parcels_add_socket(&self._worker.book, fds[i], segments_max)
            if result < 0:
                raise OSError(-result, os.strerror(-result))

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

    def replay(self, uint64_t node, bint rest):
        cdef uint32_t kind = REPLAY_REST if rest else REPLAY_ALL
        return ring_put(self._worker.replays, kind, &node, sizeof(node), NULL, 0) == 0

    def drain_known(self, Py_ssize_t limit):
        return ring_drain(self._worker.known, limit)

    def drain_strangers(self, Py_ssize_t limit):
        return ring_drain(self._worker.strangers, limit)

    def counters(self):
        cdef int i, k
        counters = {name: self._worker.counters[i] for i, name in enumerate(COUNTER_NAMES)}
        counters["tail_kept"] = self._worker.tail.kept
        counters["tail_skipped"] = self._worker.tail.skipped
        counters["tail_replayed"] = self._worker.tail.replayed
        for k, name in enumerate(UDP_NAMES):
            counters[name] = self._worker.intake.receiver.counters[k]
            for i in range(self._worker.sockets):
                counters[name] += self._worker.book.senders[i].counters[k]
        return counters


def acknowledge(int event_fd):
    ring_acknowledge(event_fd)
