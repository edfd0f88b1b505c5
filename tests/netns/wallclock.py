"""Another wall clock for one process, by a library before libc: a namespace has no CLOCK_REALTIME of its own."""

from __future__ import annotations

from pathlib import Path

from ovng.demo.net import run

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


def shifted(folder: Path, seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is `seconds` ahead; the library is made in `folder`."""
    library = folder / "wallclock.so"
    if not library.exists():
        source = folder / "wallclock.c"
        source.write_text(SHIM)
        run("gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source))
    return {"LD_PRELOAD": str(library), "WALL_CLOCK_SHIFT": str(seconds)}
