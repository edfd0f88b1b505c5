"""The compiled header parser against the one in Python: the same fields, or the same fault."""

from __future__ import annotations

from ovng._fast import frame
from ovng.errors import Malformed
from ovng.wire.header import parse_header


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    fast = frame.parse(data)
    try:
        slow = tuple(parse_header(data))
    except Malformed as error:
        assert isinstance(fast, int) and frame.DROP_NAMES[fast] == error.reason
        return
    assert fast == slow
    assert frame.build(*fast) == data[:28]
