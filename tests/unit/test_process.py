"""Hardening and the collector, in a process of their own: they cannot be undone."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import resource
from ovng.io import credentials, process
assert process.is_dumpable()
process.harden()
assert not process.is_dumpable()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
with credentials.memfd_path(b"key") as path, open(path, "rb") as file:
    assert file.read() == b"key"
print("hard")
"""


def test_harden() -> None:
    """Keys in a memfd stay readable for ourselves."""
    done = subprocess.run([sys.executable, "-c", _CODE], check=False, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("hard\n", "")


_GARBAGE = """
from ovng.io import process
class Cycle:
    alive = most = 0
    def __init__(self):
        self.itself = self
        Cycle.alive += 1
        Cycle.most = max(Cycle.most, Cycle.alive)
    def __del__(self):
        Cycle.alive -= 1
held = [Cycle() for _ in range(300_000)]
Cycle.alive = Cycle.most = 0
process.collect_early()
recent = []
for _ in range(200_000):
    recent.append(Cycle())
    if len(recent) == 2000:  # old enough to have outlived the young generations
        recent.clear()
print(Cycle.most)
"""


def test_cycles_go_before_they_are_many() -> None:
    """Left alone, the collector lets three times as many come together beside the 300,000 that stay."""
    done = subprocess.run([sys.executable, "-c", _GARBAGE], check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert int(done.stdout) < 15_000
