"""See `peers.pxd`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from ovng._fast.aead cimport AEAD_KEY, aead_init, aead_retire
from ovng._fast.lookup cimport lookup_each, lookup_free, lookup_put, lookup_remove
from ovng._fast.reclaim cimport counter_load, pointer_publish, reclaim_later
from ovng._fast.replay cimport replay_committed
from ovng._fast.siphash cimport siphash


# -- Releasing: by `reclaim`, or at once at the end

cdef void _release_send_key(void* object) noexcept nogil:
    aead_retire(&(<send_key*> object).aead)
    free(object)


cdef void _release_receive_key(void* object) noexcept nogil:
    aead_retire(&(<receive_key*> object).aead)
    free(object)


cdef void _release(void* object) noexcept nogil:
    free(object)


cdef void _release_peer(void* object) noexcept nogil:
    """With all it still holds: who unpublishes a peer unpublishes that too."""
    cdef peer* p = <peer*> object
    cdef int i
    if p.sending != NULL:
        _release_send_key(p.sending)
    for i in range(RECEIVE_KEYS):
        if p.receiving[i] != NULL:
            _release_receive_key(p.receiving[i])
    free(p.prefixes)
    free(p)


# -- Peers

cdef prefix_set* _new_prefix_set(const prefix* owned, uint32_t count) except NULL:
    cdef prefix_set* made = <prefix_set*> calloc(1, sizeof(prefix_set) + count * sizeof(prefix))
    if made == NULL:
        raise MemoryError
    made.count = count
    if count:
        memcpy(made.prefixes, owned, count * sizeof(prefix))
    return made


cdef int peer_add(lookup* peers, uint64_t id, const prefix* owned, uint32_t count) except -1:
    cdef prefix_set* made = _new_prefix_set(owned, count)
    cdef peer* p = peer_find(peers, id)
    cdef void* old
    if p != NULL:
        old = p.prefixes
        pointer_publish(&p.prefixes, made)
        reclaim_later(peers.readers, old, _release)
        return 0
    p = <peer*> calloc(1, sizeof(peer))
    if p == NULL:
        free(made)
        raise MemoryError
    p.head.key[0] = id
    p.prefixes = made
    try:
        lookup_put(peers, &p.head)
    except BaseException:
        _release_peer(p)
        raise
    return 0


cdef bint peer_remove(lookup* peers, uint64_t id) noexcept:
    cdef uint64_t key[LOOKUP_WORDS]
    cdef entry* held
    key[0], key[1], key[2] = id, 0, 0
    held = lookup_remove(peers, key)
    if held == NULL:
        return False
    reclaim_later(peers.readers, held, _release_peer)
    return True


cdef void peers_free(lookup* peers) noexcept:
    cdef size_t position = 0
    cdef entry* held
    if peers.array == NULL:
        return
    held = lookup_each(peers, &position)
    while held != NULL:
        _release_peer(held)
        held = lookup_each(peers, &position)
    lookup_free(peers)


# -- Generations

cdef peer* _known(lookup* peers, uint64_t id) except NULL:
    cdef peer* p = peer_find(peers, id)
    if p == NULL:
        raise LookupError(f"no peer {id:016x}")
    return p


cdef void _replace(lookup* peers, void** at, void* new, void (*release)(void*) noexcept nogil) noexcept:
    cdef void* old = at[0]
    pointer_publish(at, new)
    if old != NULL:
        reclaim_later(peers.readers, old, release)


cdef int _refuse_again(uint64_t print, uint64_t held) except -1:
    if print == held:
        raise ValueError("a key cannot be installed twice")
    return 0


cdef uint64_t _print(const lookup* peers, const uint8_t* key) noexcept:
    """Tells keys apart without keeping them: a hash under the table's own random key."""
    return siphash(&peers.hash_key, key, AEAD_KEY)


