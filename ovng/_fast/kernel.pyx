"""System calls that Python 3.11 has not. By `ctypes` they would cost a node a third of a megabyte.

All raise OSError.
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.string cimport memset
from posix.time cimport itimerspec
from posix.types cimport time_t

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
    int PR_GET_DUMPABLE
    int PR_SET_DUMPABLE

cdef extern from "<time.h>" nogil:
    int CLOCK_REALTIME

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* wanted, itimerspec* before)
    int TFD_NONBLOCK
    int TFD_CLOEXEC
    int TFD_TIMER_ABSTIME
    int TFD_TIMER_CANCEL_ON_SET


def get_dumpable():
    cdef int value = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    if value < 0:
        PyErr_SetFromErrno(OSError)
    return value


def set_dumpable(int value):
    if prctl(PR_SET_DUMPABLE, <unsigned long> value, 0, 0, 0) < 0:
        PyErr_SetFromErrno(OSError)


def clock_timer():
    cdef int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return fd


def clock_timer_arm(int fd):
    cdef itimerspec never
    memset(&never, 0, sizeof(never))
    # As late as can be said, be `time_t` of 32 bits or of 64.
    never.it_value.tv_sec = <time_t> (1LL << 40 if sizeof(time_t) > 4 else (1LL << 31) - 1)
    if timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0:
        PyErr_SetFromErrno(OSError)
