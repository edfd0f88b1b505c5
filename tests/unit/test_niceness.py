"""Threads that run ahead of other programs, where that is permitted, and say so where it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

import ovng
from ovng import limits
from ovng.io import niceness
from ovng.io.machine import has_capability

T = TypeVar("T")

permitted = pytest.mark.skipif(not niceness.is_permitted(), reason="needs CAP_SYS_NICE")
STRANGER = 65_534
TRY = f"""
import os, resource
from ovng.io import niceness
os.setpriority(os.PRIO_PROCESS, 0, 0)
resource.setrlimit(resource.RLIMIT_NICE, (ALLOWED, ALLOWED))
os.setgid({STRANGER}), os.setuid({STRANGER})
print(niceness.is_permitted(), niceness.go_ahead({limits.NICE}), os.getpriority(os.PRIO_PROCESS, 0))
"""


def mine() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def in_a_thread(call: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def in_a_program() -> int:
    """As `nice` says it."""
    return int(subprocess.run(["nice"], capture_output=True, text=True, check=True).stdout)


def as_a_stranger(limit: int) -> str:
    """What a process without root's powers finds; `limit` is RLIMIT_NICE (getrlimit(2): 20 - nice)."""
    source = Path(ovng.__file__).parent.parent
    command = [sys.executable, "-c", TRY.replace("ALLOWED", str(limit))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=source)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@permitted
def test_one_thread_and_those_that_it_starts() -> None:
    before = mine()
    assert in_a_thread(lambda: (niceness.go_ahead(-7), mine(), in_a_thread(mine))) == ((), -7, -7)
    assert mine() == before


@permitted
def test_what_it_starts_for_others_does_not_run_ahead() -> None:
    def start() -> tuple[int, int, int]:
        niceness.go_ahead(-7)
        with niceness.as_others():
            told = in_a_program()
        return told, in_a_program(), mine()

    assert in_a_thread(start) == (0, -7, -7)


@permitted
def test_who_is_behind_others_stays_there() -> None:
    def behind() -> tuple[int, int]:
        os.setpriority(os.PRIO_PROCESS, 0, 11)
        with niceness.as_others():
            told = in_a_program()
        return told, mine()

    assert in_a_thread(behind) == (11, 11)


@permitted
@pytest.mark.root
def test_without_permission_one_line_says_what_follows() -> None:
    advice = f"nice {limits.NICE} is not permitted (RLIMIT_NICE, CAP_SYS_NICE): under load, traffic waits for programs"
    assert as_a_stranger(0) == f"False ({advice!r},) 0"


@permitted
@pytest.mark.root
@pytest.mark.skipif(not has_capability(24), reason="raises a limit, which needs CAP_SYS_RESOURCE")
def test_a_limit_permits_it_without_a_capability() -> None:
    """As the systemd units give it."""
    assert as_a_stranger(20 - limits.NICE) == f"True () {limits.NICE}"


TOGETHER = """
import time
from ovng.io import niceness
niceness.go_ahead(5), niceness.go_ahead(6)  # the second one comes too soon
end = time.monotonic() + 10
while not niceness.AUTOGROUP.read_text().endswith(" nice 6\\n") and time.monotonic() < end:
    time.sleep(0.01)
print(niceness.AUTOGROUP.read_text().split()[-1])
"""


@pytest.mark.root
@pytest.mark.skipif(not niceness.AUTOGROUP.exists(), reason="a kernel without autogroups")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_services_that_start_together_all_set_their_session() -> None:
    """Who is no administrator of the machine may change one in a tenth of a second, and is told to try again."""
    command = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", sys.executable, "-c", TOGETHER]
    source = Path(ovng.__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=source, start_new_session=True)
    assert (done.stdout, done.returncode) == ("6\n", 0), done.stderr
