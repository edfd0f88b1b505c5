"""sd_notify against a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovng.clock import Now
from ovng.io import notify


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"\0ovng-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        yield listener


def test_messages(manager: socket.socket) -> None:
    notify.ready("attached")
    assert manager.recv(4096) == b"READY=1\nSTATUS=attached"
    notify.reloading(Now(12.5, 99.0, 1e9))
    assert manager.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=12500000"
    notify.stopping()
    assert manager.recv(4096) == b"STOPPING=1"
    notify.watchdog()
    assert manager.recv(4096) == b"WATCHDOG=1"


def test_text_cannot_add_a_line(manager: socket.socket) -> None:
    notify.status("a\nREADY=1")
    assert manager.recv(4096) == b"STATUS=a READY=1"


@pytest.mark.parametrize("path", ["", "relative", "/nonexistent/socket", "@ovng-nobody-listens"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify.ready()


@pytest.mark.parametrize(
    ("allowed", "pid", "interval"),
    [
        ("4000000", "me", 2.0),
        ("4000000", "", 2.0),
        ("4000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("x", "", None),
    ],
)
def test_watchdog_interval(monkeypatch: pytest.MonkeyPatch, allowed: str, pid: str, interval: float | None) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", allowed)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "me" else pid)
    assert notify.watchdog_interval() == interval
