"""Sorts a batch's datagrams by destination and flow, and sends them. The theory is in `parcels.pyx`."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from ovng._fast.udp cimport locator, udp_sender


cdef enum:
    PARCELS_SOCKETS = 16
    PARCELS_MAX = 2048  # held until the next send
    FLOWS_MAX = 2 * PARCELS_MAX  # a flow and a destination for each
    FLOW_SLOTS = 2 * FLOWS_MAX


# Who sends to whom, with the (keyed) hashes of both.
cdef struct flow_key:
    uint64_t src
    uint64_t dst
    uint64_t src_hash
    uint64_t dst_hash


# Datagrams that lie back to back and go to one place. They stay where they are until they are sent.
cdef struct parcel:
    unsigned char* data
    uint32_t length
    uint32_t segment  # every datagram has this length, the last may be shorter
    int32_t next  # of the same flow, -1 at its end
    locator to


# With src 0, which no node has: a destination, whose list is of flows and not of parcels.
cdef struct parcel_flow:
    uint64_t dst
    uint64_t src
    int32_t first
    int32_t last
    int32_t next  # flow of the same destination
    uint32_t slot


cdef struct parcel_book:
    parcel* parcels
    unsigned int parcels_used
    parcel_flow* flows
    unsigned int flows_used
    unsigned int latest  # the flow of the last parcel
    int32_t* slots  # open addressing: index of a flow, -1 empty
    udp_sender senders[PARCELS_SOCKETS]
    unsigned int sockets
    int exit_v4  # the sender for IPv4 destinations, -1 none
    int exit_v6


# 0, or -errno. Free also what failed half-way.
cdef int parcels_init(parcel_book* book, int exit_v4, int exit_v6) noexcept nogil
cdef int parcels_add_socket(parcel_book* book, int fd, unsigned int segments_max) noexcept nogil
cdef void parcels_free(parcel_book* book) noexcept nogil
# Adds datagrams of one flow. Sends what is held when there is no room.
cdef void parcels_post(
    parcel_book* book, const flow_key* key, unsigned char* data, uint32_t length, uint32_t segment, const uint8_t* to
) noexcept nogil
cdef void parcels_send(parcel_book* book) noexcept nogil
