"""The replay window of RFC 6479: a ring of 64-bit blocks that never shifts.

The ring has one block more than the window needs: the block of the newest number is only partly used, so 8192
packets stay usable whatever its alignment. A packet is looked up before it is opened and committed after: only an
authentic one moves the window. `replay_commit` looks up again, since two copies may pass the first look-up in one batch.

One window belongs to one thread. Another may ask how many numbers it has committed: an estimate to a batch while
packets come in, exact when none do. Committed numbers are counted when they leave the ring, 64 at a time.
"""

from libc.stdint cimport uint64_t

from ovng._fast.reclaim cimport counter_load


cdef extern from * nogil:
    int __builtin_popcountll(unsigned long long word)


cdef enum:
    REPLAY_WINDOW = 8192  # packets
    REPLAY_BLOCKS = REPLAY_WINDOW // 64 + 1
    REPLAY_LIMIT = 1 << 29  # packets: the number at which a generation stops (PROTOCOL 4)

cdef enum replay_reason:
    REPLAY_NUMBER = -1  # 0 or beyond the limit: no honest sender uses it
    REPLAY_OLD = -2
    REPLAY_DUPLICATE = -3

cdef struct replay_window:
    uint64_t highest  # newest committed number, 0 = none
    uint64_t gone  # committed numbers that have left the ring
    uint64_t blocks[REPLAY_BLOCKS]


cdef inline int replay_check(const replay_window* window, uint64_t number) noexcept nogil:
    """0 when `number` may be new, else a negative `replay_reason`."""
    if number - 1 >= REPLAY_LIMIT:
        return REPLAY_NUMBER
    if number > window.highest:
        return 0
    if window.highest - number >= REPLAY_WINDOW:
        return REPLAY_OLD
    if window.blocks[(number >> 6) % REPLAY_BLOCKS] >> (number & 63) & 1:
        return REPLAY_DUPLICATE
    return 0


cdef inline int replay_commit(replay_window* window, uint64_t number) noexcept nogil:
    """`replay_check`, and the window remembers the number where it accepts."""
    cdef int verdict = replay_check(window, number)
    cdef uint64_t block = number >> 6
    cdef uint64_t newest = window.highest >> 6
    cdef uint64_t stale
    if verdict < 0:
        return verdict
    if number > window.highest:
        stale = block - newest
        if stale > REPLAY_BLOCKS:
            stale = REPLAY_BLOCKS
        while stale:  # the blocks that the window enters hold numbers of an earlier round
            window.gone += <uint64_t> __builtin_popcountll(window.blocks[(block - stale + 1) % REPLAY_BLOCKS])
            window.blocks[(block - stale + 1) % REPLAY_BLOCKS] = 0
            stale -= 1
        window.highest = number
    window.blocks[block % REPLAY_BLOCKS] |= <uint64_t> 1 << (number & 63)
    return 0


cdef inline uint64_t replay_committed(const replay_window* window) noexcept nogil:
    """How many numbers were committed in all; `highest` less this are missing. From any thread."""
    cdef uint64_t gone, count
    cdef int i, again
    for again in range(4):  # should a block leave meanwhile
        gone = count = counter_load(&window.gone)
        for i in range(REPLAY_BLOCKS):
            count += <uint64_t> __builtin_popcountll(counter_load(&window.blocks[i]))
        if counter_load(&window.gone) == gone:
            break
    return count
