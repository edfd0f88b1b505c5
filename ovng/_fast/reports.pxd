"""The fields of a report and the places in a record that `reports.pyx` reads and writes (PROTOCOL 6)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef enum report_kind:
    REPORT_REFRESH = 1
    REPORT_MOVE = 2
    REPORT_CONFIRM = 3
    REPORT_BYE = 4
    REPORT_ACK = 16
    REPORT_CHALLENGE = 32

cdef enum:
    REPORT_HEAD = 40  # header and common part
    REPORT_UPDATE = 92
    REPORT_ACK_SIZE = 92
    REPORT_CHALLENGE_SIZE = 64
    REPORT_TAG = 16
    REPORT_COOKIE = 16
    REPORT_ECHO = 8
    REPORT_TICKET = 512  # at most

    # forwarding/record.py
    RECORD_SIZE = 128
    RECORD_MASTER = 0
    RECORD_INSTANCE = 64
    RECORD_SERIAL = 72
    RECORD_ENDS = 80
    RECORD_CHANGE = 84
    RECORD_GRANT = 88
    RECORD_PATHS = 92  # sequence 4, lease 4 of each path
    RECORD_PRIORITIES = 124
    SERIAL_HASH = 8

# A well-formed REFRESH, MOVE, CONFIRM or BYE; the pointers are into the datagram.
cdef struct report_update:
    const uint8_t* data
    size_t length
    uint8_t kind
    uint8_t path
    bint tail
    bint copy
    uint8_t priority
    uint16_t grant
    uint16_t keepalive
    uint32_t number
    uint64_t dst
    uint64_t src
    uint64_t boot_id
    const uint8_t* observed
    const uint8_t* cookie
    const uint8_t* ticket
    size_t ticket_length

# An opened ticket; the pointers are into the plaintext.
cdef struct report_ticket:
    uint64_t node
    uint16_t grant
    uint64_t expires
    const uint8_t* instance
    const uint8_t* serial
    size_t serial_length
    const uint8_t* master
    int prefix_count
    const uint8_t* prefixes  # each: family 1, length 1, address 4 or 16
