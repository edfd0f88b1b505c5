"""Python's view of the header: what tests and counters need. See `frame.pxd`."""

from cpython.bytes cimport PyBytes_AsString

# The names `wire.header.parse_header` gives the same faults.
DROP_NAMES = {
    FRAME_SHORT: "too_short",
    FRAME_LONG: "too_long",
    FRAME_BAD_VERSION: "version",
    FRAME_BAD_TYPE: "type",
    FRAME_BAD_FLAGS: "flags",
    FRAME_SOURCE_ZERO: "src_zero",
    FRAME_SOURCE_IS_DESTINATION: "src_is_dst",
}


def parse(bytes packet not None):
    """(type, key ID, flags, dst, src, number), or the drop reason's number (negative)."""
    cdef frame_header header
    cdef int kind = frame_parse(<const uint8_t*> PyBytes_AsString(packet), <size_t> len(packet), &header)
    if kind < 0:
        return kind
    return kind, header.key_id, header.flags, header.dst, header.src, header.number


def build(uint8_t type, uint8_t key_id, uint16_t flags, uint64_t dst, uint64_t src, uint64_t number):
    """The 28 header bytes. Fields out of their width raise OverflowError; their meaning is not checked."""
    cdef frame_header header
    cdef uint8_t packet[FRAME_HEADER]
    if type > 15:
        raise OverflowError("a type has 4 bits")
    header.type, header.key_id, header.flags = type, key_id, flags
    header.dst, header.src, header.number = dst, src, number
    frame_write(packet, &header)
    return (<char*> packet)[:FRAME_HEADER]
