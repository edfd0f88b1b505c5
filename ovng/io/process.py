"""Processes: keeps our memory, which holds keys, from core files and other processes of our user; waits for others."""

from __future__ import annotations

import ctypes
import os
import resource
import select

from ovng.errors import SystemProblem

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def harden() -> None:
    """No core file, no ptrace and no /proc/PID/mem for others of our user (prctl(2)). Raises SystemProblem."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _prctl(_PR_SET_DUMPABLE, 0) != 0:
        raise SystemProblem(f"this process cannot be kept from core dumps: {os.strerror(ctypes.get_errno())}")


def is_dumpable() -> bool:
    """Whether other processes of our user may look into this one."""
    return _prctl(_PR_GET_DUMPABLE, 0) == 1


def _prctl(option: int, value: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    return int(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))


def wait_for_exit(pid: int, seconds: float) -> bool:
    """Wait until another process has ended; False when it has not within `seconds`. Raises SystemProblem."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError as error:
        raise SystemProblem(f"process {pid} cannot be waited for: {error.strerror}") from None
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
