"""See `outbound.pxd`."""

from libc.errno cimport EAGAIN, EINTR, EIO, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ovng._fast.address cimport address, address_is_local_noise, inner_destination
from ovng._fast.aead cimport AEAD_NONCE, aead_nonce, aead_seal_from
from ovng._fast.frame cimport (
    FRAME_DATA, FRAME_DUP, FRAME_HEADER, FRAME_MAX, FRAME_SPARSE, FRAME_TAG, frame_header, frame_write,
)
from ovng._fast.inner cimport inner_check
from ovng._fast.interactive cimport interactive_covers, interactive_set
from ovng._fast.moderation cimport moderation_init, moderation_look
from ovng._fast.mss cimport mss_clamp
from ovng._fast.node cimport (
    AGAIN_BYTES,
    AGAIN_MS,
    ARENA,
    BULK,
    EVENT_HARD_LIMIT,
    EVENT_NO_KEY,
    EVENT_NO_ROUTE,
    EVENT_SOFT_LIMIT,
    EVENT_TOO_LARGE,
    HELD_INBOUND,
    HELD_OUTBOUND,
    HELD_REST_MS,
    INJECT_AGAIN,
    INJECT_KEEPALIVE,
    LINGER_MS,
    OUTBOUND,
    OUT_HELD_OVER,
    OUT_LOCAL_NOISE,
    OUT_NO_PATH,
    OUT_RATE,
    OUT_SEAL_FAILED,
    OUT_SEGMENT,
    OUT_TOO_BIG,
    TOO_LARGE_SHOWN,
    bucket_take,
    monotonic_ms,
    node_state,
    outbound_state,
    tell_traffic,
)
from ovng._fast.paths cimport (
    MAX_PATHS,
    egress_choose,
    egress_flush,
    egress_is_broken,
    egress_is_full,
    egress_queue,
    egress_send_again,
    egress_send_later,
    path,
)
from ovng._fast.peers cimport DOUBLE_ALL, DOUBLE_NONE, peer, peer_find, send_key
from ovng._fast.reclaim cimport counter_add, epoch_enter, epoch_leave, flag_claim, flag_load, flag_store, pointer_load
from ovng._fast.recent cimport RECENT_MS
from ovng._fast.ring cimport ring_acknowledge, ring_peek, ring_put, ring_put_newest, ring_signal, ring_take
from ovng._fast.routes cimport route, route_find
from ovng._fast.segment cimport (
    SEGMENT_TRUNCATED,
    VNET_HEADER,
    segment_begin,
    segment_fit,
    segment_largest,
    segment_next,
    segmenter,
    vnet_header,
)
from ovng._fast.sparse cimport sparse_put
from ovng._fast.stash cimport stash_put, stash_take, stash_wants
from ovng._fast.tunqueue cimport (
    TUN_BULK,
    TUN_FRAME,
    TUN_SPARSE,
    tun_frame,
    tunqueue_count,
    tunqueue_first,
    tunqueue_pop,
    tunqueue_put,
    tunqueue_seat,
)

from ovng import limits

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout)

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void* buffer, size_t size)

cdef enum:
    BATCH_PACKETS = 64
    BATCH_SUPERS = 2  # more would delay the first ones and fit the arena no better
    SUPER = 16384  # bytes from which a frame counts as one
    DONT_FRAGMENT = 0x40  # in IPv4's seventh byte
    IPV6_MTU_MIN = 1280  # no IPv6 sender makes packets smaller (RFC 8200, 5)
    TUN_RETRY_MS = 200  # after a read error, which would make `poll` spin

cdef size_t FIRST_BYTES = limits.UNKNOWN_PLACE_BYTES


# Where the packets of one TUN read go. One look-up for all its segments.
cdef struct target:
    uint64_t id  # 0: no route
    peer* to
    send_key* key
    uint16_t flags  # of its datagrams
    bint silent  # the peer: keep what is sent


