"""Hosts as namespaces: what a killed one leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

_LEAVES = """
import os
from ovng.demo.net import Net
net = Net("swept")
for number in range(8):
    net.host(f"left{number}")
os._exit(0)
"""
_BEGINS = """
from ovng.demo.net import Net
with Net("swept") as net:
    net.host("new")
"""


def test_of_those_that_begin_together_one_sweeps() -> None:
    subprocess.run([sys.executable, "-c", _LEAVES], check=True)
    begun = [subprocess.Popen([sys.executable, "-c", _BEGINS], stderr=subprocess.PIPE, text=True) for _ in range(5)]
    assert [(process.communicate()[1], process.returncode) for process in begun] == [("", 0)] * 5
    places = ("/run/netns", os.environ.get("TMPDIR", "/var/tmp"))
    assert [path for place in places for path in Path(place).glob("swept-*")] == []
