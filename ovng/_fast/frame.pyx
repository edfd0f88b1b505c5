"""Python's view of the header: what tests and counters need. See `frame.pxd`."""

from cpython.bytes cimport PyBytes_AsString

DROP_NAMES = {
    FRAME_BAD_LENGTH: "header_length",
    FRAME_BAD_VERSION: "header_version",
    FRAME_BAD_TYPE: "header_type",
    FRAME_BAD_FLAGS: "header_flags",
    FRAME_SOURCE_ZERO: "source_zero",
    FRAME_SOURCE_IS_DESTINATION: "source_is_destination",
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