cdef void outbound_run(node_state* node) noexcept nogil:
    cdef pollfd called
    cdef bint more = False
    memset(&called, 0, sizeof(called))
    called.fd, called.events = node.outbound_called, POLLIN
    moderation_init(&node.outbound.moderation)
    while not flag_load(&node.stopping):
        if flag_load(&node.tun_holder) != HELD_OUTBOUND:
            poll(&called, 1, -1)
            ring_acknowledge(node.outbound_called)
            more = True
        elif more or _wait(node):
            more = outbound_step(node)
            moderation_look(&node.outbound.moderation, node.outbound.now_ms, node.outbound.small)
        else:
            more = True  # when it is ours again, perhaps before we look
            flag_store(&node.tun_holder, HELD_INBOUND)
            ring_signal(node.inbound_wake)


cdef bint _wait(node_state* node) noexcept nogil:
    """Until there is something to do. False after a time without."""
    cdef pollfd wanted[2]
    cdef bint broken = node.outbound.tun_error != 0
    cdef bint waits = outbound_waits(node)
    cdef int timeout = TUN_RETRY_MS if broken else LINGER_MS
    if waits:
        timeout = _until_due(&node.outbound)
    memset(wanted, 0, sizeof(wanted))
    wanted[0].fd, wanted[0].events = -1 if broken else node.tun_fd, POLLIN
    wanted[1].fd, wanted[1].events = node.outbound_wake, POLLIN
    if poll(wanted, 2, timeout) == 0:
        return broken or waits
    if wanted[1].revents:
        ring_acknowledge(node.outbound_wake)
    return True


cdef int _until_due(const outbound_state* out) noexcept nogil:
    """Milliseconds until what waits for its time is due."""
    cdef uint64_t due = out.rest_ms if out.rest_waits else out.again_ms
    if out.rest_waits and out.again_left:
        due = min(out.rest_ms, out.again_ms)
    return <int> (due - min(due, monotonic_ms()))


cdef bint outbound_step(node_state* node) noexcept nogil:
    cdef outbound_state* out = &node.outbound
    cdef uint64_t* epoch = &node.readers.readers[OUTBOUND].epoch
    cdef uint64_t before = out.packets
    cdef bint more
    epoch_enter(epoch)
    out.now_ms = monotonic_ms()
    _choose_path(node, out)
    _send_held(node, out)
    _send_again(node, out)
    more = _take_injected(node, out)
    more = _read_tun(node, out) or more
    _send_sparse(node, out)
    _send_bulk(node, out)
    _flush(out)
    _send_recent(out)
    more = tunqueue_count(&out.queue) > 0 or more
    more = _is_relieved(node, out) or more
    epoch_leave(epoch)
    if out.packets != before:
        tell_traffic(node, out.ring)
    return more


cdef void _choose_path(node_state* node, outbound_state* out) noexcept nogil:
    cdef int active = flag_load(&node.active)
    cdef int second = flag_load(&node.second)
    cdef path* via = _path(node, active)
    cdef path* standby
    if egress_is_broken(&out.active, via, out.now_ms):  # Python knows in some milliseconds; until then
        standby = _path(node, flag_load(&node.standby))
        via = standby if standby != NULL else via
    egress_choose(&out.active, via)
    egress_choose(&out.second, _path(node, second) if second != active else NULL)


cdef bint _is_relieved(node_state* node, outbound_state* out) noexcept nogil:
    """Whether the active path has just refused something, and another stands by to take it."""
    cdef path* active = _path(node, flag_load(&node.active))
    cdef path* standby = _path(node, flag_load(&node.standby))
    return (
        active != NULL
        and out.active.via == active
        and out.active.refused_serial == active.serial
        and standby != NULL
        and standby != active
    )


cdef inline path* _path(node_state* node, int index) noexcept nogil:
    return <path*> pointer_load(&node.paths[index]) if 0 <= index < MAX_PATHS else NULL


