"""The table's writer and its Python face; `forwarding/slowtable.py` is the same in plain Python. See `table.pxd`."""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.mman cimport (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
    mmap,
    munmap,
)

from ovng._fast.siphash cimport siphash_set_key

from ovng.errors import TableFull

LIVE = TABLE_LIVE
FALLBACK = TABLE_FALLBACK
GRACE = TABLE_GRACE
DROP_NAMES = {
    TABLE_UNKNOWN: "not_attached",
    TABLE_NO_LOCATOR: "no_locator",
    TABLE_NO_CREDIT: "provisional_credit",
    TABLE_STRAY: "grace_credit",
}
MAX_NODES = TABLE_MAX
CREDIT_MAX = TABLE_CREDIT_MAX

cdef enum:
    BATCH = 64
    RESOLVED = 1 + TABLE_LOCATOR  # bytes of one answer of `resolve_many`
    NO_SLOTS = SLOT_NONE << ACTIVE_SHIFT | SLOT_NONE << FALLBACK_SHIFT


cdef void* _reserve(size_t size) except NULL:
    # NORESERVE: pages come when first written, and the fixed capacity is no promise to keep them in memory.
    cdef void* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if memory == MAP_FAILED:
        raise MemoryError(f"no address space for {size} bytes of the node table")
    return memory


