"""Wakes its owner when the machine has been suspended, at the moment it resumes, and never in between.

A timer that is never due, on CLOCK_REALTIME and with TFD_TIMER_CANCEL_ON_SET, becomes readable (ECANCELED) whenever
the distance between wall clock and CLOCK_MONOTONIC jumps: on resume, as the monotonic clock stood still meanwhile, and
when somebody sets the clock (timerfd_create(2); `timerfd_resume` in the kernel's timekeeping). Which of the two it was
the owner tells by CLOCK_BOOTTIME.
"""

from __future__ import annotations

import os

from ovng._fast import kernel
from ovng.errors import SystemProblem


class ClockJumps:
    """`fileno` is readable after a jump; `take` then waits for the next one. Raises SystemProblem without timerfd."""

    def __init__(self) -> None:
        try:
            self._fd = kernel.clock_timer()
            kernel.clock_timer_arm(self._fd)
        except OSError as error:
            raise SystemProblem(f"sleep of this machine cannot be noticed (timerfd: {error.strerror})") from None

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
        kernel.clock_timer_arm(self._fd)