cdef void _send_held(node_state* node, outbound_state* out) noexcept nogil:
    """All that waits for a path, if there is one now: what the last one could not send, and what came after.

    Of what came after the rest waits some more, and what comes now waits behind it.
    """
    cdef uint32_t kind
    cdef long length
    cdef size_t room = FIRST_BYTES
    if out.active.via == NULL:
        out.rest_waits = False
        return
    out.arena_used = egress_send_later(&out.active, out.arena, out.now_ms)
    if out.rest_waits and out.now_ms < out.rest_ms:
        return
    if out.rest_waits:
        room = out.held.capacity
        out.rest_waits = False
    length = ring_peek(out.held, &kind)
    while length >= 0:
        if room < min(<size_t> length, FIRST_BYTES):  # the very first may be larger
            out.rest_waits, out.rest_ms = True, out.now_ms + HELD_REST_MS
            return
        room -= min(room, <size_t> length)
        ring_take(out.held, out.frame, <size_t> length)
        out.held_sent += 1
        _forward_held(node, out, <size_t> length - VNET_HEADER)
        length = ring_peek(out.held, &kind)


cdef void _begin_recent(outbound_state* out, uint64_t since_ms, uint64_t most) noexcept nogil:
    """What was asked for before, and did not leave as a path went, is still wanted."""
    if out.again_unfinished and out.now_ms - out.again_since_ms < 2 * RECENT_MS:
        since_ms = min(since_ms, out.again_since_ms)
    out.again_since_ms, out.again_left = since_ms, most
    out.again_stay, out.again_unfinished = out.active.recent.stay, True


cdef void _send_recent(outbound_state* out) noexcept nogil:
    """A part of what the path before this one may have lost, the newest first, behind what is new."""
    cdef uint64_t sent
    if out.again_left == 0 or out.now_ms < out.again_ms:
        return
    if out.active.via == NULL or out.active.recent.stay != out.again_stay:
        out.again_left = 0  # the Switch does not know this place, and whoever knows of it asks again
        return
    sent = egress_send_again(
        &out.active, out.arena, out.again_since_ms, min(<uint64_t> AGAIN_BYTES, out.again_left), out.now_ms
    )
    out.again_left -= min(out.again_left, sent)
    out.again_ms = out.now_ms + AGAIN_MS
    if sent == 0:
        out.again_left, out.again_unfinished = 0, False


cdef void _send_again(node_state* node, outbound_state* out) noexcept nogil:
    """What may have been lost to peers that were silent and are heard again."""
    cdef long length = stash_take(&out.stash, &node.peers, out.frame)
    while length >= 0:
        out.resent += 1
        _forward_packet(node, out, <size_t> length)
        length = stash_take(&out.stash, &node.peers, out.frame)


cdef void _hold(outbound_state* out, const vnet_header* vnet, const uint8_t* packet, size_t length) noexcept nogil:
    """The newest packets wait for a path, so that all goes on at once when there is one."""
    cdef address destination
    cdef long gone
    if inner_check(packet, length) >= 0:
        inner_destination(&destination, packet)
        if address_is_local_noise(&destination):
            out.drops[OUT_LOCAL_NOISE] += 1
            return
    gone = ring_put_newest(out.held, 0, vnet, VNET_HEADER, packet, length)
    if gone >= 0:
        out.held_packets += 1
        out.drops[OUT_HELD_OVER] += <uint64_t> gone
        if gone:
            out.rest_ms = 0  # what waits for its time leaves now, before more is lost
    else:
        out.drops[OUT_TOO_BIG] += 1


