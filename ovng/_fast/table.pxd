"""The Switch's table: node ID → where its packets go, read without locks by every worker.

Three arrays of fixed capacity in memory that the kernel gives page by page, so empty capacity costs nothing:
`nodes`, one cache line each, which answers for a node with up to two locators; `more`, the other two locators and
the attachment record that only Python reads; `index`, an open-addressing hash (linear probing, at most half full) of
node IDs under SipHash with a random key. An index entry has 8 bits of the hash (a tag that saves most misses a look
at the node) over 24 bits of node number, which begin at 1; 0 is empty. Removal closes the gap by moving later entries
back, so churn leaves nothing behind.

One writer, who holds the GIL; readers need nothing. A reader copies a node under its seqlock and believes the copy
only when it carries the ID it looked for: a slot may be freed and taken by another node at any moment. A miss counts
only when no entry was moved meanwhile (`shifts`). Credits are atomic counters outside the seqlock; one packet may be
charged to a slot's next owner, never more than once.

For a batch: `table_hash` of all, then `table_touch` of all, then `table_find`; each step finds the line that the
step before asked the memory for.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from ovng._fast.siphash cimport siphash_key, siphash_u64


cdef extern from "seqlock.h" nogil:
    uint32_t atomic_get(const uint32_t* at)
    void atomic_put(uint32_t* at, uint32_t value)
    void words_load(void* to, const void* shared, size_t size)
    void words_store(void* shared, const void* source, size_t size)
    void seq_write_begin(uint32_t* seq)
    void seq_write_end(uint32_t* seq)
    uint32_t seq_read_begin(const uint32_t* seq)
    int seq_read_changed(const uint32_t* seq, uint32_t begun)
    int credit_take(int32_t* credit, int32_t amount)
    void credit_give(int32_t* credit, int32_t amount, int32_t limit)
    int32_t credit_get(const int32_t* credit)
    void credit_set(int32_t* credit, int32_t amount)
    void prefetch_line(const void* at)


cdef enum:
    TABLE_LOCATOR = 18  # bytes: IPv6 address, port
    TABLE_SLOTS = 4
    TABLE_NEAR = 2  # slots within the node's own cache line
    TABLE_RECORD = 128
    TABLE_MAX = (1 << 24) - 1  # nodes: what an index entry can number
    TABLE_CREDIT_MAX = 1 << 30
    TABLE_GIVE_BACK = 3  # bytes allowed to a provisional locator per byte received from it

    INDEX_EMPTY = 0
    INDEX_NUMBER = 0xFFFFFF

    # table_node.flags
    SLOT_NONE = 7
    ACTIVE_SHIFT = 0
    FALLBACK_SHIFT = 3
    PROVISIONAL_SHIFT = 6
    PRESENT_SHIFT = 10
    TAIL_SHIFT = 14  # the node wants to be sent again what it may have missed
    COPY_SHIFT = 15  # this path takes copies
    WISHES = 31 << 14  # both

cdef enum table_verdict:
    TABLE_LIVE = 0  # to the active locator; or: from a locator of this node
    TABLE_FALLBACK = 1  # the provisional locator's credit is spent: to the locator before it
    TABLE_GRACE = 2  # from elsewhere, within the credit: forward, and hint
    TABLE_UNKNOWN = -1  # no such node
    TABLE_NO_LOCATOR = -2  # attached, but it can be reached nowhere now
    TABLE_NO_CREDIT = -3  # a provisional locator has had its share, and there is no other
    TABLE_STRAY = -4  # from elsewhere, and the credit is spent: drop, and hint

cdef struct table_node:
    uint64_t id  # 0: free
    uint32_t seq
    uint32_t flags
    int32_t credit_in  # bytes still forwarded from sources that are none of its locators
    int32_t credit_out  # bytes that may still go to its provisional locator
    uint8_t near[36]  # TABLE_NEAR locators
    uint32_t next_free  # writer only: number of the next free slot, or 0

cdef struct table_more:
    uint8_t far[36]  # the other locators
    uint32_t record_length  # writer only, from here on
    uint8_t record[TABLE_RECORD]

cdef struct node_table:
    table_node* nodes  # numbers start at 1; [0] is not used
    table_more* more
    uint32_t* index
    uint32_t mask  # entries of the index - 1
    uint32_t shifts  # seqlock of moves within the index
    uint32_t capacity  # nodes
    siphash_key key

# A node as one reader saw it: consistent in itself.
cdef struct table_view:
    uint64_t id
    uint32_t flags
    uint8_t locators[72]


cdef inline uint64_t table_hash(const node_table* table, uint64_t id) noexcept nogil:
    """The hash of an ID, and its place in the index on the way to the cache."""
    cdef uint64_t hashed = siphash_u64(&table.key, id)
    prefetch_line(&table.index[hashed & table.mask])
    return hashed


cdef inline uint32_t index_tag(uint64_t hashed) noexcept nogil:
    return <uint32_t> (hashed >> 32) & <uint32_t> 0xFF000000


cdef inline void table_touch(const node_table* table, uint64_t hashed) noexcept nogil:
    """The node that an ID of this hash probably has, on the way to the cache."""
    cdef uint32_t at = <uint32_t> hashed & table.mask
    cdef uint32_t entry = atomic_get(&table.index[at])
    cdef int i
    for i in range(4):
        if entry == INDEX_EMPTY:
            return
        if (entry & ~<uint32_t> INDEX_NUMBER) == index_tag(hashed):
            prefetch_line(&table.nodes[entry & INDEX_NUMBER])
            return
        at = (at + 1) & table.mask
        entry = atomic_get(&table.index[at])


cdef inline table_node* table_find(const node_table* table, uint64_t id, uint64_t hashed) noexcept nogil:
    """The node of an ID, or NULL. What the pointer holds may change at any moment: `table_read` it."""
    cdef uint32_t begun = atomic_get(&table.shifts)
    cdef uint32_t at, entry
    cdef uint64_t found
    while True:
        at = <uint32_t> hashed & table.mask
        entry = atomic_get(&table.index[at])
        while entry != INDEX_EMPTY:  # half the index is empty
            if (entry & ~<uint32_t> INDEX_NUMBER) == index_tag(hashed):
                words_load(&found, &table.nodes[entry & INDEX_NUMBER].id, sizeof(found))
                if found == id:
                    return &table.nodes[entry & INDEX_NUMBER]
            at = (at + 1) & table.mask
            entry = atomic_get(&table.index[at])
        if not begun & 1 and not seq_read_changed(&table.shifts, begun):
            return NULL
        begun = seq_read_begin(&table.shifts)


cdef inline table_node* table_lookup(const node_table* table, uint64_t id) noexcept nogil:
    """`table_find` for one packet alone."""
    return table_find(table, id, table_hash(table, id))


cdef inline bint table_read(const node_table* table, const table_node* node, uint64_t id, table_view* view) noexcept nogil:
    """A consistent copy of a found node. False when the slot no longer is `id`'s. `far` locators only where present."""
    cdef uint32_t begun
    while True:
        begun = seq_read_begin(&node.seq)
        words_load(&view.id, &node.id, sizeof(view.id))
        words_load(&view.flags, &node.flags, sizeof(view.flags))
        words_load(view.locators, node.near, sizeof(node.near))
        if view.flags >> (PRESENT_SHIFT + TABLE_NEAR) & 3:
            words_load(view.locators + sizeof(node.near), table.more[node - table.nodes].far, sizeof(node.near))
        if not seq_read_changed(&node.seq, begun):
            return view.id == id


