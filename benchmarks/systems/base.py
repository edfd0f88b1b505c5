"""What a system under test is: something that can be started in a star and then reached from one end to the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.star import Star
from ovng.demo.net import Process, run, wait_until
from ovng.errors import SystemProblem

READY_SECONDS = 30.0


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
    """What a reader must know to judge the figures: version, cipher, offloads, settings."""


class System(Protocol):
    """One column of the table."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str | None:
        """Why it cannot take part on this machine; None when it can."""

    def start(self, star: Star) -> Tunnel:
        """Start it in `star`; traffic passes when this returns. It ends with the star. Raises SystemProblem."""


def wait_for_ping(star: Star, address: str, *watched: Process) -> None:
    """Until `a` reaches `address`. Raises SystemProblem, with its last words when one of `watched` has ended."""

    def answered() -> bool:
        for process in watched:
            process.check()
        command = star.a.command("ping", "-n", "-c", "1", "-W", "0.2", address)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    wait_until(answered, f"answer of {address}", READY_SECONDS)


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
