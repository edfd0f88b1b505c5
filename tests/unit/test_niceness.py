"""Threads that run ahead of other programs, where that is permitted, and say so where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ovng
from ovng import limits
from ovng.io import niceness
from ovng.io.machine import has_capability

STRANGER = 65_534
TRY = f"""
import os, resource
from ovng.io import niceness
resource.setrlimit(resource.RLIMIT_NICE, (ALLOWED, ALLOWED))
os.setgid({STRANGER}), os.setuid({STRANGER})
print(niceness.is_permitted(), niceness.go_ahead({limits.NICE}), os.getpriority(os.PRIO_PROCESS, 0))
"""


def nice_of_this_thread() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def in_a_thread_ahead() -> tuple[tuple[str, ...], int, int, int]:
    said = niceness.go_ahead(-7)
    own = nice_of_this_thread()
    with ThreadPoolExecutor(1) as pool:
        inherited = pool.submit(nice_of_this_thread).result()
    niceness.step_back()
    return said, own, inherited, nice_of_this_thread()


def as_a_stranger(limit: int) -> str:
    """What a process without root's powers finds; `limit` is RLIMIT_NICE (getrlimit(2): 20 - nice)."""
    source = Path(ovng.__file__).parent.parent
    command = [sys.executable, "-c", TRY.replace("ALLOWED", str(limit))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=source)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.root
def test_one_thread_and_those_that_it_starts() -> None:
    before = nice_of_this_thread()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(in_a_thread_ahead).result() == ((), -7, -7, 0)
    assert niceness.is_permitted()
    assert nice_of_this_thread() == before


@pytest.mark.root
def test_without_permission_one_line_says_what_follows() -> None:
    advice = f"nice {limits.NICE} is not permitted (RLIMIT_NICE, CAP_SYS_NICE): under load, traffic waits for programs"
    assert as_a_stranger(0) == f"False ({advice!r},) 0"


@pytest.mark.root
@pytest.mark.skipif(not has_capability(24), reason="raises a limit, which needs CAP_SYS_RESOURCE")
def test_a_limit_permits_it_without_a_capability() -> None:
    """As the systemd units give it."""
    assert as_a_stranger(20 - limits.NICE) == f"True () {limits.NICE}"


def test_who_is_behind_others_stays_there() -> None:
    def behind() -> int:
        os.setpriority(os.PRIO_PROCESS, 0, 11)
        niceness.step_back()
        return nice_of_this_thread()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(behind).result() == 11