cdef bint _take_injected(node_state* node, outbound_state* out) noexcept nogil:
    """Packets that Python held back, whole IP packets. Whether some are left."""
    cdef uint32_t kind
    cdef long length
    cdef int i
    for i in range(BATCH_PACKETS):
        length = ring_peek(out.injected, &kind)
        if length < 0:
            return False
        ring_take(out.injected, out.frame, <size_t> length)  # `inject` has bounded it
        if kind == INJECT_KEEPALIVE:
            _keepalive(node, out, (<uint64_t*> out.frame)[0])
        elif kind == INJECT_AGAIN:
            _flush(out)
            _choose_path(node, out)  # the one that is in use since Python asked
            _begin_recent(out, (<uint64_t*> out.frame)[0], (<uint64_t*> out.frame)[1])
        else:
            _forward_packet(node, out, <size_t> length)
    return True


cdef void _keepalive(node_state* node, outbound_state* out, uint64_t id) noexcept nogil:
    """A DATA packet without content. None without a key or a path: it would tell nothing by then."""
    cdef target where
    memset(&where, 0, sizeof(where))
    where.id, where.to = id, peer_find(&node.peers, id)
    if where.to != NULL and out.active.via != NULL:
        where.key = <send_key*> pointer_load(&where.to.sending)
        if where.key != NULL and _seal(node, out, &where, out.frame, 0):
            out.packets -= 1  # nobody's packet, and no traffic
            where.to.sent.packets -= 1


cdef bint _read_tun(node_state* node, outbound_state* out) noexcept nogil:
    """All that TUN has, as far as there is room. False once it had nothing more."""
    cdef size_t head = VNET_HEADER if node.vnet else 0
    cdef uint8_t* frame = tunqueue_seat(&out.queue)
    cdef ssize_t size
    cdef bint sparse
    cdef int i
    for i in range(BATCH_PACKETS):
        if frame == NULL:
            return True
        size = read(node.tun_fd, frame, TUN_FRAME)
        if size <= 0:
            if size < 0 and errno == EINTR:
                continue
            # EBADFD: the interface was taken away. TUN has no end of file.
            out.tun_error = EIO if size == 0 else errno if errno != EAGAIN else 0
            return False
        out.tun_error = 0
        out.reads += 1
        out.small += size < SUPER
        if <size_t> size < head:
            out.drops[OUT_SEGMENT - SEGMENT_TRUNCATED - 1] += 1
            continue
        sparse = sparse_put(&out.flows, frame + head, <size_t> size - head, out.now_ms)
        tunqueue_put(&out.queue, TUN_SPARSE if sparse else TUN_BULK, <uint32_t> size)
        frame = tunqueue_seat(&out.queue)
    return True


cdef void _send_sparse(node_state* node, outbound_state* out) noexcept nogil:
    """On their way before bulk is sealed. All: else what a flow sent when it was sparse would come behind its bulk.

    A flood of them leaves bulk its batch in every turn, and there are no more than the queue has frames.
    """
    cdef tun_frame* frame = tunqueue_first(&out.queue, TUN_SPARSE)
    if frame == NULL:
        return
    while frame != NULL:
        _send_frame(node, out, frame, True)
        tunqueue_pop(&out.queue, TUN_SPARSE)
        frame = tunqueue_first(&out.queue, TUN_SPARSE)
    if tunqueue_first(&out.queue, TUN_BULK) != NULL:
        _flush(out)


cdef void _send_bulk(node_state* node, outbound_state* out) noexcept nogil:
    cdef tun_frame* frame = tunqueue_first(&out.queue, TUN_BULK)
    cdef int packets = 0
    cdef int supers = 0
    while frame != NULL and packets < BATCH_PACKETS and supers < BATCH_SUPERS:
        packets += 1
        supers += frame.size >= SUPER
        _send_frame(node, out, frame, False)
        tunqueue_pop(&out.queue, TUN_BULK)
        frame = tunqueue_first(&out.queue, TUN_BULK)


cdef inline void _send_frame(node_state* node, outbound_state* out, const tun_frame* frame, bint sparse) noexcept nogil:
    cdef size_t head = VNET_HEADER if node.vnet else 0
    cdef vnet_header vnet
    memset(&vnet, 0, sizeof(vnet))
    if head:
        memcpy(&vnet, frame.data, VNET_HEADER)
    _forward(node, out, &vnet, frame.data + head, frame.size - head, sparse)


