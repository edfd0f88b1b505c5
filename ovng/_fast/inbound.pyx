"""See `inbound.pxd`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ovng._fast.address cimport address, inner_source
from ovng._fast.aead cimport aead_open_packet
from ovng._fast.coalesce cimport coalesce_flush, coalesce_put
from ovng._fast.frame cimport (
    FRAME_CLUSTER,
    FRAME_DATA,
    FRAME_HEADER,
    FRAME_SHORT,
    FRAME_SPARSE,
    FRAME_TAG,
    LOCATOR_SIZE,
    frame_check,
    frame_header,
    frame_parse,
)
from ovng._fast.inner cimport inner_check
from ovng._fast.intake cimport (
    INTAKE_BULK_BYTES,
    INTAKE_CLASSES,
    intake_backlog,
    intake_count,
    intake_receive,
    intake_release,
    intake_take,
)
from ovng._fast.mss cimport mss_clamp
from ovng._fast.node cimport (
    BULK,
    CONTROL_MAX,
    CROWD,
    EVENT_CONTROL,
    EVENT_FIRST_RECEIVE,
    EVENT_UNKNOWN_DATA,
    HELD_INBOUND,
    HELD_OUTBOUND,
    INBOUND,
    IN_AEAD,
    IN_CLUSTER,
    IN_CONTROL_TOO_BIG,
    IN_FRAME,
    IN_INNER,
    IN_MISADDRESSED,
    IN_NO_SESSION,
    IN_REPLAY,
    IN_SOJOURN,
    IN_SOURCE_ADDRESS,
    IN_UNKNOWN_KEY,
    bucket_take,
    inbound_state,
    monotonic_ms,
    node_state,
    tell_traffic,
)
from ovng._fast.outbound cimport outbound_step, outbound_waits
from ovng._fast.paths cimport MAX_PATHS, path
from ovng._fast.peers cimport peer, peer_find, peer_owns, peer_receive_key, receive_key
from ovng._fast.reclaim cimport epoch_enter, epoch_leave, flag_load, flag_store, pointer_load
from ovng._fast.replay cimport replay_check, replay_commit, replay_window
from ovng._fast.ring cimport ring_acknowledge, ring_put, ring_signal
from ovng._fast.sojourn cimport sojourn_too_long
from ovng._fast.stash cimport SILENT_MS
from ovng._fast.udp cimport UDP_RECEIVED, locator, udp_message, udp_now

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout)


cdef enum:
    WAKE = MAX_PATHS  # in what is polled, behind the paths
    TUN
    INJECTED
    POLLED


cdef void inbound_run(node_state* node) noexcept nogil:
    cdef inbound_state* state = &node.inbound
    cdef pollfd wanted[POLLED]
    cdef bint holds
    memset(wanted, 0, sizeof(wanted))
    wanted[WAKE].fd = node.inbound_wake
    wanted[INJECTED].fd = node.outbound_wake
    _look_again(node, wanted)
    while not flag_load(&node.stopping):
        if poll(wanted, POLLED, 0 if intake_count(&state.intake) else -1) < 0:
            continue  # EINTR
        holds = wanted[TUN].fd >= 0
        state.received = 0
        _read_paths(node, state, wanted)
        _take(node, state)
        if wanted[WAKE].revents:
            ring_acknowledge(node.inbound_wake)
            holds = _look_again(node, wanted)
        if not holds:
            continue
        if wanted[INJECTED].revents:
            ring_acknowledge(node.outbound_wake)
        # What we wrote may have been answered already.
        if state.received or wanted[TUN].revents or wanted[INJECTED].revents or wanted[WAKE].revents:
            if (
                outbound_step(node)
                or state.received >= CROWD
                or node.outbound.tun_error
                or outbound_waits(node)
            ):
                _hand_over(node, wanted)


cdef bint _look_again(node_state* node, pollfd* wanted) noexcept nogil:
    """Paths as they are now, and TUN if we hold it: whether we do.

    A path that is taken away while we sleep on it wakes us, and its descriptor stays open until we have passed here.
    """
    cdef uint64_t* epoch = &node.readers.readers[INBOUND].epoch
    cdef bint holds = flag_load(&node.tun_holder) == HELD_INBOUND
    cdef path* at
    cdef int index
    epoch_enter(epoch)
    for index in range(MAX_PATHS):
        at = <path*> pointer_load(&node.paths[index])
        wanted[index].fd = -1 if at == NULL else at.fd
        wanted[index].events = POLLIN
    epoch_leave(epoch)
    wanted[WAKE].events = wanted[TUN].events = wanted[INJECTED].events = POLLIN
    wanted[TUN].fd = node.tun_fd if holds else -1
    wanted[INJECTED].fd = node.outbound_wake if holds else -1
    return holds


cdef void _hand_over(node_state* node, pollfd* wanted) noexcept nogil:
    wanted[TUN].fd = wanted[INJECTED].fd = -1
    flag_store(&node.tun_holder, HELD_OUTBOUND)
    ring_signal(node.outbound_called)


cdef void _read_paths(node_state* node, inbound_state* state, pollfd* wanted) noexcept nogil:
    """One batch of each path that has something."""
    cdef uint64_t* epoch = &node.readers.readers[INBOUND].epoch
    cdef uint64_t* received = &state.intake.receiver.counters[UDP_RECEIVED]
    cdef uint64_t datagrams
    cdef path* at
    cdef int index, got
    epoch_enter(epoch)
    for index in range(MAX_PATHS):
        if not wanted[index].revents:
            continue
        at = <path*> pointer_load(&node.paths[index])
        if at == NULL or at.fd != wanted[index].fd:
            continue  # replaced: the wake tells us
        datagrams = received[0]
        got = intake_receive(&state.intake, at.fd, at.serial * MAX_PATHS + <uint64_t> index)
        if got > 0:
            at.received.datagrams += received[0] - datagrams
            at.received.bytes += state.intake.receiver.bytes
        elif got < 0:
            wanted[index].fd = -1  # not a socket any more: no use in polling it
    epoch_leave(epoch)


cdef void _take(node_state* node, inbound_state* state) noexcept nogil:
    """One turn's share of what waits."""
    cdef uint64_t* epoch = &node.readers.readers[INBOUND].epoch
    cdef uint64_t heard = state.packets + state.keepalives
    cdef udp_message* message
    cdef int which
    if intake_count(&state.intake) == 0:
        return
    epoch_enter(epoch)
    state.now_ms, state.intake.now_ns = monotonic_ms(), udp_now()
    for which in range(INTAKE_CLASSES):
        message = intake_take(&state.intake, which, INTAKE_BULK_BYTES)
        while message != NULL:
            _message(node, state, message, intake_backlog(&state.intake, which))
            message = intake_take(&state.intake, which, INTAKE_BULK_BYTES)
        coalesce_flush(&state.out)
    intake_release(&state.intake)
    if state.packets + state.keepalives != heard:
        tell_traffic(node, state.ring)
    epoch_leave(epoch)


