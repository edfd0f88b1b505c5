"""The user's programs, really run: what they are told, how long they may take, and which ones are refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ovng.clock import now
from ovng.io import hooks as under_test
from ovng.io.hooks import Hooks, environment, programs

EVENT = {"number": 3, "time": "2026-01-02T03:04:05.678+00:00", "event": "active", "path": 1, "uplink": "lte"}


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = now().mono + seconds
    while not (value := condition()):
        assert now().mono < end
    return value


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "hooks"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def hooks(directory: Path) -> Iterator[Hooks]:
    made = Hooks("truck", directory)
    yield made
    made.close()


def write(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def event(**changed: Any) -> dict[str, Any]:
    return {**EVENT, **changed}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_what_a_program_is_told(hooks: Hooks, directory: Path, tmp_path: Path) -> None:
    write(directory / "tell", f'echo "$# $1 $2" > {tmp_path}/words; cat >> {tmp_path}/words; env > {tmp_path}/env.new\n'
          f"pwd >> {tmp_path}/words; mv {tmp_path}/env.new {tmp_path}/env")  # fmt: skip
    os.environ["OVNG_NOT_FOR_HOOKS"] = "secret"
    try:
        hooks.offer(event(metered=True, cause=None, before_uplink="ha\nha\x1b$(reboot)"))
        until((tmp_path / "env").exists)
    finally:
        del os.environ["OVNG_NOT_FOR_HOOKS"]
    assert lines(tmp_path / "words") == ["2 active lte", "/"]
    told = dict(line.split("=", 1) for line in lines(tmp_path / "env"))
    ours = {key: value for key, value in told.items() if key.startswith("OVNG_")}
    assert ours == {
        "OVNG_NUMBER": "3",
        "OVNG_TIME": "2026-01-02T03:04:05.678+00:00",
        "OVNG_EVENT": "active",
        "OVNG_PATH": "1",
        "OVNG_UPLINK": "lte",
        "OVNG_METERED": "true",
        "OVNG_CAUSE": "",
        "OVNG_BEFORE_UPLINK": "ha\\nha\\x1b$(reboot)",
        "OVNG_PROFILE": "truck",
        "OVNG_SKIPPED": "0",
    }
    assert set(told) - set(ours) <= {"PATH", "PWD", "OLDPWD", "SHLVL", "_"}  # what the shell adds


def test_an_environment_is_printable() -> None:
    assert all(value.isprintable() and value.isascii() for value in environment(event(uplink="ü\0\r"), "x", 0).values())


def test_in_order_and_one_at_a_time(hooks: Hooks, directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("20-b", "10-a.sh", "30-c"):
        write(directory / name, f"echo {name} begins >> {out}; echo {name} ends >> {out}")
    hooks.offer(event())
    until(lambda: len(lines(out)) == 6)
    assert lines(out) == [f"{name} {what}" for name in ("10-a.sh", "20-b", "30-c") for what in ("begins", "ends")]


def test_the_newest_of_each_kind_waits(hooks: Hooks, directory: Path, tmp_path: Path) -> None:
    out, go = tmp_path / "out", tmp_path / "go"
    wait = f"while ! test -e {go}; do sleep 0.01; done"
    write(directory / "slow", f'echo "$OVNG_NUMBER $1 $OVNG_PATH $OVNG_SKIPPED" >> {out}; {wait}')
    hooks.offer(event(number=1))
    until(lambda: lines(out))
    hooks.offer(event(number=2))
    hooks.offer(event(number=3, path=2))
    for number in range(4, 1000):
        hooks.offer(event(number=number))
    hooks.offer(event(number=1000, event="handover"))
    go.touch()
    until(lambda: len(lines(out)) == 4)
    assert lines(out) == ["1 active 1 0", "999 active 1 996", "3 active 2 0", "1000 handover 1 0"]


def test_kinds_without_end_find_no_room(hooks: Hooks, directory: Path) -> None:
    write(directory / "slow", "sleep 100")
    for path in range(1000):
        hooks.offer(event(path=path))
    assert len(hooks._waiting) <= under_test.WAITING_MAX


def test_too_slow_is_killed_with_its_children(
    hooks: Hooks, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(under_test, "HOOK_SECONDS", 0.3)
    out = tmp_path / "out"
    write(directory / "10-slow", f"sleep 100 & echo $! >> {out}; wait")
    write(directory / "20-next", f"echo next >> {out}")
    hooks.offer(event())
    until(lambda: len(lines(out)) == 2)
    child, following = lines(out)
    assert following == "next"
    until(lambda: not _lives(int(child)))
    assert "10-slow was killed: it ran for more than 0.3 s" in caplog.text


def test_close_does_not_wait(directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(directory / "10-slow", f"echo $$ >> {out}; sleep 100")
    write(directory / "20-never", f"echo never >> {out}")
    hooks = Hooks("truck", directory)
    hooks.offer(event())
    until(lambda: lines(out))
    began = now().mono
    hooks.close()
    assert now().mono - began < under_test.HOOK_SECONDS
    assert not _lives(int(lines(out)[0]))
    hooks.offer(event())
    assert hooks._waiting == {}
    assert len(lines(out)) == 1


def test_one_that_cannot_be_run(
    hooks: Hooks, directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = directory / "10-broken"
    broken.write_text("#!/nowhere/at/all\n")
    broken.chmod(0o755)
    write(directory / "20-next", f"echo next >> {tmp_path}/out")
    hooks.offer(event())
    until(lambda: lines(tmp_path / "out"))
    assert "10-broken cannot be run: No such file" in caplog.text


def test_no_directory(tmp_path: Path) -> None:
    assert programs(tmp_path / "none") == ([], [])
    for directory in (tmp_path / "none", None):
        hooks = Hooks("truck", directory)
        hooks.offer(event())
        hooks.close()
        assert hooks.refused == ()


def test_what_is_refused_is_named_once(
    hooks: Hooks, directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(directory / "10-open", f"echo open >> {tmp_path}/out", 0o777)
    (directory / "20-link").symlink_to(write(tmp_path / "elsewhere", "true"))
    write(directory / "30-good", f"echo $OVNG_NUMBER >> {tmp_path}/out")
    for number in (1, 2):
        hooks.offer(event(number=number))
        until(lambda: len(lines(tmp_path / "out")) == number)  # noqa: B023
    assert lines(tmp_path / "out") == ["1", "2"]
    assert len(hooks.refused) == 2
    assert caplog.text.count("10-open: others may write to it: run chmod go-w") == 1
    assert caplog.text.count("20-link: is a link") == 1


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_directory_that_others_may_write_to(directory: Path, mode: int) -> None:
    write(directory / "good", "true")
    directory.chmod(mode)
    good, refused = programs(directory)
    assert (good, len(refused)) == ([], 1)
    assert f"run chmod go-w {directory}" in refused[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_what_belongs_to_others(directory: Path) -> None:
    theirs = write(directory / "theirs", "true")
    os.chown(theirs, 65_534, 65_534)
    assert programs(directory) == ([], [f"{theirs}: belongs to user 65534: run chown root {theirs}"])
    os.chown(directory, 65_534, 65_534)
    assert programs(directory) == ([], [f"{directory}: belongs to user 65534: run chown root {directory}"])


def test_what_is_passed_over(directory: Path) -> None:
    for name in (".hidden", "a~", "b.bak", "c.dpkg-old", "d.rpmsave", "e.swp", "f-opkg", "white space", "-x"):
        write(directory / name, "true")
    write(directory / "not-executable", "true", 0o644)
    (directory / "a-directory").mkdir()
    good = [write(directory / name, "true") for name in ("1.sh", "Z", "_", "x.py")]
    assert programs(directory) == (good, [])


def _lives(pid: int) -> bool:
    """A killed one that nobody waited for yet lives no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
