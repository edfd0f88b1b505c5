"""A kernel that lacks an option, made of one that has it: a seccomp filter refuses it to one thread (seccomp(2))."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.lacks import HAS_SECCOMP, SO_TIMESTAMPNS

Found = TypeVar("Found")

SETSOCKOPT = {"x86_64": 54, "aarch64": 208}.get(platform.machine())
"""Its number among the system calls."""
SOL_SOCKET = 1

needs_seccomp = pytest.mark.skipif(
    SETSOCKOPT is None or not HAS_SECCOMP,
    reason=f"no filter: {'this kernel has no seccomp' if SETSOCKOPT else 'it knows the system calls of two machines'}",
)

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # <linux/filter.h>
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_NUMBER, _LEVEL, _OPTION = 0, 24, 32  # in struct seccomp_data: the call, low halves of its second and third argument


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def in_a_thread(run: Callable[[], Found]) -> Found:
    """What `run` returns or raises, in a thread that ends with it: what it gave up is not given up here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def refuse_timestamps() -> None:
    """From now on the kernel knows no SO_TIMESTAMPNS, for this thread and those that it starts."""
    assert SETSOCKOPT is not None
    wanted = ((_NUMBER, SETSOCKOPT), (_LEVEL, SOL_SOCKET), (_OPTION, SO_TIMESTAMPNS))
    steps: list[tuple[int, int, int, int]] = []
    for index, (field, value) in enumerate(wanted):
        steps += [(_LOAD, 0, 0, field), (_JUMP_IF_EQUAL, 0, 2 * (len(wanted) - index) - 1, value)]
    steps += [(_RETURN, 0, 0, _ERRNO | errno.ENOPROTOOPT), (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(steps), code)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))):
        if libc.prctl(*arguments, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
