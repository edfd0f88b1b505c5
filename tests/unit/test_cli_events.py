"""`ovng events` and `ovng status --watch` as commands, on services that come and go."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ovng.cli.main import main
from ovng.clock import now
from tests.service_fixture import running

OVNG = [sys.executable, "-m", "ovng.cli.main"]
STATUS = {"name": "truck", "kind": "node", "uptime_seconds": 7, "warnings": [f"{n} {'x' * 200}" for n in range(50)]}


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVNG_RUNTIME_DIR", str(tmp_path))


@contextmanager
def ovng(tmp_path: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """A command that goes on, and what it has written so far."""
    out = tmp_path / "out"
    with (
        out.open("w") as file,
        subprocess.Popen([*OVNG, *words], stdout=file, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            yield process, out.read_text
        finally:
            process.kill()


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    end = now().mono + seconds
    while not condition():
        assert now().mono < end


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


def test_events_until_interrupted(tmp_path: Path) -> None:
    with running("truck", {"events": [{"path": 1, "uplink": "lte"}]}), ovng(tmp_path, "events") as (process, out):
        until(lambda: out().count("\n") == 2)
        first, second = map(json.loads, out().splitlines())
        assert (first["event"], first["profile"]) == ("following", "truck")
        assert (second["event"], second["number"], second["uplink"]) == ("path_closed", 1, "lte")
        assert end(process) == (0, "")


def test_events_end_with_the_node(tmp_path: Path) -> None:
    with running("truck", {"events": []}) as service, ovng(tmp_path, "events", "truck") as (process, out):
        until(out)
        service.kill()
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (1, "ovng: truck has ended\n")


def test_events_of_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "truck"]) == 1
    assert capsys.readouterr().err == "ovng: truck is not running\n"


def test_watch_in_a_pipe(tmp_path: Path) -> None:
    with running("truck", {"status": STATUS}), ovng(tmp_path, "status", "--watch", "0.1") as (process, out):
        until(lambda: out().count("node truck") >= 3)
        assert "\x1b" not in out()
        assert out().split("\n\nnode truck")[1:]
        assert end(process) == (0, "")


def test_watch_outlives_the_service(tmp_path: Path) -> None:
    with ovng_json(tmp_path) as (process, lines):
        with running("truck", {"status": STATUS}):
            process.start()
            until(lambda: lines() and lines()[-1] == STATUS)
        away = {"name": "truck", "error": "truck is not running"}
        until(lambda: lines()[-1] == away)
        with running("truck", {"status": {**STATUS, "uptime_seconds": 1}}):
            until(lambda: lines()[-1] == {**STATUS, "uptime_seconds": 1})
        assert 1 <= lines().count(away) <= 2  # once each time it went
        assert end(process.process) == (0, "")


def test_watch_says_what_is_wrong_when_it_changes(tmp_path: Path) -> None:
    """A service asked while it ends gives half an answer; that it has gone is said as well."""
    with ovng_json(tmp_path) as (process, lines):
        with running("truck", {"status": STATUS}):
            process.start()
            until(lines)
        until(lambda: "error" in lines()[-1])
        with running("truck", {"status": {"error": "it ends"}}):
            until(lambda: lines()[-1] == {"name": "truck", "error": "it ends"})
        until(lambda: lines()[-1] == {"name": "truck", "error": "truck is not running"})
        assert [line.get("error") for line in lines()].count("it ends") == 1
        assert end(process.process) == (0, "")


class Watch:
    """`ovng status --json --watch 0.1 truck`, once it is started."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self) -> None:
        with self.path.open("w") as file:
            self.process = subprocess.Popen(
                [*OVNG, "status", "--json", "--watch", "0.1", "truck"], stdout=file, stderr=subprocess.PIPE, text=True
            )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().split("\n")[:-1]]


@contextmanager
def ovng_json(tmp_path: Path) -> Iterator[tuple[Watch, Callable[[], list[dict[str, Any]]]]]:
    watch = Watch(tmp_path / "out")
    try:
        yield watch, watch.lines
    finally:
        watch.process.kill()
        watch.process.communicate()


def test_watch_on_a_terminal_is_redrawn() -> None:
    """Home, lines each cleared to their end, the rest of the screen cleared: nothing flickers, nothing stays."""
    master, terminal = pty.openpty()
    with (
        running("truck", {"status": STATUS}),
        subprocess.Popen(
            [*OVNG, "status", "--watch", "0.1"],
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "COLUMNS": "80", "LINES": "24"},
        ) as process,
    ):
        os.close(terminal)
        seen = b""
        end_by = now().mono + 20
        while seen.count(b"node truck") < 3:
            assert now().mono < end_by
            seen += os.read(master, 65_536)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    os.close(master)
    screens = seen.split(b"\x1b[H")
    assert screens[0] == b""
    assert screens[1].startswith(b"node truck")
    assert screens[1].count(b"\n") == 23  # of 24, in 80 columns
    assert max(map(len, screens[1].replace(b"\x1b[K", b"").splitlines())) == 80
    assert screens[1].endswith(b"\x1b[J")
    assert all(line.rstrip(b"\r").endswith(b"\x1b[K") for line in screens[1].split(b"\n")[:-1])


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--watch", "0.01"], 2, "--watch: seconds are 0.1 to 86400"),
        (["--watch", "nan"], 2, "--watch: seconds are 0.1 to 86400"),
        (["--watch", "often", "truck"], 2, "--watch: often is no number of seconds"),
        (["--watch", "truck"], 1, "truck is not running"),
        (["truck", "--watch"], 1, "truck is not running"),
        (["--watch", "5", "truck"], 1, "truck is not running"),
    ],
)
def test_what_follows_watch(words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", *words]) == status
    assert capsys.readouterr().err == f"ovng: {message}\n"
