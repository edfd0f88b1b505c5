"""See `stash.pxd`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ovng._fast.inner cimport PROTOCOL_TCP, TCP_HEADER, inner_header, inner_protocol
from ovng._fast.lookup cimport lookup
from ovng._fast.peers cimport peer, peer_find
from ovng._fast.reclaim cimport counter_load, flag_store
from ovng._fast.ring cimport ring_create, ring_destroy, ring_peek, ring_put_newest, ring_skip, ring_take


cdef inline bint _is_tcp_data(const uint8_t* packet, size_t length) noexcept nogil:
    cdef int header = inner_header(packet, length)
    if header < 0 or inner_protocol(packet) != PROTOCOL_TCP or length < <size_t> header + TCP_HEADER:
        return False
    return length > <size_t> header + (packet[header + 12] >> 4) * 4


cdef bint stash_silent(peer* to, uint64_t now_ms, const uint8_t* packet, size_t length) noexcept nogil:
    if not _is_tcp_data(packet, length):
        return False
    if counter_load(&to.received.last_ms) >= to.unanswered_ms:
        to.unanswered_ms = now_ms
        return False
    return now_ms - to.unanswered_ms > SILENT_MS


cdef void _clear(stash* s, stash_slot* slot) noexcept nogil:
    while slot.count > 0:
        ring_skip(slot.packets)
        slot.count -= 1
    slot.peer = 0
    flag_store(&s.used, s.used - 1)


cdef stash_slot* _slot(stash* s, uint64_t id) noexcept nogil:
    """The peer's, else a free one, else that of the peer to which nothing was sent for longest. NULL: no memory."""
    cdef stash_slot* best = &s.slots[0]
    cdef stash_slot* slot
    cdef int i
    for i in range(STASH_PEERS):
        slot = &s.slots[i]
        if slot.peer == id:
            return slot
        if best.peer != 0 and (slot.peer == 0 or slot.newest_ms < best.newest_ms):
            best = slot
    if best.packets == NULL:
        best.packets = ring_create(STASH_BYTES, -1)
        if best.packets == NULL:
            return NULL
    if best.peer != 0:
        _clear(s, best)
    best.peer = id
    flag_store(&s.used, s.used + 1)
    return best


cdef bint stash_put(stash* s, uint64_t id, uint64_t now_ms, const uint8_t* packet, size_t length) noexcept nogil:
    cdef stash_slot* slot = _slot(s, id)
    cdef long gone
    if slot == NULL:
        return False
    slot.newest_ms = now_ms
    if slot.count == STASH_PACKETS:
        ring_skip(slot.packets)
        slot.count -= 1
    gone = ring_put_newest(slot.packets, 0, packet, length, NULL, 0)
    if gone < 0:
        return False
    slot.count += 1 - gone
    return True


cdef long stash_take(stash* s, lookup* peers, uint8_t* packet) noexcept nogil:
    cdef stash_slot* slot
    cdef peer* to
    cdef uint32_t kind
    cdef long length
    cdef int i
    if s.used == 0:
        return -1
    for i in range(STASH_PEERS):
        slot = &s.slots[i]
        if slot.peer == 0:
            continue
        to = peer_find(peers, slot.peer)
        if to == NULL or slot.count == 0:
            _clear(s, slot)
        elif counter_load(&to.received.last_ms) + SILENT_MS > slot.newest_ms:  # it was not so when that was put in
            length = ring_peek(slot.packets, &kind)
            ring_take(slot.packets, packet, <size_t> length)
            slot.count -= 1
            return length
    return -1


cdef void stash_free(stash* s) noexcept nogil:
    cdef int i
    for i in range(STASH_PEERS):
        ring_destroy(s.slots[i].packets)
        s.slots[i].packets = NULL
