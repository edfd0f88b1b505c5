"""What full load costs a node in memory, beside the same node idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovng.demo.net import Process
from tests.netns.rig import Iperf, deployed, ping, rss, say

pytestmark = [pytest.mark.root, pytest.mark.alone]

LOAD_BYTES = 20_000_000
SECONDS = 3.0


def test_a_node_under_full_load_takes_less_than_20_megabytes_more() -> None:
    with deployed() as rig:
        ping(rig.alice, rig.bob.addresses[0])
        processes = [node.process for node in rig.nodes if node.process is not None]
        idle = [rss(process) for process in processes]
        for process in processes:
            forget_peak(process)
        for options in ([], ["-R", "-P", "4"], ["-u", "-b", "0", "-l", "64"]):
            Iperf(rig.alice, rig.bob, SECONDS, *options).finish()
        for process, before in zip(processes, idle, strict=True):
            more = peak(process) - before
            say(f"idle {before / 1e6:.1f} MB, under load {more / 1e6:.1f} MB more")
            assert 0 <= more <= LOAD_BYTES


def forget_peak(process: Process) -> None:
    """Let the peak begin at what is resident now (proc_pid_clear_refs(5))."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peak(process: Process) -> int:
    """Most bytes that were resident."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
