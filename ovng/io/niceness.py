"""How far ahead of other programs a service runs: the nice value (setpriority(2), sched(7)).

What passes a tunnel waits wherever a loop waits for a processor. Where applications, nodes and a Switch share few
cores, each would wait for the time slices of those that it serves: a ping beside a saturating stream took 1.0 ms, with
the default 0.3 (idle 0.14; two cores, medians of 7 turns), and the stream gained a twentieth. A kernel's own tunnel
runs ahead of all programs; this one leaves them a thirtieth of a processor that it needs all the time.

The kernel compares nice values within a session only (autogroup, sched(7)), and within a control group that has a share
of processor time of its own. A service is a session by itself, whose own value is set, too; of control groups
ARCHITECTURE says what to do.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ovng import limits

AUTOGROUP = Path("/proc/self/autogroup")
TRIES, AGAIN_SECONDS = 20, 0.11

log = logging.getLogger(__name__)


def go_ahead(nice: int) -> tuple[str, ...]:
    """Give the calling thread, and those that it starts, this nice value, -20 … 19, and the session if it is our own.

    What people should know of it.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        if os.getsid(0) == os.getpid():
            _set_session(nice)
    except OSError:
        return (f"nice {nice} is not permitted (RLIMIT_NICE, CAP_SYS_NICE): under load, traffic waits for programs",)
    return ()


def _set_session(nice: int) -> None:
    try:
        AUTOGROUP.write_text(str(nice))
    except FileNotFoundError:  # a kernel without autogroups compares all
        pass
    except BlockingIOError:
        threading.Thread(target=_set_session_later, args=(nice,), name="ovng-session", daemon=True).start()


def _set_session_later(nice: int) -> None:
    """The kernel takes one such change in a tenth of a second, of the whole machine: services may start together."""
    pause = threading.Event()
    for _ in range(TRIES):
        pause.wait(AGAIN_SECONDS)
        with suppress(BlockingIOError):
            AUTOGROUP.write_text(str(nice))
            return
    log.warning("nice %d: the kernel does not take it for the session: traffic waits for other sessions", nice)


@contextmanager
def as_others() -> Iterator[None]:
    """What the calling thread starts meanwhile runs as other programs do, and not ahead of them."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, max(nice, 0))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, nice)


def is_permitted(nice: int = limits.NICE) -> bool:
    """Whether a process of ours may have this nice value, tried in a thread of its own."""
    return _tried(lambda: os.setpriority(os.PRIO_PROCESS, 0, nice))


def has_moderation() -> bool:
    """Whether a thread may choose not to interrupt others (SCHED_BATCH), tried in one."""
    return _tried(lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)))


def _tried(call: Callable[[], None]) -> bool:
    refused: list[OSError] = []

    def work() -> None:
        try:
            call()
        except OSError as error:
            refused.append(error)

    trial = threading.Thread(target=work, name="ovng-nice")
    trial.start()
    trial.join()
    return not refused
