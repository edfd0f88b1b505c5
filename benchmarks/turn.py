"""A system's turn: everything that is measured of it, by means that are the same for all.

The metrics and their units are in `metrics`.
"""

from __future__ import annotations

from benchmarks.latency import ping
from benchmarks.star import Star
from benchmarks.systems import Tunnel
from benchmarks.tcp import TcpMeter, Transfer
from benchmarks.udp import carried
from benchmarks.usage import cpu_used, peak_memory

IDLE_PINGS, IDLE_INTERVAL = 1000, 0.001
LOADED_PINGS, LOADED_INTERVAL = 150, 0.01
STREAM_SECONDS = 2
"""Of the transfer beside which they are sent."""
_GB = 1e9

Samples = dict[str, float]
"""Metric → one measured value."""


class Bench:
    """One tunnel in one star."""

    def __init__(self, star: Star, tunnel: Tunnel) -> None:
        self.star, self.tunnel = star, tunnel
        self._tcp = TcpMeter(star, tunnel)

    def started(self) -> Samples:
        """What its start took."""
        first = self.tunnel.first_ping
        return {} if first is None else {"first_ping": first}

    def transfers(self, seconds: int) -> Samples:
        """Four TCP transfers of `seconds`; what the first costs. Raises SystemProblem."""
        with cpu_used(self.tunnel.processes) as used:
            first = self._transfer(seconds, 1)
        gigabytes = first.bytes / _GB
        samples = {"tcp1_ab": first.gbit_s, "cpu_machine": used.machine / gigabytes}
        samples |= {f"cpu_{role}": spent / gigabytes for role, spent in used.processes.items()}
        if used.processes:
            samples["cpu_processes"] = sum(used.processes.values()) / gigabytes
        samples["tcp1_ba"] = self._transfer(seconds, 1, reverse=True).gbit_s
        samples["tcp4_ab"] = self._transfer(seconds, 4).gbit_s
        samples["tcp4_ba"] = self._transfer(seconds, 4, reverse=True).gbit_s
        return samples

    def single_stream(self, seconds: int) -> Samples:
        """TCP with one stream, both directions; for veths without segmentation. Raises SystemProblem."""
        return {
            "tcp1_ab_cut": self._transfer(seconds, 1).gbit_s,
            "tcp1_ba_cut": self._transfer(seconds, 1, reverse=True).gbit_s,
        }

    def round_trips(self) -> Samples:
        """Pings on the idle tunnel, then beside a TCP stream. Raises SystemProblem."""
        idle = ping(self.star, self.tunnel.b, IDLE_PINGS, IDLE_INTERVAL)
        stream = self._tcp.start(STREAM_SECONDS)
        loaded = ping(self.star, self.tunnel.b, LOADED_PINGS, LOADED_INTERVAL)
        stream.finish()
        return {
            "ping_min": idle.smallest,
            "ping_median": idle.median,
            "loaded_min": loaded.smallest,
            "loaded_median": loaded.median,
        }

    def datagrams(self, size: int) -> Samples:
        """The highest UDP rate with at most 1 % loss, and what arrives of a flood. Raises SystemProblem."""
        found = carried(self.star, self.tunnel, size)
        return {f"udp{size}_rate": found.rate / 1e3, f"udp{size}_flood": found.flood / 1e3}

    def memory(self) -> Samples:
        """The most that each process has ever held, MiB."""
        return {f"rss_{role}": peak_memory(process.pid) for role, process in self.tunnel.processes.items()}

    def _transfer(self, seconds: int, streams: int, *, reverse: bool = False) -> Transfer:
        for process in self.tunnel.processes.values():
            process.check()
        return self._tcp.transfer(seconds, streams, reverse=reverse)
