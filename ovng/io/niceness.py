"""How far ahead of other programs a service runs: the nice value (setpriority(2), sched(7)).

What passes a tunnel waits wherever a loop waits for a processor. Where applications, nodes and a Switch share few
cores, each would wait for the time slices of those that it serves: a ping beside a saturating stream took 1.0 ms, with
the default 0.3 (idle 0.14; two cores, medians of 7 turns), and the stream gained a twentieth. A kernel's own tunnel
runs ahead of all programs; this one leaves them a thirtieth of a processor that it needs all the time.
"""

from __future__ import annotations

import os
import threading

from ovng import limits


def go_ahead(nice: int) -> tuple[str, ...]:
    """Give the calling thread, and those that it starts, this nice value, -20 … 19. What people should know of it."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        return (f"nice {nice} is not permitted (RLIMIT_NICE, CAP_SYS_NICE): under load, traffic waits for programs",)
    return ()


def step_back() -> None:
    """Let the calling thread run as other programs do. What others wrote, and we only start, does that."""
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def is_permitted(nice: int = limits.NICE) -> bool:
    """Whether `go_ahead` would succeed, tried in a thread of its own."""
    said: list[tuple[str, ...]] = []
    trial = threading.Thread(target=lambda: said.append(go_ahead(nice)), name="ovng-nice")
    trial.start()
    trial.join()
    return said == [()]
