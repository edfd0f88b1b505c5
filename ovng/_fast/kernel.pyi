def get_dumpable() -> int:
    """prctl(PR_GET_DUMPABLE)."""

def set_dumpable(value: int) -> None:
    """prctl(PR_SET_DUMPABLE)."""

def clock_timer() -> int:
    """timerfd_create(CLOCK_REALTIME): a descriptor, non-blocking, closed by exec."""

def clock_timer_arm(fd: int) -> None:
    """Never due, but cancelled when the clock is set (TFD_TIMER_CANCEL_ON_SET)."""