cdef void _message(
    node_state* node, inbound_state* state, const udp_message* message, uint64_t backlog
) noexcept nogil:
    cdef uint8_t index = <uint8_t> (message.origin % MAX_PATHS)
    cdef path* via = <path*> pointer_load(&node.paths[index])
    cdef uint32_t offset = 0
    cdef uint32_t length
    state.via = via if via != NULL and via.serial == message.origin // MAX_PATHS else &state.gone
    if (
        sojourn_too_long(&state.sojourn_drop[index], state.intake.now_ns, backlog, message)
        and frame_check(message.data, message.segment) == FRAME_DATA
    ):
        state.drops[IN_SOJOURN] += 1
        offset = message.segment
    while offset < message.length:
        length = min(message.segment, message.length - offset)
        state.received += 1
        _datagram(node, state, index, &message.source, message.data + offset, length)
        offset += length
    if message.length == 0:
        state.drops[IN_FRAME - FRAME_SHORT - 1] += 1


cdef void _datagram(
    node_state* node, inbound_state* state, uint8_t index, const locator* source, uint8_t* datagram, uint32_t length
) noexcept nogil:
    cdef frame_header header
    cdef int kind = frame_parse(datagram, length, &header)
    if kind < 0:
        state.drops[IN_FRAME - kind - 1] += 1
    elif header.dst != node.id:
        state.drops[IN_MISADDRESSED] += 1
    elif kind == FRAME_DATA:
        _data(node, state, &header, datagram, length)
    else:
        _control(state, index, source, datagram, length)


