"""The rows of the tables: what a system's samples are called, and their units."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One row."""

    key: str
    title: str
    unit: str


TUNNELS = (
    Metric("tcp1_ab", "TCP 1 stream, a → b", "Gbit/s"),
    Metric("tcp1_ba", "TCP 1 stream, b → a", "Gbit/s"),
    Metric("tcp4_ab", "TCP 4 streams, a → b", "Gbit/s"),
    Metric("tcp4_ba", "TCP 4 streams, b → a", "Gbit/s"),
    Metric("tcp1_ab_cut", "TCP 1, no segmentation, a → b", "Gbit/s"),
    Metric("tcp1_ba_cut", "TCP 1, no segmentation, b → a", "Gbit/s"),
    Metric("udp64_rate", "UDP 64 B, 1 % loss", "kpps"),
    Metric("udp64_flood", "UDP 64 B, flood", "kpps"),
    Metric("udp1372_rate", "UDP 1372 B, 1 % loss", "kpps"),
    Metric("udp1372_flood", "UDP 1372 B, flood", "kpps"),
    Metric("ping_min", "ping idle, smallest", "ms"),
    Metric("ping_median", "ping idle, median", "ms"),
    Metric("loaded_min", "ping loaded, smallest", "ms"),
    Metric("loaded_median", "ping loaded, median", "ms"),
    Metric("first_ping", "start to first ping", "s"),
    Metric("cpu_machine", "CPU, whole machine", "s/GB"),
    Metric("cpu_processes", "CPU, its processes", "s/GB"),
    Metric("cpu_a", "CPU, process on a", "s/GB"),
    Metric("cpu_hub", "CPU, process on hub", "s/GB"),
    Metric("cpu_b", "CPU, process on b", "s/GB"),
    Metric("rss_a", "peak memory on a", "MiB"),
    Metric("rss_hub", "peak memory on hub", "MiB"),
    Metric("rss_b", "peak memory on b", "MiB"),
)
"""Of a tunnel in its star."""