cdef inline void _forward_held(node_state* node, outbound_state* out, size_t length) noexcept nogil:
    """The frame in `out.frame`. Sparse or not as of now: all of its flow leaves now."""
    cdef uint8_t* packet = out.frame + VNET_HEADER
    _forward(
        node, out, <vnet_header*> out.frame, packet, length, sparse_put(&out.flows, packet, length, out.now_ms)
    )


cdef inline void _forward_packet(node_state* node, outbound_state* out, size_t length) noexcept nogil:
    """The whole IP packet in `out.frame`."""
    cdef vnet_header nothing
    memset(&nothing, 0, sizeof(nothing))
    _forward(node, out, &nothing, out.frame, length, sparse_put(&out.flows, out.frame, length, out.now_ms))


cdef void _forward(
    node_state* node, outbound_state* out, const vnet_header* vnet, uint8_t* packet, size_t length, bint sparse
) noexcept nogil:
    cdef segmenter segments
    cdef target where
    cdef address destination
    cdef uint8_t* at
    cdef uint32_t size
    cdef int verdict
    if out.active.via == NULL or out.rest_waits:
        _hold(out, vnet, packet, length)
        return
    verdict = segment_begin(&segments, vnet, packet, length)
    if verdict < 0:
        out.drops[OUT_SEGMENT - verdict - 1] += 1
        return
    inner_destination(&destination, packet)
    if address_is_local_noise(&destination):
        out.drops[OUT_LOCAL_NOISE] += 1
        return
    _find_target(node, &destination, &where)
    if where.key != NULL:
        where.silent = stash_wants(where.to, out.now_ms, packet, length)
        if flag_load(&where.to.doubling) != DOUBLE_NONE and _is_doubled(node, &where, packet, length):
            where.flags = FRAME_DUP
        if sparse:
            where.flags |= FRAME_SPARSE
            out.sparse += 1
        _fit(out, &where, &segments, packet, length)
    while segment_next(&segments, &at, &size):
        if where.key == NULL or not _seal(node, out, &where, at, size):
            _tell_waiting(out, &where, at, size)
        elif where.silent:
            out.stashed += stash_put(&out.stash, where.id, out.now_ms, at, size)


cdef inline void _fit(
    outbound_state* out, const target* where, segmenter* segments, uint8_t* packet, size_t length
) noexcept nogil:
    """Heed how much reaches the peer in one piece: SYNs say so, TCP is cut smaller, the sender of others is told."""
    cdef uint32_t fits = <uint32_t> flag_load(&where.to.fits)
    if length >= BULK:
        out.bulk += length
    if fits == 0:
        return
    if segment_largest(segments) > fits:
        _too_large(out, where, segments, packet, length, fits)
    else:
        mss_clamp(packet, length, fits)


cdef void _too_large(
    outbound_state* out, const target* where, segmenter* segments, const uint8_t* packet, size_t length, uint32_t fits
) noexcept nogil:
    """Told to who forbids fragments. What cannot be cut leaves as it is, and the outer IP layer fragments it."""
    cdef bint tell = packet[6] & DONT_FRAGMENT if packet[0] >> 4 == 4 else segment_largest(segments) > IPV6_MTU_MIN
    if tell and bucket_take(&out.too_large, out.now_ms):
        ring_put(
            out.ring, EVENT_TOO_LARGE, &where.id, sizeof(where.id), packet, min(length, <size_t> TOO_LARGE_SHOWN)
        )
    if segment_fit(segments, fits):
        out.cut += 1
    else:
        out.oversize += 1


cdef void _find_target(node_state* node, const address* destination, target* where) noexcept nogil:
    cdef route* found = route_find(&node.routes, destination)
    memset(where, 0, sizeof(target))
    if found == NULL:
        return
    where.id = found.peer
    where.to = peer_find(&node.peers, found.peer)
    if where.to != NULL:
        where.key = <send_key*> pointer_load(&where.to.sending)


