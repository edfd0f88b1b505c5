"""Sorts a batch's datagrams by destination and flow, so that few system calls send them.

A send costs far more than what it sends: one segmented send carries up to 128 datagrams of one size to one locator.
Within a batch datagrams for many destinations are interleaved, and for one destination those of many sources, each
with its own size. So parcels are kept in a list per flow (source, destination), flows in a list per destination, both
in the order of arrival; sending goes through the lists, and a parcel joins the message before it where locator and
size allow. Order is kept within each flow, which is all that UDP's users hope for.
"""

from libc.errno cimport EINVAL, ENOMEM
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from ovng._fast.udp cimport (
    UDP_DROP_UNREACHABLE, udp_append, udp_flush, udp_is_mapped, udp_send_run, udp_sender_free, udp_sender_init,
)


cdef int parcels_init(parcel_book* book, int exit_v4, int exit_v6) noexcept nogil:
    memset(book, 0, sizeof(parcel_book))
    book.exit_v4, book.exit_v6 = exit_v4, exit_v6
    book.parcels = <parcel*> calloc(PARCELS_MAX, sizeof(parcel))
    book.flows = <parcel_flow*> calloc(FLOWS_MAX, sizeof(parcel_flow))
    book.slots = <int32_t*> calloc(FLOW_SLOTS, sizeof(int32_t))
    if book.parcels == NULL or book.flows == NULL or book.slots == NULL:
        return -ENOMEM
    memset(book.slots, 0xFF, FLOW_SLOTS * sizeof(int32_t))
    return 0


cdef int parcels_add_socket(parcel_book* book, int fd, unsigned int segments_max) noexcept nogil:
    if book.sockets == PARCELS_SOCKETS:
        return -EINVAL
    book.sockets += 1
    return udp_sender_init(&book.senders[book.sockets - 1], fd, segments_max)


cdef void parcels_free(parcel_book* book) noexcept nogil:
    cdef unsigned int i
    for i in range(book.sockets):
        udp_sender_free(&book.senders[i])
    free(book.parcels)
    free(book.flows)
    free(book.slots)
    memset(book, 0, sizeof(parcel_book))


cdef unsigned int _find(parcel_book* book, uint64_t dst, uint64_t src, uint64_t hashed) noexcept nogil:
    """The index of a flow (src 0: of a destination), a new one included. There is always room: FLOWS_MAX."""
    cdef uint32_t slot = <uint32_t> hashed & (FLOW_SLOTS - 1)
    cdef parcel_flow* flow
    while book.slots[slot] >= 0:
        flow = &book.flows[book.slots[slot]]
        if flow.dst == dst and flow.src == src:
            return <unsigned int> book.slots[slot]
        slot = (slot + 1) & (FLOW_SLOTS - 1)
    flow = &book.flows[book.flows_used]
    flow.dst, flow.src, flow.slot = dst, src, slot
    flow.first = flow.last = flow.next = -1
    book.slots[slot] = <int32_t> book.flows_used
    book.flows_used += 1
    return book.flows_used - 1


cdef parcel_flow* _flow(parcel_book* book, const flow_key* key) noexcept nogil:
    """The flow of a parcel; a new one is listed at its destination."""
    cdef parcel_flow* destination
    cdef parcel_flow* flow = &book.flows[book.latest]
    if book.flows_used > 0 and flow.dst == key.dst and flow.src == key.src:
        return flow
    book.latest = _find(book, key.dst, key.src, key.dst_hash ^ (key.src_hash << 32 | key.src_hash >> 32))
    flow = &book.flows[book.latest]
    if flow.first < 0:
        destination = &book.flows[_find(book, key.dst, 0, key.dst_hash)]
        if destination.first < 0:
            destination.first = <int32_t> book.latest
        else:
            book.flows[destination.last].next = <int32_t> book.latest
        destination.last = <int32_t> book.latest
    return flow


cdef void parcels_post(
    parcel_book* book, const flow_key* key, unsigned char* data, uint32_t length, uint32_t segment, const uint8_t* to
) noexcept nogil:
    cdef parcel_flow* flow
    cdef parcel* new
    cdef int32_t index
    if book.parcels_used == PARCELS_MAX:
        parcels_send(book)
    flow = _flow(book, key)
    index = <int32_t> book.parcels_used
    book.parcels_used += 1
    new = &book.parcels[index]
    new.data, new.length, new.segment = data, length, segment
    new.next = -1
    memcpy(&new.to, to, sizeof(locator))
    if flow.first < 0:
        flow.first = index
    else:
        book.parcels[flow.last].next = index
    flow.last = index


cdef void _send_destination(parcel_book* book, const parcel_flow* destination) noexcept nogil:
    cdef const parcel* opened = NULL  # gave the message under way its locator and segment size
    cdef const parcel* present
    cdef int32_t flow = destination.first
    cdef int32_t at
    cdef int exit = -1
    while flow >= 0:
        at = book.flows[flow].first
        while at >= 0:
            present = &book.parcels[at]
            at = present.next
            if (
                opened != NULL
                and (
                    present.segment == opened.segment
                    or (present.length == present.segment and present.length < opened.segment)  # one alone may end it
                )
                and memcmp(&present.to, &opened.to, sizeof(locator)) == 0
                and udp_append(&book.senders[exit], present.data, present.length)
            ):
                continue
            opened = NULL
            exit = book.exit_v4 if udp_is_mapped(present.to.address) else book.exit_v6
            if exit < 0:
                book.senders[0].counters[UDP_DROP_UNREACHABLE] += (
                    (present.length + present.segment - 1) // present.segment
                )
            elif udp_send_run(&book.senders[exit], &present.to, present.data, present.length, present.segment) == 0:
                opened = present
        flow = book.flows[flow].next


cdef void parcels_send(parcel_book* book) noexcept nogil:
    cdef unsigned int i
    for i in range(book.flows_used):
        if book.flows[i].src == 0:
            _send_destination(book, &book.flows[i])
        book.slots[book.flows[i].slot] = -1
    for i in range(book.sockets):
        udp_flush(&book.senders[i])
    book.flows_used = book.parcels_used = 0