cdef inline int slot_of(uint32_t flags, int shift) noexcept nogil:
    return <int> (flags >> shift & 7)


cdef inline bint table_wants_tail(const table_node* node) noexcept nogil:
    """As the node's last report said; of a node that was just replaced, perhaps the other's wish."""
    return atomic_get(&node.flags) >> TAIL_SHIFT & 1


cdef inline uint32_t table_copies(const table_node* node) noexcept nogil:
    """Paths that take copies: bit i, path i. A node may have been replaced since: `table_copy` knows."""
    return atomic_get(&node.flags) >> COPY_SHIFT & 15


cdef inline bint table_copy(
    const node_table* table, const table_node* node, uint64_t id, int slot, uint8_t* locator
) noexcept nogil:
    """Where a copy for this path goes; False when the path is the active one, is not sure to be there, or wants none."""
    cdef table_view view
    if (
        not table_read(table, node, id, &view)
        or slot_of(view.flags, ACTIVE_SHIFT) == slot
        or not view.flags >> (COPY_SHIFT + slot) & 1
        or not view.flags >> (PRESENT_SHIFT + slot) & 1
        or view.flags >> (PROVISIONAL_SHIFT + slot) & 1
    ):
        return False
    memcpy(locator, view.locators + TABLE_LOCATOR * slot, TABLE_LOCATOR)
    return True


