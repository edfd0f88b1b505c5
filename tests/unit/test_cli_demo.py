"""`ovng demo` without root: into a user namespace where one is allowed; where not, a line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quality.sources import ROOT

AS_SOMEBODY = """
import os, sys
os.geteuid = lambda: 1000
from ovng.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def demo(folder: Path, unshare: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The verb as run by a user who is not root, on a machine with this `unshare`."""
    if unshare is not None:
        program = folder / "unshare"
        program.write_text(f"#!/bin/sh\n{unshare}\n")
        program.chmod(0o755)
    return subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY, "demo", *arguments],
        env={**os.environ, "PATH": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("unshare", [None, "exit 1"], ids=["missing", "forbidden"])
def test_where_user_namespaces_are_not_allowed(tmp_path: Path, unshare: str | None) -> None:
    done = demo(tmp_path, unshare)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("ovng: the demo makes network namespaces: run it as root")
    assert done.stderr.count("\n") == 1


def test_where_they_are_it_starts_again_inside(tmp_path: Path) -> None:
    """As itself, with its capabilities, and with the same arguments."""
    done = demo(tmp_path, 'echo "$OVNG_DEMO_USER_NAMESPACE: $*"', "--json", "--gigabytes", "2")
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("1: -Unm --keep-caps --map-user=")
    assert line.endswith("-m ovng.cli.main demo --json --gigabytes 2")


@pytest.mark.parametrize("amount", ["0", "-1", "many", "1001"])
def test_an_amount_that_makes_no_sense(tmp_path: Path, amount: str) -> None:
    done = demo(tmp_path, None, "--gigabytes", amount)
    assert done.returncode == 2
    assert "--gigabytes" in done.stderr and done.stderr.count("\n") == 1
