"""What a kernel may lack, found out by asking it: marks that skip a test where it does, with a reason that names it.

Linux lacks none of this, so on a machine of its own no test is skipped by these. What runs foreign programs (qemu's
user mode) stands between them and the kernel: it passes on the options that it knows, and lives in the process that it
runs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SO_TIMESTAMPNS, SO_MARK = 35, 36  # <asm-generic/socket.h>
IP_RECVORIGDSTADDR = 20  # <linux/in.h>
SOL_UDP, UDP_SEGMENT = 17, 103  # <linux/udp.h>

_PR_GET_SECCOMP = 21


def _has_option(level: int, option: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(level, option, 1)
        except OSError as error:
            return error.errno != errno.ENOPROTOOPT
    return True


def _tells_device() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        except OSError as error:
            return error.errno != errno.EINVAL
    return True


def _cuts_segments() -> bool:
    """Whether one send becomes as many datagrams as it says: the size passes in a control message."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendmsg([bytes(30)], [(SOL_UDP, UDP_SEGMENT, (10).to_bytes(2, sys.byteorder))], 0, sock.getsockname())
        return len(sock.recv(30)) == 10


def _counts_only_own_memory() -> bool:
    """Whether what is counted for this process is what it has mapped, and not a multiple."""
    ranges = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
    mapped = sum(int(end, 16) - int(start, 16) for start, end in ranges)
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") < 2 * mapped


def _describes_own_processor() -> bool:
    """Whether /proc/cpuinfo has its `flags` where the processor is an x86, and nowhere else."""
    keys = {line.partition(":")[0].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()}
    return ("flags" in keys) == (platform.machine() in ("x86_64", "i686"))


def foreign_threads() -> int:
    """Threads of a process beside its own: what an interpreter that has just begun has, but one."""
    count = "import os; print(len(os.listdir('/proc/self/task')))"
    return int(subprocess.run([sys.executable, "-c", count], stdout=subprocess.PIPE, check=True).stdout) - 1


HAS_GSO = _cuts_segments()
HAS_SECCOMP = ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0

needs_gso = pytest.mark.skipif(not HAS_GSO, reason="this kernel does not cut what is sent at UDP_SEGMENT")
needs_timestamps = pytest.mark.skipif(
    not _has_option(socket.SOL_SOCKET, SO_TIMESTAMPNS), reason="this kernel has no SO_TIMESTAMPNS"
)
needs_marks = pytest.mark.skipif(not _has_option(socket.SOL_SOCKET, SO_MARK), reason="this kernel has no SO_MARK")
needs_original_destinations = pytest.mark.skipif(
    not _has_option(socket.IPPROTO_IP, IP_RECVORIGDSTADDR), reason="this kernel has no IP_RECVORIGDSTADDR"
)
needs_told_device = pytest.mark.skipif(not _tells_device(), reason="this kernel does not tell SO_BINDTODEVICE")
needs_own_processor = pytest.mark.skipif(
    not _describes_own_processor(), reason="/proc/cpuinfo describes another machine's processor"
)
needs_own_memory = pytest.mark.skipif(
    not _counts_only_own_memory(), reason="more memory is counted for a process than it has mapped: an emulator's"
)
