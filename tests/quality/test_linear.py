"""What a reader costs grows as what it reads, whatever that is: steps are counted (callgrind), not timed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.quality.sources import ROOT

SIZE = 2_000
PEM = {
    "space": ("-----BEGIN X-----", " ", "!"),
    "space behind": ("-----BEGIN X-----\nAAAA-----END X-----", " ", "!"),
    "base64": ("-----BEGIN X-----\n", "A", "!"),
    "label": ("-----BEGIN ", "X", "!"),
    "good": ("-----BEGIN X-----\n", "AAAA\n", "-----END X-----"),
}
"""Head, filling (many times), tail."""
PROGRAM = """
import json, os, sys
from ovng.config.values import parse_pem

for text in json.load(sys.stdin):
    os.getppid()
    try:
        parse_pem(text, "X")
    except ValueError:
        pass
    os.getppid()
"""


def instructions(texts: list[str], folder: Path) -> list[int]:
    """Of one call for each text: callgrind writes down what it counted, and begins anew, at each getppid."""
    out = folder / "count"
    command = ["valgrind", "-q", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"]
    command += [sys.executable, "-c", PROGRAM]
    subprocess.run(command, cwd=ROOT, input=json.dumps(texts), text=True, check=True, timeout=120)
    parts = [out.with_suffix(f".{number}").read_text() for number in range(2, 2 + 2 * len(texts), 2)]
    return [int(re.findall(r"(?m)^(?:summary|totals): (\d+)", part)[-1]) for part in parts]


def test_pem(tmp_path: Path) -> None:
    texts = [head + filling * size + tail for head, filling, tail in PEM.values() for size in (SIZE, 2 * SIZE)]
    counts = instructions(texts, tmp_path)
    for name, once, twice in zip(PEM, counts[::2], counts[1::2], strict=True):
        assert 1.2 * once < twice, f"{name}: what is counted depends on the size"
        assert twice < 3 * once, f"{name}: the square of its length, or worse"
