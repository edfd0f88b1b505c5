"""What running costs: CPU seconds from /proc, of each process and of the whole machine, and peak memory.

What the kernel does in soft interrupts counts in the machine's figure only, or in that of the process that was running.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ovng.demo.net import Process

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
SETTLED_SECONDS = 60
GROWTH_MAX = 2.0  # MiB


@dataclass
class CpuUsed:
    """CPU seconds between two moments; filled in at the second."""

    machine: float = 0.0
    processes: dict[str, float] = field(default_factory=dict)


@contextmanager
def cpu_used(processes: Mapping[str, Process]) -> Iterator[CpuUsed]:
    """What the machine and the processes spend meanwhile."""
    used = CpuUsed()
    machine, before = machine_seconds(), {role: process_seconds(process.pid) for role, process in processes.items()}
    yield used
    used.machine = machine_seconds() - machine
    used.processes = {role: process_seconds(process.pid) - before[role] for role, process in processes.items()}


def machine_seconds() -> float:
    """CPU seconds that all cores have worked since boot: all of /proc/stat but idle, waiting and stolen time."""
    with Path("/proc/stat").open() as file:
        user, nice, system, _idle, _wait, interrupt, soft = map(int, file.readline().split()[1:8])
    return (user + nice + system + interrupt + soft) / _TICKS


def process_seconds(pid: int) -> float:
    """CPU seconds of a process, all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_memory(pid: int) -> float:
    """The resident set of a process now, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * _PAGE / (1 << 20)


@dataclass(frozen=True)
class Resident:
    """At one moment: seconds since the start, MiB of each process."""

    seconds: float
    memory: Mapping[str, float]


def growth(samples: Sequence[Resident], settled: float = SETTLED_SECONDS, most: float = GROWTH_MAX) -> list[str]:
    """What has grown by more than `most` MiB since `settled` seconds after the start."""
    counted = [sample.memory for sample in samples if sample.seconds >= settled]
    if len(counted) < 2:
        return []
    first, last = counted[0], counted[-1]
    return [
        f"{name}: memory grew from {first[name]:.1f} to {last[name]:.1f} MiB"
        for name in first
        if last[name] - first[name] > most
    ]


def peak_memory(pid: int) -> float:
    """The largest resident set of a process so far, MiB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