cdef class Table:
    """At most `capacity` nodes (1 … MAX_NODES), hashed under `key` (16 random bytes). One writer: who holds the GIL.

    Node IDs are 1 … 2^64−1 (ValueError); a locator is 18 bytes, a credit 0 … CREDIT_MAX bytes.
    """

    def __cinit__(self, uint32_t capacity, bytes key not None):
        cdef uint64_t entries = 2
        if not 1 <= capacity <= TABLE_MAX:
            raise ValueError(f"a table holds 1 … {MAX_NODES} nodes, not {capacity}")
        if len(key) != 16:
            raise ValueError(f"the key has 16 bytes, not {len(key)}")
        while entries < <uint64_t> 2 * capacity:
            entries *= 2
        siphash_set_key(&self.table.key, <const uint8_t*> PyBytes_AsString(key))
        self.table.capacity = capacity
        self.table.mask = <uint32_t> (entries - 1)
        self.table.index = <uint32_t*> _reserve(<size_t> entries * sizeof(uint32_t))
        self.table.nodes = <table_node*> _reserve((<size_t> capacity + 1) * sizeof(table_node))
        self.table.more = <table_more*> _reserve((<size_t> capacity + 1) * sizeof(table_more))

    def __dealloc__(self):
        cdef node_table* table = &self.table
        if table.index != NULL:
            munmap(table.index, (<size_t> table.mask + 1) * sizeof(uint32_t))
        if table.nodes != NULL:
            munmap(table.nodes, (<size_t> table.capacity + 1) * sizeof(table_node))
        if table.more != NULL:
            munmap(table.more, (<size_t> table.capacity + 1) * sizeof(table_more))

    def __len__(self):
        return self.count

    @property
    def capacity(self):
        """Nodes at most."""
        return self.table.capacity

    # -- Nodes and their records

    def put(self, uint64_t id, bytes record not None):
        """Create a node without locators and credit, or replace the record (at most 128 bytes) of a known one.

        Raises TableFull.
        """
        cdef table_node* node
        cdef table_more* more
        if id == 0:
            raise ValueError("node ID 0")
        if len(record) > TABLE_RECORD:
            raise ValueError(f"a record has at most {TABLE_RECORD} bytes, not {len(record)}")
        node = table_lookup(&self.table, id)
        if node == NULL:
            node = self._insert(id)
        more = &self.table.more[node - self.table.nodes]
        memset(more.record, 0, TABLE_RECORD)
        memcpy(more.record, PyBytes_AsString(record), <size_t> len(record))
        more.record_length = <uint32_t> len(record)

    def record(self, uint64_t id):
        """The record as it was put, or None for an unknown node."""
        cdef table_node* node = table_lookup(&self.table, id) if id else NULL
        if node == NULL:
            return None
        more = &self.table.more[node - self.table.nodes]
        return (<char*> more.record)[: more.record_length]

    def remove(self, uint64_t id):
        """Forget a node and erase its record; False when it is unknown."""
        cdef uint8_t nowhere[TABLE_SLOTS * TABLE_LOCATOR]
        cdef table_node* node = table_lookup(&self.table, id) if id else NULL
        cdef uint32_t number
        cdef uint32_t at
        if node == NULL:
            return False
        number = <uint32_t> (node - self.table.nodes)
        at = <uint32_t> siphash_u64(&self.table.key, id) & self.table.mask
        while self.table.index[at] & INDEX_NUMBER != number:
            at = (at + 1) & self.table.mask
        self._close_gap(at)
        memset(nowhere, 0, sizeof(nowhere))
        self._publish(node, 0, NO_SLOTS, nowhere)
        credit_set(&node.credit_in, 0)
        credit_set(&node.credit_out, 0)
        memset(self.table.more[number].record, 0, TABLE_RECORD)  # it held keys
        self.table.more[number].record_length = 0
        node.next_free = self.free
        self.free = number
        self.count -= 1
        return True

    def scan(self, uint32_t position, uint32_t count):
        """(next position, IDs) of at most `count` slots from `position` on; 0 begins, and as next position ends.

        A node that stays throughout is seen exactly once, one that comes or goes meanwhile at most once.
        """
        ids = []
        cdef uint64_t number = <uint64_t> position + 1
        cdef uint64_t last = min(<uint64_t> position + count, <uint64_t> self.used)
        while number <= last:
            if self.table.nodes[number].id:
                ids.append(self.table.nodes[number].id)
            number += 1
        return (<uint32_t> last if last < self.used else 0), ids

    def ids(self):
        """Every node's ID, in no order; the table may change meanwhile, as for `scan`."""
        position = 0
        while True:
            position, found = self.scan(position, 1024)
            yield from found
            if not position:
                return

    # -- Locators and credits

    def set_locators(self, uint64_t id, locators, int active, int fallback, int provisional_mask):
        """Replace a node's four slots (18 bytes or None each) at once, as readers see it.

        `active` is the slot to send to, `fallback` the one when a provisional `active` has no credit; −1 is none, and
        neither names an empty slot (ValueError). Bit i of `provisional_mask`: slot i is provisional. Raises KeyError.
        """
        cdef uint8_t packed[TABLE_SLOTS * TABLE_LOCATOR]
        cdef table_node* node
        cdef uint32_t present = 0
        cdef int slot
        cdef bytes locator
        if len(locators) != TABLE_SLOTS:
            raise ValueError(f"a node has {TABLE_SLOTS} slots, not {len(locators)}")
        memset(packed, 0, sizeof(packed))
        for slot in range(TABLE_SLOTS):
            locator = locators[slot]
            if locator is None:
                continue
            if len(locator) != TABLE_LOCATOR:
                raise ValueError(f"a locator has {TABLE_LOCATOR} bytes, not {len(locator)}")
            memcpy(packed + TABLE_LOCATOR * slot, PyBytes_AsString(locator), TABLE_LOCATOR)
            present |= <uint32_t> 1 << slot
        if not 0 <= provisional_mask < 1 << TABLE_SLOTS:
            raise ValueError(f"provisional mask {provisional_mask}")
        node = self._find(id)
        self._publish(
            node,
            id,
            node.flags & WISHES
            | _slot(active, present) << ACTIVE_SHIFT
            | _slot(fallback, present) << FALLBACK_SHIFT
            | <uint32_t> provisional_mask << PROVISIONAL_SHIFT
            | present << PRESENT_SHIFT,
            packed,
        )

    def locators(self, uint64_t id):
        """(four slots, active, fallback, provisional mask) as set, or None for an unknown node."""
        cdef table_node* node = table_lookup(&self.table, id) if id else NULL
        cdef table_view view
        if node == NULL or not table_read(&self.table, node, id, &view):
            return None
        slots = tuple([
            (<char*> view.locators)[TABLE_LOCATOR * slot : TABLE_LOCATOR * (slot + 1)]
            if view.flags >> (PRESENT_SHIFT + slot) & 1 else None
            for slot in range(TABLE_SLOTS)
        ])
        active, fallback = slot_of(view.flags, ACTIVE_SHIFT), slot_of(view.flags, FALLBACK_SHIFT)
        return (
            slots,
            -1 if active == SLOT_NONE else active,
            -1 if fallback == SLOT_NONE else fallback,
            view.flags >> PROVISIONAL_SHIFT & 15,
        )

    def set_wishes(self, uint64_t id, bint tail, uint32_t copies):
        """Whether what is sent to this node is kept for a while; which paths take copies (bit i: path i).

        Raises KeyError, ValueError.
        """
        cdef table_node* node = self._find(id)
        if copies >> TABLE_SLOTS:
            raise ValueError(f"copies {copies}")
        seq_write_begin(&node.seq)
        atomic_put(
            &node.flags, node.flags & ~<uint32_t> WISHES | <uint32_t> tail << TAIL_SHIFT | copies << COPY_SHIFT
        )
        seq_write_end(&node.seq)

    def wishes(self, uint64_t id):
        """(tail, copies) as set; (False, 0) for an unknown node."""
        cdef table_node* node = table_lookup(&self.table, id) if id else NULL
        return (False, 0) if node == NULL else (bool(table_wants_tail(node)), table_copies(node))

    def set_credit(self, uint64_t id, int32_t incoming, int32_t outgoing):
        """Bytes forwarded from unknown sources, and to a provisional locator, from now on. Raises KeyError, ValueError."""
        cdef table_node* node = self._find(id)
        if not 0 <= incoming <= TABLE_CREDIT_MAX or not 0 <= outgoing <= TABLE_CREDIT_MAX:
            raise ValueError(f"credits {incoming}, {outgoing}")
        credit_set(&node.credit_in, incoming)
        credit_set(&node.credit_out, outgoing)

    def add_outgoing(self, uint64_t id, int32_t amount):
        """More bytes to a provisional locator; stops at CREDIT_MAX. Raises KeyError, ValueError."""
        cdef table_node* node = self._find(id)
        if not 0 <= amount <= TABLE_CREDIT_MAX:
            raise ValueError(f"credit {amount}")
        credit_give(&node.credit_out, amount, TABLE_CREDIT_MAX)

    def credit(self, uint64_t id):
        """(incoming, outgoing) bytes left, or None for an unknown node."""
        cdef table_node* node = table_lookup(&self.table, id) if id else NULL
        return None if node == NULL else (credit_get(&node.credit_in), credit_get(&node.credit_out))

    # -- The two questions of forwarding, as the workers ask them

    def resolve(self, uint64_t id, uint32_t length):
        """(verdict, locator or None) for a packet of `length` bytes to a node; see `table_resolve`."""
        cdef uint8_t locator[TABLE_LOCATOR]
        cdef int verdict = TABLE_UNKNOWN
        if id:
            verdict = table_resolve(&self.table, table_lookup(&self.table, id), id, length, locator)
        return verdict, (<char*> locator)[:TABLE_LOCATOR] if verdict >= 0 else None

    def check_source(self, uint64_t id, bytes locator not None, uint32_t length):
        """Verdict on a packet of `length` bytes that came from `locator` in the name of a node; see `table_source`."""
        if len(locator) != TABLE_LOCATOR:
            raise ValueError(f"a locator has {TABLE_LOCATOR} bytes, not {len(locator)}")
        if id == 0:
            return TABLE_UNKNOWN
        return table_source(
            &self.table, table_lookup(&self.table, id), id, <const uint8_t*> PyBytes_AsString(locator), length
        )

    def resolve_many(self, bytes ids not None, uint32_t length):
        """`resolve` of native 64-bit IDs without the GIL, as a worker does a batch: verdict 1 (signed), locator 18 each.

        The locator of a negative verdict is zero.
        """
        cdef const char* source = PyBytes_AsString(ids)
        cdef size_t total = <size_t> len(ids) // 8
        cdef bytes answers = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> (total * RESOLVED))
        cdef char* answer = PyBytes_AsString(answers)
        cdef uint64_t id[BATCH]
        cdef uint64_t hashed[BATCH]
        cdef size_t done = 0
        cdef size_t i, count
        with nogil:
            memset(answer, 0, total * RESOLVED)
            while done < total:
                count = min(<size_t> BATCH, total - done)
                memcpy(id, source + 8 * done, 8 * count)
                for i in range(count):
                    hashed[i] = table_hash(&self.table, id[i])
                for i in range(count):
                    table_touch(&self.table, hashed[i])
                for i in range(count):
                    answer[0] = <char> table_resolve(
                        &self.table,
                        table_find(&self.table, id[i], hashed[i]),
                        id[i],
                        length,
                        <uint8_t*> answer + 1,
                    )
                    answer += RESOLVED
                done += count
        return answers

    # -- The writer's own

    cdef table_node* _find(self, uint64_t id) except NULL:
        cdef table_node* node = table_lookup(&self.table, id) if id else NULL
        if node == NULL:
            raise KeyError(id)
        return node

    cdef table_node* _insert(self, uint64_t id) except NULL:
        cdef uint8_t nowhere[TABLE_SLOTS * TABLE_LOCATOR]
        cdef uint64_t hashed = siphash_u64(&self.table.key, id)
        cdef uint32_t at = <uint32_t> hashed & self.table.mask
        cdef uint32_t number = self.free
        cdef table_node* node
        if self.count == self.table.capacity:
            raise TableFull(f"the table holds its {self.count} nodes already")
        if number:
            self.free = self.table.nodes[number].next_free
        else:
            self.used += 1
            number = self.used
        self.count += 1
        node = &self.table.nodes[number]
        memset(nowhere, 0, sizeof(nowhere))
        self._publish(node, id, NO_SLOTS, nowhere)
        while self.table.index[at] != INDEX_EMPTY:
            at = (at + 1) & self.table.mask
        atomic_put(&self.table.index[at], index_tag(hashed) | number)  # last: who finds the number finds the node
        return node

    cdef void _close_gap(self, uint32_t gap) noexcept:
        # Entries behind the gap that probing reaches only across it move into it, each leaving the next gap (Knuth,
        # The Art of Computer Programming 6.4, algorithm R). A reader between the two places could miss one.
        cdef uint32_t* index = self.table.index
        cdef uint32_t mask = self.table.mask
        cdef uint32_t at = (gap + 1) & mask
        cdef uint32_t home
        seq_write_begin(&self.table.shifts)
        while index[at] != INDEX_EMPTY:
            home = <uint32_t> siphash_u64(&self.table.key, self.table.nodes[index[at] & INDEX_NUMBER].id) & mask
            if (at - home) & mask >= (at - gap) & mask:
                atomic_put(&index[gap], index[at])
                gap = at
            at = (at + 1) & mask
        atomic_put(&index[gap], INDEX_EMPTY)
        seq_write_end(&self.table.shifts)

    cdef void _publish(self, table_node* node, uint64_t id, uint32_t flags, const uint8_t* locators) noexcept:
        cdef table_more* more = &self.table.more[node - self.table.nodes]
        seq_write_begin(&node.seq)
        words_store(&node.id, &id, sizeof(id))
        words_store(&node.flags, &flags, sizeof(flags))
        words_store(node.near, locators, sizeof(node.near))
        words_store(more.far, locators + sizeof(node.near), sizeof(more.far))
        seq_write_end(&node.seq)


cdef uint32_t _slot(int slot, uint32_t present) except? 0xFFFFFFFF:
    if slot == -1:
        return SLOT_NONE
    if not 0 <= slot < TABLE_SLOTS or not present >> slot & 1:
        raise ValueError(f"slot {slot} is empty")
    return <uint32_t> slot
