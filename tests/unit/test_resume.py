"""A jump of the clock wakes who waits for it: the kernel tells a resume and a set clock in the same way.

A machine cannot be suspended by a test; its clock is set, by one nanosecond, and set back.
"""

from __future__ import annotations

import ctypes
import errno
import select
from collections.abc import Iterator

import pytest

from ovng.io.resume import ClockJumps

_ADJ_SETOFFSET, _ADJ_NANO = 0x0100, 0x2000  # linux/timex.h


class _Timex(ctypes.Structure):
    """adjtimex(2), as libc has it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("adjustments", ctypes.c_long * 4),
        ("status", ctypes.c_int),
        ("constants", ctypes.c_long * 3),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
        ("rest", ctypes.c_long * 32),
    )


def set_clock(seconds: int, nanoseconds: int) -> None:
    """By so much. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = _Timex(modes=_ADJ_SETOFFSET | _ADJ_NANO, seconds=seconds, nanoseconds=nanoseconds)
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        raise OSError(ctypes.get_errno(), "the clock cannot be set")


@pytest.fixture
def jumps() -> Iterator[ClockJumps]:
    jumps = ClockJumps()
    yield jumps
    jumps.close()


def readable(jumps: ClockJumps, seconds: float) -> bool:
    return bool(select.select([jumps], [], [], seconds)[0])


def test_a_jump_is_told_once_and_the_next_one_too(jumps: ClockJumps) -> None:
    assert not readable(jumps, 0.0)
    try:
        set_clock(0, 1)
    except OSError as error:
        if error.errno == errno.EPERM:
            pytest.skip("needs CAP_SYS_TIME")
        raise
    assert readable(jumps, 5.0)
    jumps.take()
    assert not readable(jumps, 0.0)
    set_clock(-1, 999_999_999)
    assert readable(jumps, 5.0)


def test_taking_without_a_jump_is_harmless(jumps: ClockJumps) -> None:
    jumps.take()
    assert not readable(jumps, 0.0)
