"""What Cython says of our code that a compiler flag does not turn into an error.

A `cdef void f() nogil` without `noexcept` compiles, but takes the GIL after every call to look for an exception: on a
loop's path that is a stall. Cython gives only a hint, so this test asks for the hints and accepts none of that kind.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.quality.sources import ROOT

SOURCES = sorted((ROOT / "ovng" / "_fast").glob("*.pyx"))
HINT = re.compile(r"performance hint: .*|.*(?:require|acquire)s? the GIL.*")


def hints(sources: list[Path], build: Path, root: Path) -> list[str]:
    """What Cython remarks about the GIL while it translates."""
    program = (
        "import sys; from Cython.Build import cythonize; cythonize(sys.argv[2:], build_dir=sys.argv[1], force=True)"
    )
    command = [sys.executable, "-c", program, str(build), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False, timeout=170)
    assert done.returncode == 0, done.stderr
    return [line for line in (done.stdout + done.stderr).splitlines() if HINT.match(line)]


def test_no_hidden_gil(tmp_path: Path) -> None:
    assert hints([path.relative_to(ROOT) for path in SOURCES], tmp_path, ROOT) == []


def test_the_hint_is_still_given(tmp_path: Path) -> None:
    """Should Cython stop giving it, the test above would say nothing."""
    source = tmp_path / "slow.pyx"
    source.write_text("cdef void leaf(int x) nogil:\n    pass\n\ncdef void loop() noexcept nogil:\n    leaf(1)\n")
    assert hints([source], tmp_path / "build", tmp_path)
