"""Keeps this process's memory, which holds keys, from core files and from other processes of the same user."""

from __future__ import annotations

import ctypes
import os
import resource

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
