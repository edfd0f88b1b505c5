"""Runs other programs of the machine, those that have no other door for us: systemctl, resolvectl, resolvconf."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ovng.errors import SystemProblem
from ovng.io.niceness import as_others

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 10.0


def find(name: str, path: str = _PATH) -> str | None:
    """Where a program is; None when it is not there. As `shutil.which`, which costs half a megabyte."""
    places = (Path(directory, name) for directory in path.split(os.pathsep))
    return next((str(place) for place in places if place.is_file() and os.access(place, os.X_OK)), None)


def run(name: str, *words: str, stdin: str = "", seconds: float = SECONDS) -> str:
    """Run a program to its end; what it wrote. Raises SystemProblem when it is missing, fails, or takes too long.

    It inherits nothing of ours: no environment, no descriptors, no precedence.
    """
    program = find(name)
    if program is None:
        raise SystemProblem(f"{name} is not installed")
    command = " ".join((name, *words))
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    try:
        with as_others():
            done = subprocess.run(
                [program, *words],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                env=environment,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise SystemProblem(f"`{command}` did not end within {seconds:g} s") from None
    except OSError as error:
        raise SystemProblem(f"`{command}` cannot be run: {error.strerror}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"status {done.returncode}"
        raise SystemProblem(f"`{command}` failed: {said[:300]}")
    return done.stdout