cdef void _control(
    inbound_state* state, uint8_t index, const locator* source, const uint8_t* datagram, uint32_t length
) noexcept nogil:
    cdef uint8_t origin[1 + LOCATOR_SIZE]
    if length > CONTROL_MAX:
        state.drops[IN_CONTROL_TOO_BIG] += 1
        return
    origin[0] = index
    memcpy(origin + 1, source, LOCATOR_SIZE)
    ring_put(state.ring, EVENT_CONTROL, origin, sizeof(origin), datagram, length)


cdef void _data(
    node_state* node, inbound_state* state, const frame_header* header, uint8_t* datagram, uint32_t length
) noexcept nogil:
    cdef peer* sender
    cdef receive_key* key = NULL
    cdef replay_window* window
    cdef bint session = False
    cdef uint8_t* packet = datagram + FRAME_HEADER
    cdef int verdict
    if length < FRAME_HEADER + FRAME_TAG:
        state.drops[IN_FRAME - FRAME_SHORT - 1] += 1
        return
    if header.flags & FRAME_CLUSTER:  # a salt would follow, and keys that this version does not have
        state.drops[IN_CLUSTER] += 1
        return
    sender = peer_find(&node.peers, header.src)
    if sender != NULL:
        key = peer_receive_key(sender, header.key_id, &session)
    if key == NULL:
        if session:
            state.drops[IN_UNKNOWN_KEY] += 1
            return
        state.drops[IN_NO_SESSION] += 1
        if bucket_take(&state.unknown, state.now_ms):
            ring_put(state.ring, EVENT_UNKNOWN_DATA, &header.src, sizeof(header.src), NULL, 0)
        return
    window = &key.windows[(header.flags & FRAME_SPARSE) != 0]
    verdict = replay_check(window, header.number)
    if verdict < 0:
        state.drops[IN_REPLAY - verdict - 1] += 1
        return
    verdict = aead_open_packet(&key.aead, header.number, datagram, FRAME_HEADER, packet, length - FRAME_HEADER)
    if verdict < 0:
        state.drops[IN_AEAD - verdict - 1] += 1
        return
    replay_commit(window, header.number)  # one thread: nothing came between look-up and commit
    _authentic(node, state, sender, key, header.src, packet, <uint32_t> verdict)


cdef void _authentic(
    node_state* node,
    inbound_state* state,
    peer* sender,
    receive_key* key,
    uint64_t id,
    uint8_t* packet,
    uint32_t length,
) noexcept nogil:
    cdef uint64_t before = sender.received.last_ms
    cdef uint32_t fits = <uint32_t> flag_load(&sender.fits)
    cdef address source
    cdef int verdict
    state.last_ms = sender.received.last_ms = state.via.received.last_ms = state.now_ms
    if state.now_ms - before > SILENT_MS and flag_load(&node.outbound.stash.used):
        ring_signal(node.outbound_wake)  # what it may have lost leaves again
    if not key.heard and ring_put(state.ring, EVENT_FIRST_RECEIVE, &id, sizeof(id), &key.key_id, 1) == 0:
        key.heard = True
    if length == 0:
        state.keepalives += 1
        return
    verdict = inner_check(packet, length)
    if verdict < 0:
        state.drops[IN_INNER - verdict - 1] += 1
        return
    inner_source(&source, packet)
    if not peer_owns(sender, &source):
        state.drops[IN_SOURCE_ADDRESS] += 1
        return
    state.packets += 1
    state.bytes += length
    sender.received.packets += 1
    sender.received.bytes += length
    if length >= BULK:
        state.bulk += length
    elif fits:
        mss_clamp(packet, length, fits)
    coalesce_put(&state.out, packet, length)
