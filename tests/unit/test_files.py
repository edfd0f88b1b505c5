"""Private files, runtime directory, locks and journals, on a real file system."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ovng.errors import SystemProblem
from ovng.io import files
from ovng.io.files import Journal, ProfileLock


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "run"
    monkeypatch.setenv("OVNG_RUNTIME_DIR", str(path))
    return path


class TestPrivateFiles:
    def test_written_private_and_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "keys"
        path.write_bytes(b"old and longer")
        path.chmod(0o644)
        files.write_private(path, b"new")
        assert files.read_private(path) == b"new"
        assert path.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["keys"]

    def test_umask_does_not_widen_it(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            files.write_private(tmp_path / "keys", b"x")
        finally:
            os.umask(before)
        assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600

    def test_a_link_is_replaced_not_followed(self, tmp_path: Path) -> None:
        target, link = tmp_path / "target", tmp_path / "link"
        target.write_bytes(b"untouched")
        link.symlink_to(target)
        files.write_private(link, b"mine")
        assert target.read_bytes() == b"untouched"
        assert not link.is_symlink()

    def test_failure_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "taken").mkdir()
        with pytest.raises(SystemProblem, match="cannot be written"):
            files.write_private(tmp_path / "taken", b"x")
        assert [path.name for path in tmp_path.iterdir()] == ["taken"]

    def test_missing_file_is_none(self, tmp_path: Path) -> None:
        assert files.read_private(tmp_path / "none") is None

    @pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o601])
    def test_refused_when_others_have_access(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "keys"
        path.write_bytes(b"x")
        path.chmod(mode)
        with pytest.raises(SystemProblem, match="chmod 600"):
            files.read_private(path)

    def test_refused_link_directory_pipe_and_size(self, tmp_path: Path) -> None:
        path = tmp_path / "keys"
        files.write_private(path, b"x" * 11)
        (tmp_path / "link").symlink_to(path)
        os.mkfifo(tmp_path / "pipe", 0o600)
        for name in ("link", "pipe", "."):
            with pytest.raises(SystemProblem):
                files.read_private(tmp_path / name)
        with pytest.raises(SystemProblem, match="larger than 10"):
            files.read_private(path, 10)

    @pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
    def test_refused_when_of_another_user(self, tmp_path: Path) -> None:
        path = tmp_path / "keys"
        files.write_private(path, b"x")
        os.chown(path, 12345, 12345)
        with pytest.raises(SystemProblem, match="belongs to user 12345"):
            files.read_private(path)


class TestRuntimeDirectory:
    def test_made_private(self, runtime: Path) -> None:
        assert files.runtime_dir(create=False) == runtime
        assert not runtime.exists()
        assert files.runtime_dir().stat().st_mode & 0o777 == 0o700

    def test_refused_when_others_may_write(self, runtime: Path) -> None:
        runtime.mkdir()
        runtime.chmod(0o777)
        with pytest.raises(SystemProblem, match="chmod 700"):
            files.runtime_dir()

    def test_refused_when_a_file(self, runtime: Path) -> None:
        runtime.write_bytes(b"")
        with pytest.raises(SystemProblem, match="not a directory"):
            files.runtime_dir()


_HOLD = """
import sys
from ovng.io.files import ProfileLock
lock = ProfileLock("office")
print("held", flush=True)
sys.stdin.read()
"""


class TestLock:
    def test_a_second_process_is_refused_until_the_first_is_killed(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert files.is_locked("office")
            with pytest.raises(SystemProblem, match=rf"office is already running \(pid {holder.pid}\)"):
                ProfileLock("office")
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        assert not files.is_locked("office")
        with ProfileLock("office") as lock:
            assert files.holder_pid(lock.path) == os.getpid()

    def test_gone_after_close(self, runtime: Path) -> None:
        lock = ProfileLock("office")
        lock.close()
        lock.close()
        assert [path.name for path in runtime.iterdir()] == []

    def test_names_do_not_meet(self) -> None:
        with ProfileLock("office"), ProfileLock("truck"):
            assert files.is_locked("truck")

    def test_a_lock_on_a_removed_file_is_not_taken_for_ours(
        self, runtime: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last holder removes the file just as we wait for its lock: ours must be on the file others will see."""
        stale = ProfileLock("office")
        real, calls = fcntl.flock, []

        def flock(descriptor: int, operation: int) -> None:
            calls.append(descriptor)
            if len(calls) == 1:
                stale.close()
            real(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", flock)
        with ProfileLock("office") as lock:
            assert len(calls) == 2
            assert lock.path.exists()

    def test_a_link_is_not_followed(self, runtime: Path, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_text("precious")
        files.runtime_dir()
        (runtime / "office.lock").symlink_to(victim)
        with pytest.raises(SystemProblem, match="cannot be locked"):
            ProfileLock("office")
        assert victim.read_text() == "precious"


class TestJournal:
    def test_round_trip(self) -> None:
        journal = Journal("ovng0", {"net/ipv4/ip_forward": "0"})
        assert files.read_journal("office") is None
        assert files.journal_names() == []
        files.write_journal("office", journal)
        assert files.read_journal("office") == journal
        assert files.journal_names() == ["office"]
        files.remove_journal("office")
        assert files.read_journal("office") is None

    @pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"interface": 1, "sysctls": {}}', '{"interface": "x"}'])
    def test_a_broken_one_is_none(self, runtime: Path, text: str) -> None:
        files.write_private(files.runtime_dir() / "office.journal", text.encode())
        assert files.read_journal("office") is None
