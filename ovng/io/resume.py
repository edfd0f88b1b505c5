"""Wakes its owner when the machine has been suspended, at the moment it resumes, and never in between.

A timer that is never due, on CLOCK_REALTIME and with TFD_TIMER_CANCEL_ON_SET, becomes readable (ECANCELED) whenever
the distance between wall clock and CLOCK_MONOTONIC jumps: on resume, as the monotonic clock stood still meanwhile, and
when somebody sets the clock (timerfd_create(2); `timerfd_resume` in the kernel's timekeeping). Which of the two it was
the owner tells by CLOCK_BOOTTIME.
"""

from __future__ import annotations

import ctypes
import os

from ovng.errors import SystemProblem

_CLOCK_REALTIME = 0
_ABSTIME, _CANCEL_ON_SET = 1, 2
_NEVER = 1 << 40 if ctypes.sizeof(ctypes.c_long) > 4 else (1 << 31) - 1  # as late as can be said


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class ClockJumps:
    """`fileno` is readable after a jump; `take` then waits for the next one. Raises SystemProblem without timerfd."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _problem()
        self._wait()

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def take(self) -> None:
        """It was readable."""
        try:
            os.read(self._fd, 8)
        except OSError:  # ECANCELED: a jump
            pass
        self._wait()

    def _wait(self) -> None:
        setting = _Setting(_Timespec(0, 0), _Timespec(_NEVER, 0))
        flags = _ABSTIME | _CANCEL_ON_SET
        if self._libc.timerfd_settime(self._fd, flags, ctypes.byref(setting), None) < 0:
            raise _problem()


def _problem() -> SystemProblem:
    reason = os.strerror(ctypes.get_errno())
    return SystemProblem(f"sleep of this machine cannot be noticed (timerfd: {reason})")
