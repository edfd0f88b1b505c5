"""Processes: keeps our memory, which holds keys, from core files and other processes of our user; waits for others."""

from __future__ import annotations

import os
import resource
import select

from ovng._fast import kernel
from ovng.errors import SystemProblem


def harden() -> None:
    """No core file, no ptrace and no /proc/PID/mem for others of our user (prctl(2)). Raises SystemProblem."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        kernel.set_dumpable(0)
    except OSError as error:
        raise SystemProblem(f"this process cannot be kept from core dumps: {error.strerror}") from None


def is_dumpable() -> bool:
    """Whether other processes of our user may look into this one."""
    return kernel.get_dumpable() == 1


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
