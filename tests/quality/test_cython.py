"""What Cython says of our code that a compiler flag does not turn into an error.

A `cdef void f() nogil` without `noexcept` compiles, but takes the GIL after every call to look for an exception: on a
loop's path that is a stall. Cython gives only a hint, so this test asks for the hints and accepts none of that kind.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quality.sources import ROOT, relative

SOURCES = sorted((ROOT / "ovng" / "_fast").glob("*.pyx"))
HINT = re.compile(r"performance hint: .*|.*(?:require|acquire)s? the GIL.*")


def hints(source: Path, output: Path, root: Path) -> list[str]:
    """What Cython remarks about the GIL while it translates `source`."""
    command = [sys.executable, "-m", "cython", "-3", "-o", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if HINT.match(line) or "GIL" in line]


@pytest.mark.parametrize("source", SOURCES, ids=relative)
def test_no_hidden_gil(source: Path, tmp_path: Path) -> None:
    assert hints(source, tmp_path / "out.c", ROOT) == []


def test_the_hint_is_still_given(tmp_path: Path) -> None:
    """Should Cython stop giving it, the test above would say nothing."""
    source = tmp_path / "slow.pyx"
    source.write_text("cdef void leaf(int x) nogil:\n    pass\n\ncdef void loop() noexcept nogil:\n    leaf(1)\n")
    assert hints(source, tmp_path / "slow.c", tmp_path)