cdef inline int table_resolve(
    const node_table* table, table_node* node, uint64_t id, uint32_t length, uint8_t* locator
) noexcept nogil:
    """Where `length` bytes for a destination go: 18 bytes at `locator`, TABLE_LIVE or TABLE_FALLBACK; else negative.

    `node` is what `table_find` said, NULL included. A provisional locator is charged for the bytes (PROTOCOL 6).
    """
    cdef table_view view
    cdef int slot
    cdef int verdict = TABLE_LIVE
    if node == NULL or not table_read(table, node, id, &view):
        return TABLE_UNKNOWN
    slot = slot_of(view.flags, ACTIVE_SHIFT)
    if slot == SLOT_NONE:
        return TABLE_NO_LOCATOR
    if view.flags >> (PROVISIONAL_SHIFT + slot) & 1 and not credit_take(&node.credit_out, <int32_t> length):
        slot = slot_of(view.flags, FALLBACK_SHIFT)
        verdict = TABLE_FALLBACK
        if slot == SLOT_NONE:
            return TABLE_NO_CREDIT
    memcpy(locator, view.locators + TABLE_LOCATOR * slot, TABLE_LOCATOR)
    return verdict


cdef inline int table_source(
    const node_table* table, table_node* node, uint64_t id, const uint8_t* locator, uint32_t length
) noexcept nogil:
    """May `length` bytes from `locator` (18 bytes) be of this source? TABLE_LIVE, _GRACE, _STRAY or _UNKNOWN.

    Charges the grace credit for sources elsewhere (PROTOCOL 6.1), and gives a provisional locator its three-fold.
    """
    cdef table_view view
    cdef int slot
    if node == NULL or not table_read(table, node, id, &view):
        return TABLE_UNKNOWN
    for slot in range(TABLE_SLOTS):
        if (
            view.flags >> (PRESENT_SHIFT + slot) & 1
            and memcmp(view.locators + TABLE_LOCATOR * slot, locator, TABLE_LOCATOR) == 0
        ):
            if view.flags >> (PROVISIONAL_SHIFT + slot) & 1:
                credit_give(&node.credit_out, <int32_t> (TABLE_GIVE_BACK * length), TABLE_CREDIT_MAX)
            return TABLE_LIVE
    return TABLE_GRACE if credit_take(&node.credit_in, <int32_t> length) else TABLE_STRAY


cdef class Table:
    cdef node_table table
    cdef uint32_t used  # highest number ever given
    cdef uint32_t free  # first free slot below that, or 0
    cdef uint32_t count

    cdef table_node* _find(self, uint64_t id) except NULL
    cdef table_node* _insert(self, uint64_t id) except NULL
    cdef void _close_gap(self, uint32_t gap) noexcept
    cdef void _publish(self, table_node* node, uint64_t id, uint32_t flags, const uint8_t* locators) noexcept
