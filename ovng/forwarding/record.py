"""What the Switch remembers of one attachment: 128 bytes beside the node's locators.

    report master 32 | private master 32 | instance 8 | serial hash 8 | grant ends 4 | last change 4 | grant 2 |
    flags 1 | reserved 1 | four paths: sequence 4, lease ends 4 | four priorities 1

Path i's confirmed locator is slot i of the table; a provisional locator borrows a free slot (`moves.py`). Times are
whole seconds of the boot clock; 0 = never was. Keys are derived when used. An all-zero private master means that the
attachment was made again from a ticket, which holds none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from ovng.hashes import sha256
from ovng.limits import MAX_PATHS

RECORD_SIZE = 128
MASTER_SIZE = 32
NO_MASTER = bytes(MASTER_SIZE)
FLAG_WANTS_ROUTES = 1  # asked for the route list: is told of changes

_LAYOUT = struct.Struct(">32s32sQ8sIIHBx8I4s")
assert _LAYOUT.size == RECORD_SIZE
_LIMITS = struct.Struct(">I6xBx8I")  # what ageing looks at
_LIMITS_AT = 80


def serial_hash(serial: int) -> bytes:
    """8 bytes for a certificate's serial number (any size): what revocation looks for."""
    return sha256(serial.to_bytes((serial.bit_length() + 7) // 8, "big"))[:8]


@dataclass(slots=True)
class Record:
    """One attachment. `sequence` and `lease` have one entry per path; times in seconds of the boot clock."""

    report_master: bytes = field(repr=False)
    private_master: bytes = field(repr=False)
    instance: int
    serial: bytes
    ends: int
    grant: int
    change: int = 0
    flags: int = 0
    sequence: list[int] = field(default_factory=lambda: [0] * MAX_PATHS)
    lease: list[int] = field(default_factory=lambda: [0] * MAX_PATHS)
    priority: bytearray = field(default_factory=lambda: bytearray(MAX_PATHS))

    @property
    def has_private_keys(self) -> bool:
        return self.private_master != NO_MASTER

    def pack(self) -> bytes:
        """128 bytes."""
        paths = [value for pair in zip(self.sequence, self.lease, strict=True) for value in pair]
        return _LAYOUT.pack(
            self.report_master,
            self.private_master,
            self.instance,
            self.serial,
            self.ends,
            self.change,
            self.grant,
            self.flags,
            *paths,
            bytes(self.priority),
        )

    @classmethod
    def unpack(cls, data: bytes) -> Record:
        """From what `pack` gave."""
        report, private, instance, serial, ends, change, grant, flags, *paths, priority = _LAYOUT.unpack(data)
        return cls(
            report, private, instance, serial, ends, grant, change, flags, paths[::2], paths[1::2], bytearray(priority)
        )


def needs_ageing(data: bytes, boot: float) -> bool:
    """True if a grant or a lease in this packed record has ended by now. Cheap: called for every node in turn."""
    ends, _flags, *paths = _LIMITS.unpack_from(data, _LIMITS_AT)
    return ends <= boot or any(0 < lease <= boot for lease in paths[1::2])


def record_flags(data: bytes) -> int:
    """The flags of a packed record."""
    return int(data[_LIMITS_AT + 10])


def record_grant(data: bytes) -> int:
    """The grant number of a packed record."""
    return int.from_bytes(data[_LIMITS_AT + 8 : _LIMITS_AT + 10], "big")
