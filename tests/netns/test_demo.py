"""`ovng demo --json`, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.quality.sources import ROOT

pytestmark = [pytest.mark.root, pytest.mark.alone]  # it tells of times, and a gigabyte is captured


def test_the_demo_ends_well_and_says_what_it_saw() -> None:
    command = [sys.executable, "-m", "ovng.cli.main", "demo", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout.splitlines()[-1])
    assert 0 < result["handshake_ms"] < 5_000
    assert 0 < result["ping_ms"] < 1_000
    assert result["transfer_bytes"] >= 1_000_000_000 and result["transfer_ok"] is True
    assert 0 <= result["move_gap_ms"] < 5_000
    assert len(result["sessions_before_move"]) == 1
    assert result["sessions_after_move"] == result["sessions_before_move"]
    assert result["captured_bytes_at_switch"] >= result["transfer_bytes"]
    assert result["plaintext_seen_at_switch"] is False
    assert result["plaintext_seen_at_tun"] is True
    assert 0 <= result["make_before_break_ms"] < 1_000 and result["make_before_break_lost"] == 0
    assert 0 <= result["break_before_make_ms"] < 2_000 and result["break_before_make_lost"] == 0
    assert result["clean_teardown"] is True