cdef bint _is_doubled(node_state* node, const target* where, const uint8_t* packet, size_t length) noexcept nogil:
    cdef const interactive_set* these
    if flag_load(&where.to.doubling) == DOUBLE_ALL:
        return True
    these = <const interactive_set*> pointer_load(&node.interactive)
    return these != NULL and interactive_covers(these, packet, length)


cdef bint _seal(
    node_state* node, outbound_state* out, target* where, const uint8_t* packet, uint32_t length
) noexcept nogil:
    """Into the arena. False when the key is used up and the packet must wait for the next."""
    cdef send_key* key = where.key
    cdef frame_header header
    cdef uint8_t nonce[AEAD_NONCE]
    cdef uint8_t* datagram
    cdef size_t sealed = FRAME_HEADER + length + FRAME_TAG
    cdef uint64_t number, blocks
    if sealed > FRAME_MAX:
        out.drops[OUT_TOO_BIG] += 1
        return True
    blocks = counter_add(&key.blocks, (length + 15) >> 4)
    number = counter_add(&key.packets, 1)
    if number > key.limits.hard_packets or blocks > key.limits.hard_blocks:
        _tell_once(out, &key.hard_told, EVENT_HARD_LIMIT, where.id, key.key_id)
        where.key = NULL
        return False
    if number > key.limits.soft_packets or blocks > key.limits.soft_blocks:
        _tell_once(out, &key.soft_told, EVENT_SOFT_LIMIT, where.id, key.key_id)
    if out.arena_used + sealed > ARENA or egress_is_full(&out.active):
        _flush(out)
    datagram = out.arena + out.arena_used
    header.type, header.key_id, header.flags = FRAME_DATA, key.key_id, where.flags
    header.dst, header.src, header.number = where.id, node.id, number
    frame_write(datagram, &header)
    aead_nonce(&key.aead, number, nonce)
    if (
        aead_seal_from(
            &key.aead, nonce, datagram, FRAME_HEADER, packet, length, datagram + FRAME_HEADER, length + FRAME_TAG
        )
        < 0
    ):
        out.drops[OUT_SEAL_FAILED] += 1
        return True
    out.arena_used += sealed
    out.packets += 1
    out.bytes += length
    out.last_ms = out.now_ms
    where.to.sent.packets += 1
    where.to.sent.bytes += length
    where.to.sent.last_ms = out.now_ms
    if not egress_queue(&out.active, datagram, <uint32_t> sealed):
        out.drops[OUT_NO_PATH] += 1
    if where.flags & FRAME_DUP:
        out.doubled += 1
        if out.second.via != NULL:
            egress_queue(&out.second, datagram, <uint32_t> sealed)
    return True


cdef void _flush(outbound_state* out) noexcept nogil:
    egress_flush(&out.active, out.now_ms)
    egress_flush(&out.second, out.now_ms)
    out.arena_used = 0


cdef void _tell_waiting(
    outbound_state* out, const target* where, const uint8_t* packet, uint32_t length
) noexcept nogil:
    """Python holds the packet, finds the peer or the key, and injects it again."""
    if not bucket_take(&out.events, out.now_ms):
        out.drops[OUT_RATE] += 1
    elif where.id == 0:
        ring_put(out.ring, EVENT_NO_ROUTE, packet, length, NULL, 0)
    else:
        ring_put(out.ring, EVENT_NO_KEY, &where.id, sizeof(where.id), packet, length)


cdef inline void _tell_once(outbound_state* out, int* told, uint32_t kind, uint64_t id, uint8_t key_id) noexcept nogil:
    """Again with the next packet, should the ring be full."""
    if flag_claim(told) and ring_put(out.ring, kind, &id, sizeof(id), &key_id, 1) < 0:
        flag_store(told, 0)
