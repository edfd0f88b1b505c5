"""Another wall clock for one process, by a library before libc: a namespace has no CLOCK_REALTIME of its own.

How far it is off stands in a file that the library has mapped, so that it can jump while the process runs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ovng.demo.net import run

SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *ahead;

__attribute__((constructor)) static void map(void) {
    int file = open(getenv("WALL_CLOCK_SHIFT"), O_RDONLY | O_CLOEXEC);
    void *found = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (found == MAP_FAILED)
        abort();
    ahead = found;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead;
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
_LONG = 8


class WallClock:
    """A clock that processes with `env` read; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        library, self._shift = folder / "wallclock.so", folder / "wallclock-shift"
        if not library.exists():
            source = folder / "wallclock.c"
            source.write_text(SHIM)
            run("gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source))
        self.shift(0)
        self.env = {"LD_PRELOAD": str(library), "WALL_CLOCK_SHIFT": str(self._shift)}

    def shift(self, seconds: int) -> None:
        """From now on it is so far ahead."""
        file = os.open(self._shift, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, seconds.to_bytes(_LONG, "little", signed=True), 0)
        finally:
            os.close(file)


def to_1970() -> int:
    """Seconds from now to the third hour of 1970."""
    return 3 * 3_600 - int(time.time())
