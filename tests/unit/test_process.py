"""Hardening, in a process of its own: it cannot be undone."""

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
