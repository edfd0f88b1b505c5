"""What a Switch keeps on its disk: written in pieces, private, and done without when damaged."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovng.clock import Now
from ovng.limits import SNAPSHOT_INTERVAL
from ovng.switch.snapshots import SnapshotWriter
from ovng.switch.state import SNAPSHOT, TICKET_KEYS, SwitchState


def at(seconds: float) -> Now:
    return Now(seconds, seconds, seconds)


@pytest.fixture
def state(tmp_path: Path) -> SwitchState:
    return SwitchState(tmp_path / "state", tmp_path / "crl.der")


def test_what_is_kept_is_private_and_comes_back(state: SwitchState, tmp_path: Path) -> None:
    keys = secrets.token_bytes(46)
    assert state.read(TICKET_KEYS) is None
    state.write(TICKET_KEYS, keys)
    assert state.read(TICKET_KEYS) == keys
    assert (tmp_path / "state" / TICKET_KEYS).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_keys_that_others_could_have_changed_are_not_used(
    state: SwitchState, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state.write(TICKET_KEYS, b"keys")
    (tmp_path / "state" / TICKET_KEYS).chmod(0o666)
    with caplog.at_level(logging.WARNING):
        assert state.read(TICKET_KEYS) is None
    assert "going on without it" in caplog.text


def test_a_disk_that_fails_is_told_once(state: SwitchState, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").rmdir()
    with caplog.at_level(logging.ERROR):
        state.write(SNAPSHOT, b"1")
        state.write(SNAPSHOT, b"2")
    assert len(caplog.records) == 1
    (tmp_path / "state").mkdir(mode=0o700)
    state.write(SNAPSHOT, b"3")
    assert state.read(SNAPSHOT) == b"3"


def test_a_crl_that_is_none_is_passed_over(
    state: SwitchState, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert state.read_crl() is None
    (tmp_path / "crl.der").write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING):
        assert state.read_crl() is None
    assert "crl.der" in caplog.text


def test_a_snapshot_is_collected_a_piece_at_a_time(state: SwitchState) -> None:
    taken: list[int] = []

    def collect() -> Iterator[bytes]:
        for number in range(4):
            taken.append(number)
            yield bytes([number])

    writer = SnapshotWriter(state, collect, at(0))
    now = 0.0
    for turn in range(5):
        now = writer.deadline()
        assert now >= SNAPSHOT_INTERVAL and len(taken) == min(turn, 4)
        writer.handle_timer(at(now))
    assert writer.deadline() == now + SNAPSHOT_INTERVAL
    writer.handle_timer(at(now))  # not due
    writer.close()
    assert state.read(SNAPSHOT) == b"\0\1\2\3"
