"""What is measured of a running tunnel, by means that are the same for all.

TCP by iperf3 with cubic, as the receiver counts it; round trips by ping every millisecond; CPU seconds from /proc, of
each process and of the whole machine (what the kernel does in soft interrupts counts in the second only); the most
memory that a process ever held.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.star import Star
from benchmarks.systems import Tunnel
from ovng.demo.net import Process, wait_until
from ovng.errors import SystemProblem

CONGESTION_CONTROL = "cubic"
IPERF_PORT = 5201
PINGS = 1000
PING_INTERVAL = 0.001

Samples = dict[str, float]
"""Metric → one measured value; the metrics and their units are in `report`."""

_TICKS = os.sysconf("SC_CLK_TCK")
_GB = 1e9


class Bench:
    """One tunnel in one star, with an iperf3 server at `b`."""

    def __init__(self, star: Star, tunnel: Tunnel) -> None:
        self._star, self.tunnel = star, tunnel
        self._server = star.b.start("iperf3", "iperf3", "--server", "--bind", tunnel.b)
        wait_until(self._listening, "iperf3 server")

    def turn(self, seconds: float) -> Samples:
        """Everything once; four transfers of `seconds` and a second of pings. Raises SystemProblem."""
        samples: Samples = {}
        for streams in (1, 4):
            for direction in ("ab", "ba"):
                with cpu_used(self.tunnel.processes) as used:
                    transfer = self._tcp(seconds, streams, reverse=direction == "ba")
                key = f"tcp{streams}_{direction}"
                samples[key] = transfer.gbit_s
                if key == "tcp1_ab":
                    gigabytes = transfer.bytes / _GB
                    samples["cpu_machine"] = used.machine / gigabytes
                    samples |= {f"cpu_{role}": spent / gigabytes for role, spent in used.processes.items()}
                    if used.processes:
                        samples["cpu_processes"] = sum(used.processes.values()) / gigabytes
        samples |= self._ping()
        return samples

    def memory(self) -> Samples:
        """The most that each process has ever held, MiB."""
        return {f"rss_{role}": peak_memory(process.pid) for role, process in self.tunnel.processes.items()}

    def _listening(self) -> bool:
        self._server.check()
        return f":{IPERF_PORT} " in self._star.b.run("ss", "-Hltn")

    def _tcp(self, seconds: float, streams: int, reverse: bool) -> Transfer:
        command = ["iperf3", "--json", "--client", self.tunnel.b, "--bind", self.tunnel.a]
        command += ["--time", f"{seconds:g}", "--parallel", str(streams), "--congestion", CONGESTION_CONTROL]
        command += ["--reverse"] if reverse else []
        for process in self.tunnel.processes.values():
            process.check()
        done = subprocess.run(
            self._star.a.command(*command), capture_output=True, text=True, timeout=seconds + 30, check=False
        )
        return read_transfer(done.stdout)

    def _ping(self) -> Samples:
        output = self._star.a.run("ping", "-n", "-c", str(PINGS), "-i", str(PING_INTERVAL), "-W", "1", self.tunnel.b)
        return read_ping(output)


@dataclass(frozen=True)
class Transfer:
    """What arrived."""

    bytes: int
    gbit_s: float


def read_transfer(output: str) -> Transfer:
    """iperf3's JSON, as its receiver counted. Raises SystemProblem with iperf3's word when it failed."""
    try:
        document = json.loads(output)
    except ValueError:
        raise SystemProblem(f"iperf3 said: {output.strip()[:200] or 'nothing'}") from None
    if "error" in document:
        raise SystemProblem(f"iperf3: {document['error']}")
    received, sender = document["end"]["sum_received"], document["end"].get("sender_tcp_congestion")
    if sender not in (None, CONGESTION_CONTROL):
        raise SystemProblem(f"iperf3 used {sender}, not {CONGESTION_CONTROL}")
    if not received["bytes"]:
        raise SystemProblem("nothing arrived")
    return Transfer(received["bytes"], received["bits_per_second"] / 1e9)


def read_ping(output: str) -> Samples:
    """Smallest and median round trip in milliseconds. Raises SystemProblem when none came back."""
    times = [float(found) for found in re.findall(r"time=([\d.]+) ms", output)]
    if not times:
        raise SystemProblem("no ping came back")
    return {"ping_min": min(times), "ping_median": statistics.median(times)}


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


def peak_memory(pid: int) -> float:
    """The largest resident set of a process so far, MiB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
