"""Wrong clocks: a machine that boots in 1970 or is an hour off attaches and talks, and is told that its clock is wrong.

Only the wall clock (CLOCK_REALTIME) of one process is shifted, by a library put before libc: namespaces have no wall
clock of their own, and what counts time in ovng must not notice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovng.demo.deployment import Member
from ovng.demo.net import run
from tests.netns.rig import Rig, deployed, ping, say

pytestmark = pytest.mark.root

HOUR = 3_600
SHIM = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) { return atol(getenv("WALL_CLOCK_SHIFT")); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    run("gcc", "-shared", "-fPIC", "-O1", "-o", str(folder / "shim.so"), str(folder / "shim.c"))
    return folder / "shim.so"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with deployed(start=False) as made:
        yield made


def to_1970() -> int:
    """Seconds from now to the third hour of 1970."""
    return 3 * HOUR - int(time.time())


WRONG = {"1970": None, "an hour behind": -HOUR, "an hour ahead": HOUR}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("whose", ["the nodes'", "the Switch's"])
def test_a_wrong_clock_keeps_nobody_away(rig: Rig, shim: Path, whose: str, wrong: str) -> None:
    shift = WRONG[wrong] or to_1970()
    env = {"LD_PRELOAD": str(shim), "WALL_CLOCK_SHIFT": str(shift)}
    off = (rig.switch,) if whose == "the Switch's" else (rig.alice,)  # bob's is always right
    members = (rig.switch, *rig.nodes)
    try:
        for member in members:
            member.start(env=env if member in off else None)
            member.wait("start", kind="switch" if member is rig.switch else "node")
        for node in rig.nodes:
            node.wait("attachment", attached=True)
        ping(rig.alice, rig.bob.addresses[0])
        ping(rig.bob, rig.alice.addresses[1])
        for member in members:
            if member not in off:
                assert not told(member), "a right clock was called wrong"
            elif shift < 0:
                assert told(member), "nobody says that this clock is wrong"
                assert "clock is wrong" in (member.process.output if member.process else "")
        (wrong_one,) = off
        assert wrong_one.process is not None
        year = re.match(r"\d{4}", wrong_one.process.output)
        assert year and year[0] == time.strftime("%Y", time.gmtime(time.time() + shift)), "the shim did not work"
        say(f"{whose} clock {wrong}: all attached, ping both ways; {told(wrong_one) or ['not noticed']}")
    finally:
        for member in reversed(members):
            if member.process is not None:
                member.stop()


def told(member: Member) -> list[str]:
    """What its status says about its clock."""
    return [line for line in member.status()["warnings"] if "clock is wrong" in line]
