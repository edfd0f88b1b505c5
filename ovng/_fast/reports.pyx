"""Reports, answered in C: what nearly all of them ask, by the hundred thousand per second.

    attached, from the path's own locator     REFRESH, MOVE, CONFIRM → stored, ACK
    of a node that is not attached            CHALLENGE; with cookie and ticket → attached again, ACK
    under another boot ID                     CHALLENGE

And who was attached before a restart is called: CHALLENGE to each entry of the snapshot (`Registrar.start_hints`).

`forwarding/reports.py` holds all the rules. Here stand only those under which nothing is refused and nothing moves;
a report that meets any other condition is left untouched for Python, so this file never says no but to a wrong tag.
What both say must be equal to the byte: `tests/unit/test_fast_reports.py` gives the same reports to both.

It runs under the GIL, in the thread that is the table's only writer: no lock is needed, and what it calls in Python
(the limit of hints, the directory of prefixes) is the registrar's own.
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from ovng._fast.aead cimport AEAD_AES_256_GCM, AEAD_NONCE, AEAD_TAG, aead_ctx, aead_init, aead_open, aead_retire
from ovng._fast.frame cimport (
    FRAME_REPORT, FRAME_VERSION, frame_check, frame_destination, frame_flags, frame_number, frame_source, load_be16,
    load_be32, load_be64, store_be16, store_be32, store_be64,
)
from ovng._fast.hmac cimport (
    HMAC_KEY, HMAC_SIZE, hkdf_expand, hmac_ctx, hmac_equal, hmac_free, hmac_init, hmac_sha256, sha256,
)
from ovng._fast.switch cimport EVENT_ENDPOINT, switch_origin
from ovng._fast.table cimport (
    ACTIVE_SHIFT, FALLBACK_SHIFT, PRESENT_SHIFT, PROVISIONAL_SHIFT, SLOT_NONE, TABLE_LOCATOR, TABLE_NEAR, TABLE_SLOTS,
    WISHES, Table, credit_set, slot_of, table_copies, table_lookup, table_more, table_node, table_wants_tail,
)

from ovng import limits

cdef enum:
    KEYS_MAX = 16
    KEY_NUMBER = 4
    SERIAL_MAX = 20  # RFC 5280, 4.1.2.2
    TICKET_VERSION = 1
    COOKIE_PARTS = 12 + 8 + 8 + TABLE_LOCATOR
    PATH_TAIL = 0x10  # in the path byte
    PATH_COPY = 0x20
    ENTRY = 8 + TABLE_LOCATOR  # forwarding/snapshot.py

cdef uint32_t LEASE_KEEPALIVES = limits.LEASE_KEEPALIVES
cdef uint32_t KEEPALIVE_MIN = limits.KEEPALIVE_MIN
cdef uint32_t KEEPALIVE_MAX = limits.KEEPALIVE_MAX
cdef uint32_t GRANT_LIFETIME = limits.GRANT_LIFETIME
cdef uint32_t ATTACH_AGAIN_BEFORE = limits.ATTACH_AGAIN_BEFORE
cdef int32_t GRACE_CREDIT = limits.GRACE_CREDIT
cdef bytes COOKIE_LABEL = b"ovng locator"
cdef bytes TICKET_LABEL = b"ovng ticket"
cdef uint8_t NO_ECHO[REPORT_ECHO]
memset(NO_ECHO, 0, REPORT_ECHO)
assert limits.MAX_PATHS == TABLE_SLOTS and limits.TICKET_MAX == REPORT_TICKET

cdef struct ticket_key:
    uint32_t number
    aead_ctx opening


# -- Reading

cdef bint _parse(const uint8_t* data, size_t length, report_update* update) noexcept:
    """True for a well-formed REFRESH, MOVE, CONFIRM or BYE: what `parse_report` takes, and no more."""
    cdef size_t extra
    cdef uint64_t number
    if frame_check(data, length) != FRAME_REPORT or length < REPORT_UPDATE or frame_flags(data):
        return False
    update.kind = data[1]
    extra = length - REPORT_UPDATE
    if not REPORT_REFRESH <= update.kind <= REPORT_BYE or extra > REPORT_TICKET:
        return False
    if extra and update.kind > REPORT_MOVE:
        return False
    number = frame_number(data)
    if data[38] & ~(TABLE_SLOTS - 1 | PATH_TAIL | PATH_COPY):  # one that asks for its tail now is Python's
        return False
    update.path, update.priority = data[38] & (TABLE_SLOTS - 1), data[39]
    update.tail, update.copy = data[38] & PATH_TAIL != 0, data[38] & PATH_COPY != 0
    update.keepalive = load_be16(data + REPORT_HEAD + TABLE_LOCATOR)
    if not 1 <= number <= 0xFFFFFFFF:
        return False
    if not KEEPALIVE_MIN <= update.keepalive <= KEEPALIVE_MAX:
        return False
    update.data, update.length = data, length
    update.number = <uint32_t> number
    update.dst, update.src = frame_destination(data), frame_source(data)
    update.boot_id = load_be64(data + 28)
    update.grant = load_be16(data + 36)
    update.observed = data + REPORT_HEAD
    update.cookie = data + REPORT_HEAD + TABLE_LOCATOR + 2
    update.ticket = update.cookie + REPORT_COOKIE
    update.ticket_length = extra
    return True


cdef bint _any(const uint8_t* data, size_t length) noexcept:
    cdef size_t i
    for i in range(length):
        if data[i]:
            return True
    return False


cdef bint _is_network(const uint8_t* address, size_t size, uint32_t length) noexcept:
    """True if no bit beyond the first `length` is set."""
    cdef size_t whole = length // 8
    if length > 8 * size:
        return False
    if length % 8 and address[whole] & (0xFF >> (length % 8)):
        return False
    whole += length % 8 != 0
    return not _any(address + whole, size - whole)


cdef bint _parse_ticket(const uint8_t* data, size_t length, report_ticket* ticket) noexcept:
    """True for what `Ticket.pack` gives. `forwarding/tickets.py` says what others are."""
    cdef size_t at = 36
    cdef size_t size
    cdef size_t i
    if length < at or data[0] != TICKET_VERSION:
        return False
    ticket.node, ticket.grant = load_be64(data + 1), load_be16(data + 9)
    ticket.expires, ticket.instance = load_be64(data + 19), data + 27
    ticket.serial, ticket.serial_length = data + at, data[at - 1]
    if ticket.serial_length > SERIAL_MAX or length < at + ticket.serial_length + HMAC_KEY + 1:
        return False
    if ticket.serial_length and ticket.serial[0] == 0:
        return False
    at += ticket.serial_length
    ticket.master = data + at
    at += HMAC_KEY
    ticket.prefix_count, ticket.prefixes = data[at], data + at + 1
    at += 1
    for i in range(<size_t> ticket.prefix_count):
        if length < at + 2 or (data[at] != 4 and data[at] != 6):
            return False
        size = 4 if data[at] == 4 else 16
        if length < at + 2 + size or not _is_network(data + at + 2, size, data[at + 1]):
            return False
        at += 2 + size
    if length < at + 1 or length != at + 1 + data[at]:
        return False
    for i in range(at + 1, length):
        if data[i] > 127:
            return False
    return True


# -- Writing

cdef void _answer_head(uint8_t* out, const report_update* update, int kind, uint64_t boot_id) noexcept:
    """40 bytes: `Common.answer`."""
    out[0] = FRAME_VERSION << 4 | FRAME_REPORT
    out[1] = <uint8_t> kind
    store_be16(out + 2, 0)
    store_be64(out + 4, update.src)
    store_be64(out + 12, update.dst)
    store_be64(out + 20, update.number)
    store_be64(out + 28, boot_id)
    store_be16(out + 36, update.grant)
    out[38], out[39] = update.path, update.priority


cdef class Reports:
    cdef Table _table
    cdef hmac_ctx _hmac
    cdef ticket_key _keys[KEYS_MAX]
    cdef int _key_count
    cdef object _keys_from  # the tuple that `_keys` were made of
    # Terms of the call under way
    cdef uint64_t _switch_id
    cdef uint64_t _boot_id
    cdef uint64_t _crl_number
    cdef double _boot
    cdef double _wall
    cdef bytes _current
    cdef bytes _previous
    cdef object _revoked
    cdef object _pending
    cdef object _may_challenge
    cdef object _learn
    cdef object _counters

    def __cinit__(self, Table table not None):
        memset(&self._hmac, 0, sizeof(hmac_ctx))
        memset(self._keys, 0, sizeof(self._keys))
        self._table = table
        hmac_init(&self._hmac)

    def __dealloc__(self):
        hmac_free(&self._hmac)
        self._forget_keys()

    def answer(self, list records not None, Py_ssize_t at, terms, list answers not None):
        cdef tuple record
        cdef bytes payload
        cdef const uint8_t* start
        cdef report_update update
        cdef bint asked = False
        while at < len(records):
            record = <tuple?> records[at]
            payload = <bytes?> record[1]
            start = <const uint8_t*> PyBytes_AsString(payload)
            if (
                <uint32_t> record[0] & 0xFF != EVENT_ENDPOINT
                or len(payload) < <Py_ssize_t> sizeof(switch_origin)
                or not _parse(start + sizeof(switch_origin), <size_t> len(payload) - sizeof(switch_origin), &update)
            ):
                break
            if not asked:
                self._take_terms(terms())
                asked = True
            if not self._handle(&update, start, at, answers):
                break
            at += 1
        return at

    def start_hints(self, bytes entries not None, terms):
        cdef const uint8_t* entry = <const uint8_t*> PyBytes_AsString(entries)
        cdef const uint8_t* locator
        cdef report_update nobody
        cdef list hints = []
        cdef Py_ssize_t i
        self._take_terms(terms)
        memset(&nobody, 0, sizeof(nobody))
        nobody.dst = self._switch_id
        for i in range(len(entries) // ENTRY):
            locator = entry + 8
            nobody.src = load_be64(entry)
            if nobody.src and load_be16(locator + 16) and table_lookup(&self._table.table, nobody.src) == NULL:
                hints.append(((<const char*> locator)[:TABLE_LOCATOR], self._hint(&nobody, locator, NO_ECHO)))
            entry += ENTRY
        return hints

    cdef int _take_terms(self, terms) except -1:
        self._switch_id, self._boot_id, self._crl_number = terms.switch_id, terms.boot_id, terms.crl_number
        self._boot, self._wall = terms.boot, terms.wall
        self._current, self._previous = terms.cookie_secrets
        self._revoked, self._pending = terms.revoked, terms.pending
        self._may_challenge, self._learn, self._counters = terms.may_challenge, terms.learn, terms.counters
        if len(self._current) != HMAC_KEY or len(self._previous) != HMAC_KEY:
            raise ValueError(f"cookie secrets have {HMAC_KEY} bytes")
        if terms.ticket_keys is not self._keys_from:
            self._use_keys(terms.ticket_keys)
        return 0

    cdef int _use_keys(self, keys) except -1:
        cdef bytes key
        self._forget_keys()
        for number, key in keys[:KEYS_MAX]:
            if len(key) != HMAC_KEY:
                raise ValueError(f"ticket keys have {HMAC_KEY} bytes")
            aead_init(
                &self._keys[self._key_count].opening, AEAD_AES_256_GCM, <const uint8_t*> PyBytes_AsString(key), NULL,
                False,
            )
            self._keys[self._key_count].number = number
            self._key_count += 1
        self._keys_from = keys
        return 0

    cdef void _forget_keys(self) noexcept:
        cdef int i
        for i in range(self._key_count):
            aead_retire(&self._keys[i].opening)
        self._key_count = 0
        self._keys_from = None

    # -- The rules. False: Python's, and nothing was changed.

    cdef bint _handle(self, const report_update* update, const uint8_t* source, Py_ssize_t at, list answers) except -1:
        cdef table_node* node
        if update.dst != self._switch_id:
            return False
        if update.boot_id != self._boot_id:
            self._count("challenge_boot_id")
            return self._challenge(update, source, at, answers)
        node = table_lookup(&self._table.table, update.src)
        if node != NULL:
            return self._attached(update, node, source, at, answers)
        if self._pending and update.src in self._pending:
            return False
        if update.ticket_length and self._proves(update, source):
            return self._restore(update, source, at, answers)
        self._count("challenge_grant")
        return self._challenge(update, source, at, answers)

    cdef bint _attached(
        self, const report_update* update, table_node* node, const uint8_t* source, Py_ssize_t at, list answers
    ) except -1:
        cdef table_more* more = &self._table.table.more[node - self._table.table.nodes]
        cdef uint8_t* record = more.record
        cdef uint8_t* path = record + RECORD_PATHS + 8 * update.path
        cdef const uint8_t* own
        cdef double ends = load_be32(record + RECORD_ENDS)
        if more.record_length != RECORD_SIZE or self._boot >= ends or load_be16(record + RECORD_GRANT) != update.grant:
            return False
        if update.number <= load_be32(path) or update.kind == REPORT_BYE:
            return False
        if update.kind == REPORT_REFRESH and ends - self._boot < ATTACH_AGAIN_BEFORE:
            return False
        if self._is_revoked(record + RECORD_SERIAL):
            return False
        if _any(update.observed, TABLE_LOCATOR) and memcmp(update.observed, source, TABLE_LOCATOR) != 0:
            return False
        own = node.near + TABLE_LOCATOR * update.path
        if update.path >= TABLE_NEAR:
            own = more.far + TABLE_LOCATOR * (update.path - TABLE_NEAR)
        if (
            node.flags >> PROVISIONAL_SHIFT & 15  # a move is under way
            or table_wants_tail(node) != update.tail  # a change of mind
            or (table_copies(node) >> update.path & 1) != update.copy
            or not node.flags >> (PRESENT_SHIFT + update.path) & 1
            or memcmp(own, source, TABLE_LOCATOR) != 0
        ):
            return False
        if not self._verify(update, record + RECORD_MASTER):
            self._count("report_tag")
            return True
        store_be32(path, update.number)
        store_be32(path + 4, self._lease(update))
        record[RECORD_PRIORITIES + update.path] = update.priority
        if update.kind != REPORT_REFRESH:
            self._confirm(update, node, more)
        credit_set(&node.credit_in, GRACE_CREDIT)
        return self._ack(update, source, record + RECORD_MASTER, at, answers)

    cdef void _confirm(self, const report_update* update, table_node* node, table_more* more) noexcept:
        """A MOVE to where the path is already: `Moves.confirm` without a move under way."""
        cdef uint8_t locators[TABLE_SLOTS * TABLE_LOCATOR]
        cdef int active = slot_of(node.flags, ACTIVE_SHIFT)
        cdef uint32_t kept = <uint32_t> 15 << PRESENT_SHIFT | WISHES
        cdef uint32_t flags = node.flags & kept | <uint32_t> SLOT_NONE << FALLBACK_SHIFT
        if update.number > load_be32(more.record + RECORD_CHANGE):
            store_be32(more.record + RECORD_CHANGE, update.number)
            active = update.path
        elif active == SLOT_NONE:
            active = update.path
        flags |= <uint32_t> active << ACTIVE_SHIFT
        if flags != node.flags:
            memcpy(locators, node.near, sizeof(node.near))
            memcpy(locators + sizeof(node.near), more.far, sizeof(more.far))
            self._table._publish(node, node.id, flags, locators)

    cdef bint _restore(self, const report_update* update, const uint8_t* source, Py_ssize_t at, list answers) except -1:
        """Cookie good, node unknown: `Reports._other_grant` and `Attachments.restore`."""
        cdef uint8_t plaintext[REPORT_TICKET]
        cdef report_ticket ticket
        cdef aead_ctx* opening = NULL
        cdef size_t length = update.ticket_length - KEY_NUMBER - AEAD_NONCE
        cdef uint32_t number
        cdef int i, opened
        if update.ticket_length < KEY_NUMBER + AEAD_NONCE + AEAD_TAG:
            return False
        number = load_be32(update.ticket)
        for i in range(self._key_count):
            if self._keys[i].number == number:
                opening = &self._keys[i].opening
                break
        if opening == NULL:
            return False
        aad = TICKET_LABEL + self._switch_id.to_bytes(8, "big")
        memcpy(plaintext, update.ticket + KEY_NUMBER + AEAD_NONCE, length)
        opened = aead_open(
            opening, update.ticket + KEY_NUMBER, <const uint8_t*> PyBytes_AsString(aad), <size_t> len(aad), plaintext,
            length,
        )
        try:
            if opened < 0 or not _parse_ticket(plaintext, <size_t> opened, &ticket):
                return False
            return self._use_ticket(update, &ticket, source, at, answers)
        finally:
            self._hmac.api.cleanse(plaintext, length)

    cdef bint _use_ticket(
        self, const report_update* update, const report_ticket* ticket, const uint8_t* source, Py_ssize_t at,
        list answers,
    ) except -1:
        cdef uint8_t locators[TABLE_SLOTS * TABLE_LOCATOR]
        cdef uint8_t serial[HMAC_SIZE]
        cdef table_more* more
        cdef uint8_t* record
        cdef table_node* node
        cdef double left = <double> ticket.expires - self._wall
        if ticket.node != update.src or ticket.grant != update.grant or left <= 0:
            return False
        if not self._verify(update, ticket.master):
            return False
        if not sha256(&self._hmac, ticket.serial, ticket.serial_length, serial) or self._is_revoked(serial):
            return False
        if self._table.count == self._table.table.capacity:
            return False
        self._learn(update.src, ticket.grant, _prefixes(ticket))
        node = self._table._insert(update.src)
        more = &self._table.table.more[node - self._table.table.nodes]
        more.record_length = RECORD_SIZE
        record = more.record
        memset(record, 0, RECORD_SIZE)
        memcpy(record + RECORD_MASTER, ticket.master, HMAC_KEY)
        memcpy(record + RECORD_INSTANCE, ticket.instance, 8)
        memcpy(record + RECORD_SERIAL, serial, SERIAL_HASH)
        store_be32(record + RECORD_ENDS, <uint32_t> self._boot + <uint32_t> min(left, <double> GRANT_LIFETIME))
        store_be32(record + RECORD_CHANGE, update.number)
        store_be16(record + RECORD_GRANT, ticket.grant)
        store_be32(record + RECORD_PATHS + 8 * update.path, update.number)
        store_be32(record + RECORD_PATHS + 8 * update.path + 4, self._lease(update))
        record[RECORD_PRIORITIES + update.path] = update.priority
        memset(locators, 0, sizeof(locators))
        memcpy(locators + TABLE_LOCATOR * update.path, source, TABLE_LOCATOR)
        self._table._publish(
            node,
            update.src,
            <uint32_t> update.path << ACTIVE_SHIFT
            | <uint32_t> SLOT_NONE << FALLBACK_SHIFT
            | <uint32_t> 1 << (PRESENT_SHIFT + update.path),
            locators,
        )
        credit_set(&node.credit_in, GRACE_CREDIT)
        credit_set(&node.credit_out, 0)
        self._count("tickets_taken")
        return self._ack(update, source, ticket.master, at, answers)

    # -- Parts of them

    cdef int _count(self, str name) except -1:
        self._counters[name] = self._counters.get(name, 0) + 1
        return 0

    cdef bint _is_revoked(self, const uint8_t* serial) except -1:
        return bool(self._revoked) and (<const char*> serial)[:SERIAL_HASH] in self._revoked

    cdef uint32_t _lease(self, const report_update* update) noexcept:
        return <uint32_t> self._boot + LEASE_KEEPALIVES * update.keepalive + 1

    cdef int _tag(
        self, const uint8_t* master, const char* label, const uint8_t* data, size_t length, uint8_t* tag
    ) except -1:
        """All 32 bytes, under the key that `master` has for this direction."""
        cdef uint8_t key[HMAC_SIZE]
        cdef bint done = hkdf_expand(&self._hmac, master, label, key)
        done = done and hmac_sha256(&self._hmac, key, data, length, tag)
        self._hmac.api.cleanse(key, HMAC_SIZE)
        if not done:
            raise RuntimeError("libcrypto refused to hash")
        return 0

    cdef bint _verify(self, const report_update* update, const uint8_t* master) except -1:
        cdef uint8_t tag[HMAC_SIZE]
        cdef size_t length = update.length - REPORT_TAG
        self._tag(master, b"up", update.data, length, tag)
        return hmac_equal(tag, update.data + length, REPORT_TAG)

    cdef bint _cookie(
        self, bytes secret, const report_update* update, const uint8_t* source, uint8_t* cookie
    ) noexcept:
        """`Hints.cookie`, all 32 bytes of it."""
        cdef uint8_t parts[COOKIE_PARTS]
        memcpy(parts, PyBytes_AsString(COOKIE_LABEL), 12)
        store_be64(parts + 12, update.src)
        store_be64(parts + 20, self._boot_id)
        memcpy(parts + 28, source, TABLE_LOCATOR)
        return hmac_sha256(&self._hmac, <const uint8_t*> PyBytes_AsString(secret), parts, COOKIE_PARTS, cookie)

    cdef bint _proves(self, const report_update* update, const uint8_t* source) noexcept:
        """`Hints.proves`."""
        cdef uint8_t cookie[HMAC_SIZE]
        cdef size_t shown = REPORT_COOKIE if _any(update.cookie + 8, 8) else 8
        if not _any(update.cookie, REPORT_COOKIE):
            return False
        if self._cookie(self._current, update, source, cookie) and hmac_equal(cookie, update.cookie, shown):
            return True
        return self._cookie(self._previous, update, source, cookie) and hmac_equal(cookie, update.cookie, shown)

    cdef bint _challenge(
        self, const report_update* update, const uint8_t* source, Py_ssize_t at, list answers
    ) except -1:
        if self._may_challenge((<const char*> source)[:TABLE_LOCATOR], update.src):
            answers.append((at, self._hint(update, source, update.data + update.length - REPORT_TAG)))
        return True

    cdef bytes _hint(self, const report_update* update, const uint8_t* source, const uint8_t* echo):
        """A CHALLENGE. `echo`: the first 8 bytes of the tag that it answers, or zeros."""
        cdef uint8_t cookie[HMAC_SIZE]
        cdef bytes answer = PyBytes_FromStringAndSize(NULL, REPORT_CHALLENGE_SIZE)
        cdef uint8_t* out = <uint8_t*> PyBytes_AsString(answer)
        if not self._cookie(self._current, update, source, cookie):
            raise RuntimeError("libcrypto refused to hash")
        _answer_head(out, update, REPORT_CHALLENGE, self._boot_id)
        memcpy(out + REPORT_HEAD, cookie, REPORT_COOKIE)
        memcpy(out + REPORT_HEAD + REPORT_COOKIE, echo, REPORT_ECHO)
        return answer

    cdef bint _ack(
        self, const report_update* update, const uint8_t* source, const uint8_t* master, Py_ssize_t at, list answers
    ) except -1:
        """Observed 18, lifetime 2, CRL number 8, proof 8 (none: the locator is confirmed), tag."""
        cdef uint8_t tag[HMAC_SIZE]
        cdef bytes answer = PyBytes_FromStringAndSize(NULL, REPORT_ACK_SIZE)
        cdef uint8_t* out = <uint8_t*> PyBytes_AsString(answer)
        _answer_head(out, update, REPORT_ACK, self._boot_id)
        memcpy(out + 40, source, TABLE_LOCATOR)
        store_be16(out + 58, <uint16_t> (LEASE_KEEPALIVES * update.keepalive))
        store_be64(out + 60, self._crl_number)
        store_be64(out + 68, 0)
        self._tag(master, b"down", out, REPORT_ACK_SIZE - REPORT_TAG, tag)
        memcpy(out + REPORT_ACK_SIZE - REPORT_TAG, tag, REPORT_TAG)
        answers.append((at, answer))
        return True


cdef list _prefixes(const report_ticket* ticket):
    """As `forwarding/directory.py` has them: family × 256 + length, upper and lower 64 bits of the address."""
    cdef list prefixes = []
    cdef const uint8_t* at = ticket.prefixes
    cdef uint32_t kind
    cdef int i
    for i in range(ticket.prefix_count):
        kind = <uint32_t> at[0] << 8 | at[1]
        if at[0] == 4:
            prefixes.append((kind, 0, load_be32(at + 2)))
            at += 6
        else:
            prefixes.append((kind, load_be64(at + 2), load_be64(at + 10)))
            at += 18
    return prefixes
