"""Machines for the tests of packages and services: a Debian with its own systemd, on a host of a `Net`.

Everything in them is real: systemd starts the units with all their confinement, D-Bus, NetworkManager and
systemd-resolved run. `tools/machine` makes the file system that they share; what one writes stays in its own layer.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ovng.demo.net import Host, Net, run, wait_until
from ovng.errors import SystemProblem
from tests.quality.sources import ROOT

BASE = ROOT / "build/machine-amd64"
CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
BOOT_SECONDS = 60.0


def need_machines() -> None:
    """Skip, by name, what this one cannot do."""
    if os.geteuid():
        pytest.skip("needs root, for a machine of its own")
    if _cgroups() is None:
        pytest.skip("needs a cgroup v2 hierarchy that can be written to")
    if not (BASE / ".complete").exists():
        pytest.skip(f"needs the file system of a machine: run tools/machine amd64 {BASE}")


def _cgroups() -> Path | None:
    return next((path for path in CGROUPS if (path / "cgroup.procs").exists() and os.access(path, os.W_OK)), None)


class Layer:
    """What was written over a file system below it."""

    def __init__(self, directory: Path, below: list[Path]) -> None:
        self.upper, self.work = directory / "upper", directory / "work"
        self.below = below
        self.mount = directory / "mount"
        for path in (self.upper, self.work, self.mount):
            path.mkdir(parents=True)

    @property
    def lower(self) -> str:
        """For overlayfs: the topmost first."""
        return ":".join(map(str, self.below))

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """To be worked on from outside, with the network of this machine."""
        options = f"lowerdir={self.lower},upperdir={self.upper},workdir={self.work}"
        run("mount", "-t", "overlay", "overlay", "-o", options, str(self.mount))
        try:
            run("mount", "-t", "proc", "proc", str(self.mount / "proc"))
            run("mount", "--bind", "/dev", str(self.mount / "dev"))
            yield self.mount
        finally:
            for name in ("dev", "proc", ""):
                with contextlib.suppress(SystemProblem):
                    run("umount", "-l", str(self.mount / name))


class Machine:
    """A running one. Its commands run as root, as somebody who has logged in on it."""

    def __init__(self, host: Host, layer: Layer) -> None:
        self.host = host
        self.name = host.name
        self.layer = layer
        top = _cgroups()
        assert top is not None
        self.cgroup = top / f"{host.namespace}"
        self.cgroup.mkdir()
        script = str(Path(__file__).with_name("machine.sh"))
        words = [layer.lower, str(layer.upper), str(layer.work), str(layer.mount)]
        enter = 'echo $$ > "$0/cgroup.procs"; exec "$@"'
        self._process = host.start("systemd", "sh", "-c", enter, str(self.cgroup), script, *words)
        self.pid = wait_until(self._first_process, f"first process of {self.name}")
        wait_until(self._is_up, f"end of the boot of {self.name}", BOOT_SECONDS)

    def _first_process(self) -> int | None:
        self._process.check()
        for path in Path("/proc").glob("[0-9]*/comm"):
            pid = int(path.parent.name)
            with contextlib.suppress(OSError):
                if path.read_text().strip() == "systemd" and _parent(pid) == self._process.pid:
                    return pid
        return None

    def _is_up(self) -> bool:
        with contextlib.suppress(SystemProblem):
            return self.run("sh", "-c", "systemctl is-system-running || true").strip() in ("running", "degraded")
        return False

    def command(self, *words: str) -> list[str]:
        """What to execute so that `words` run on it."""
        environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"]
        return ["nsenter", "--target", str(self.pid), "--all", "--wdns=/root", *environment, *words]

    def run(self, *words: str, seconds: float = 300.0) -> str:
        """Run a command to its end; what it wrote. Raises SystemProblem."""
        return run(*self.command(*words), timeout=seconds)

    def result(self, *words: str) -> tuple[int, str, str]:
        """Run a command that may fail: its status, output and errors."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout, done.stderr

    def path(self, name: str) -> Path:
        """A file on it, by its path without the first slash."""
        return Path(f"/proc/{self.pid}/root/{name}")

    def close(self) -> None:
        """Power off, at once; its layer stays."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self._process.stop()
        wait_until(lambda: _removed(self.cgroup), f"end of {self.cgroup}")


def _removed(cgroup: Path) -> bool:
    for path in (*sorted(cgroup.rglob("*"), reverse=True), cgroup):
        with contextlib.suppress(OSError):
            path.rmdir()
    return not cgroup.exists()


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@contextmanager
def booted(net: Net, layers: Path, below: list[Path], *hosts: Host) -> Iterator[list[Machine]]:
    """One machine on each of these hosts, over the same file systems."""
    machines = []
    try:
        for host in hosts:
            machines.append(Machine(host, Layer(layers / host.name, below)))
        yield machines
    finally:
        for machine in machines:
            machine.close()
        for host in hosts:
            shutil.rmtree(layers / host.name, ignore_errors=True)