cdef int peer_install_send(
    lookup* peers, uint64_t id, uint8_t key_id, int cipher, const uint8_t* key, const uint8_t* iv,
    const key_limits* limits,
) except -1:
    cdef peer* p = _known(peers, id)
    cdef uint64_t print = _print(peers, key)
    cdef send_key* new
    _refuse_again(print, p.sealed_under)
    if limits.first_packet == 0 or limits.first_block == 0:
        raise ValueError("packets and blocks are counted from 1")
    new = <send_key*> calloc(1, sizeof(send_key))
    if new == NULL:
        raise MemoryError
    try:
        aead_init(&new.aead, cipher, key, iv, True)
    except BaseException:
        free(new)
        raise
    new.key_id = key_id
    new.limits = limits[0]
    new.packets, new.blocks = limits.first_packet - 1, limits.first_block - 1
    p.sealed_under = print
    _replace(peers, &p.sending, new, _release_send_key)
    return 0


cdef int peer_install_receive(
    lookup* peers, uint64_t id, uint8_t key_id, int cipher, const uint8_t* key, const uint8_t* iv
) except -1:
    cdef peer* p = _known(peers, id)
    cdef uint64_t print = _print(peers, key)
    cdef receive_key* new
    cdef int slot = -1
    cdef int i
    for i in range(RECEIVE_KEYS):  # the slot of the same key ID, else the first free one
        if p.receiving[i] == NULL:
            if slot < 0:
                slot = i
        elif (<receive_key*> p.receiving[i]).key_id == key_id:
            _refuse_again(print, (<receive_key*> p.receiving[i]).print)
            slot = i
            break
    if slot < 0:
        raise RuntimeError("four generations receive already: retire one first")
    new = <receive_key*> calloc(1, sizeof(receive_key))
    if new == NULL:
        raise MemoryError
    try:
        aead_init(&new.aead, cipher, key, iv, False)
    except BaseException:
        free(new)
        raise
    new.key_id = key_id
    new.print = print
    _replace(peers, &p.receiving[slot], new, _release_receive_key)
    return 0


cdef bint peer_retire_send(lookup* peers, uint64_t id) noexcept:
    cdef peer* p = peer_find(peers, id)
    if p == NULL or p.sending == NULL:
        return False
    _replace(peers, &p.sending, NULL, _release_send_key)
    return True


cdef bint peer_retire_receive(lookup* peers, uint64_t id, uint8_t key_id) noexcept:
    cdef peer* p = peer_find(peers, id)
    cdef int i
    if p == NULL:
        return False
    for i in range(RECEIVE_KEYS):
        if p.receiving[i] != NULL and (<receive_key*> p.receiving[i]).key_id == key_id:
            _replace(peers, &p.receiving[i], NULL, _release_receive_key)
            return True
    return False


# -- Figures

cdef dict peer_figures(const peer* p):
    cdef send_key* sending = <send_key*> p.sending
    cdef int i
    return {
        "sent_packets": p.sent.packets,
        "sent_bytes": p.sent.bytes,
        "last_tx_ms": p.sent.last_ms,
        "received_packets": p.received.packets,
        "received_bytes": p.received.bytes,
        "last_rx_ms": p.received.last_ms,
        "send_key": None if sending == NULL else sending.key_id,
        "send_number": 0 if sending == NULL else counter_load(&sending.packets),
        "receive_keys": sorted(
            (<receive_key*> p.receiving[i]).key_id for i in range(RECEIVE_KEYS) if p.receiving[i] != NULL
        ),
    }


cdef dict peer_arrivals(const peer* p):
    cdef dict found = {}
    cdef receive_key* key
    cdef uint64_t newest, committed
    cdef int i
    for i in range(RECEIVE_KEYS):
        key = <receive_key*> p.receiving[i]
        if key != NULL:
            newest = max(counter_load(&key.windows[0].highest), counter_load(&key.windows[1].highest))
            committed = replay_committed(&key.windows[0]) + replay_committed(&key.windows[1])
            found[key.key_id] = newest, committed
    return found
