"""Peers and their key generations, as the loops see them.

Sending, one generation is active; its packet number is one atomic counter, so a number is never used twice however
many threads seal. At the soft limit Python is told once (rekey); at the hard limit nothing is sealed any more.
Receiving, up to four generations open packets side by side, found by key ID, each with its own replay windows.

The control thread installs and retires; what it takes away is released (keys erased) when no loop can hold it.
A `send_key` is used by the outbound loop only, a `receive_key` by the inbound loop only.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ovng._fast.address cimport address, prefix, prefix_covers
from ovng._fast.aead cimport aead_ctx
from ovng._fast.lookup cimport LOOKUP_WORDS, entry, lookup, lookup_find
from ovng._fast.reclaim cimport pointer_load, retired
from ovng._fast.replay cimport replay_window

cdef enum:
    RECEIVE_KEYS = 4
    DOUBLE_NONE = 0  # `peer.doubling`: what leaves with DUP, also on the second path
    DOUBLE_INTERACTIVE = 1
    DOUBLE_ALL = 2

cdef struct key_limits:
    uint64_t soft_packets
    uint64_t soft_blocks  # of 16 bytes
    uint64_t hard_packets
    uint64_t hard_blocks
    uint64_t first_packet  # 1 but in tests of the limits; so is `first_block`
    uint64_t first_block

cdef struct send_key:
    retired link
    aead_ctx aead
    key_limits limits
    uint64_t packets  # atomic
    uint64_t blocks  # atomic
    int soft_told
    int hard_told
    uint8_t key_id

cdef struct receive_key:
    retired link
    aead_ctx aead
    replay_window windows[2]  # of bulk, and of sparse packets, which overtake it
    uint64_t print  # of the key
    bint heard
    uint8_t key_id

cdef struct prefix_set:
    retired link
    uint32_t count
    prefix prefixes[1]  # `count` of them

# Written by one loop, read by Python at any time.
cdef struct traffic:
    uint64_t packets
    uint64_t bytes  # of inner packets
    uint64_t last_ms  # CLOCK_MONOTONIC; 0: never

cdef struct peer:
    entry head  # key: ID, 0, 0
    void* sending  # send_key*, published
    void* receiving[RECEIVE_KEYS]  # receive_key*, published
    void* prefixes  # prefix_set*, published, never NULL
    uint64_t sealed_under  # print of the newest sending key, retired or not; control thread only
    int doubling  # DOUBLE_NONE …; stored by the control thread
    int fits  # bytes of the largest packet that reaches it in one piece, 0: not known; the control thread's
    uint64_t unanswered_ms  # when TCP data was sent, at least LOOK_MS apart; the outbound loop's (`stash`)
    traffic sent
    uint64_t apart[8]
    traffic received


cdef inline peer* peer_find(lookup* peers, uint64_t id) noexcept nogil:
    cdef uint64_t key[LOOKUP_WORDS]
    key[0], key[1], key[2] = id, 0, 0
    return <peer*> lookup_find(peers, key)


cdef inline receive_key* peer_receive_key(peer* p, uint8_t key_id, bint* any_key) noexcept nogil:
    """The generation of `key_id`, or NULL; `any_key` tells whether the peer has a session at all."""
    cdef int i
    cdef receive_key* key
    any_key[0] = False
    for i in range(RECEIVE_KEYS):
        key = <receive_key*> pointer_load(&p.receiving[i])
        if key != NULL:
            any_key[0] = True
            if key.key_id == key_id:
                return key
    return NULL


cdef inline bint peer_owns(peer* p, const address* source) noexcept nogil:
    cdef prefix_set* owned = <prefix_set*> pointer_load(&p.prefixes)
    cdef uint32_t i
    for i in range(owned.count):
        if prefix_covers(&owned.prefixes[i], source):
            return True
    return False


# Control thread. Prefixes are given as the array of `count`; adding a peer again replaces them.
cdef int peer_add(lookup* peers, uint64_t id, const prefix* owned, uint32_t count) except -1
cdef bint peer_remove(lookup* peers, uint64_t id) noexcept
cdef void peers_free(lookup* peers) noexcept  # at once: no reader may be left

# Control thread. Raise LookupError for an unknown peer, RuntimeError when all four receiving generations are taken,
# ValueError for a key that is there already: its packet numbers, or its replay window, would begin anew; and for a
# first packet or block of 0.
cdef int peer_install_send(
    lookup* peers, uint64_t id, uint8_t key_id, int cipher, const uint8_t* key, const uint8_t* iv,
    const key_limits* limits,
) except -1
cdef int peer_install_receive(
    lookup* peers, uint64_t id, uint8_t key_id, int cipher, const uint8_t* key, const uint8_t* iv
) except -1
# Whether there was one.
cdef bint peer_retire_send(lookup* peers, uint64_t id) noexcept
cdef bint peer_retire_receive(lookup* peers, uint64_t id, uint8_t key_id) noexcept

# Control thread. For people: traffic and key IDs; and of each receiving generation, newest number and how many came.
cdef dict peer_figures(const peer* p)
cdef dict peer_arrivals(const peer* p)
