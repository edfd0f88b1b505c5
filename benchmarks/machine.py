"""What the figures were measured on, as far as it decides them."""

from __future__ import annotations

import os
import platform
import re
import ssl
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.systems.base import version
from benchmarks.usage import machine_seconds
from ovng.clock import now


def describe() -> dict[str, str]:
    """Name → value, in the order in which to print them."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "CPU": f"{_cpu()}, {os.cpu_count()} cores",
        "Python": f"{sys.version.split()[0]}, its TLS {ssl.OPENSSL_VERSION}",
        "iperf3": version("iperf3", "--version", pattern=r"iperf (\S+)"),
    }


def busy_share(seconds: float = 0.25) -> float:
    """How much of the machine others use, 0 … 1: we do nothing meanwhile."""
    began, before = now().mono, machine_seconds()
    threading.Event().wait(seconds)
    return (machine_seconds() - before) / ((now().mono - began) * (os.cpu_count() or 1))


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
