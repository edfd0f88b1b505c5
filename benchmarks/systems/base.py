"""What a system under test is: something that can be started in a star and then reached from one end to the other.

One whose data path uses libcrypto may take part twice: with the system's, and under a name with `-alt` behind it with
the one that OVNG_BENCH_LIBCRYPTO names.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.star import Star
from ovng.demo.net import Host, Process, run, wait_until
from ovng.errors import SystemProblem

LIBCRYPTO = "OVNG_BENCH_LIBCRYPTO"
ALT = "-alt"


@dataclass(frozen=True)
class Tunnel:
    """A running system."""

    a: str
    """Address of `a` inside."""
    b: str
    """Address of `b` inside."""
    processes: Mapping[str, Process] = field(default_factory=dict)
    """By host: a, hub, b."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What a reader must know to judge the figures: version, cipher, libcrypto, offloads, settings."""
    first_ping: float | None = None
    """Seconds from the start of both ends, the hub serving, to the first answer."""
    restart_hub: Callable[[], Process] | None = None
    """Start the hub's process again, as it was started first; returns before it serves."""


class System(Protocol):
    """One column of the table."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str | None:
        """Why it cannot take part on this machine; None when it can."""

    def start(self, star: Star) -> Tunnel:
        """Start it in `star`; traffic passes when this returns. It ends with the star. Raises SystemProblem."""


def wait_for_port(host: Host, port: int) -> None:
    """Until something on `host` has bound the UDP port. Raises SystemProblem."""
    wait_until(lambda: f":{port} " in host.run("ss", "-Hlun"), f"UDP port {port} on {host.name}")


def other_libcrypto() -> Path | None:
    """The libcrypto to measure beside the system's. Raises SystemProblem when it is not there."""
    named = os.environ.get(LIBCRYPTO)
    if named and not Path(named).is_file():
        raise SystemProblem(f"{LIBCRYPTO} names {named}, which is no file")
    return Path(named).resolve() if named else None


def program(name: str, variable: str = "") -> str | None:
    """Path of an installed program; an environment variable may name it."""
    return shutil.which(os.environ.get(variable) or name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def version(command: str, *arguments: str, pattern: str) -> str:
    """The first group of `pattern` in what a program says of itself; empty when it does not say it."""
    try:
        found = re.search(pattern, run(command, *arguments))
    except SystemProblem:
        return ""
    return found[1] if found else ""
