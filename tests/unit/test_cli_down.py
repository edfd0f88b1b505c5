"""`ovng down` and `ovng reload` against live services, deaf ones and dead ones."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ovng.cli import down
from ovng.cli.main import main
from ovng.io.files import is_locked
from tests.service_fixture import running


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVNG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_down_waits_for_the_end(runtime: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running("truck", {}) as service:
        assert main(["down"]) == 0
        assert service.wait(0) == 0
    assert capsys.readouterr().out == "truck: ended\n"
    assert list(runtime.iterdir()) == []


def test_a_deaf_service_gets_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    with running("truck", {}, deaf=True) as service:
        assert main(["down", "truck"]) == 0
        assert service.wait(0) == 0


def test_one_that_does_not_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(down, "PATIENCE", 0.1)
    with running("truck", {}, deaf=True) as service:
        service.send_signal(signal.SIGSTOP)
        assert main(["down", "truck"]) == 1
        assert capsys.readouterr().err == (
            f"ovng: truck (pid {service.pid}) does not end: run `kill -9 {service.pid}`, then `ovng down truck`\n"
        )
        assert is_locked("truck")


def test_a_killed_one_leaves_nothing(runtime: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running("truck", {}) as service:
        service.kill()
        service.wait()
        assert {path.name for path in runtime.iterdir()} == {"truck.lock", "truck.sock"}
        assert main(["down", "truck"]) == 0
    assert capsys.readouterr().out == "truck: removed its control socket\n"
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("arguments", [["down"], ["down", "truck"], ["reload"], ["reload", "truck"]])
def test_nothing_to_do(arguments: list[str], capsys: pytest.CaptureFixture[str], runtime: Path) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("ovng: ")
    assert error.count("\n") == 1
    assert os.listdir(runtime) == []  # noqa: PTH208 - shown whole when it fails


def test_reload(capsys: pytest.CaptureFixture[str]) -> None:
    with running("truck", {"reload": {"reloaded": True, "notes": ["mtu: takes a restart"]}}):
        assert main(["reload"]) == 0
    assert capsys.readouterr().out == "truck: reloaded\ntruck: mtu: takes a restart\n"


def test_a_reload_that_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with running("truck", {"reload": {"error": "truck.ovng:3: colour: unknown key"}}):
        assert main(["reload", "truck"]) == 1
    assert capsys.readouterr().err == "ovng: truck.ovng:3: colour: unknown key\n"
