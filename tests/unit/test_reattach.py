"""A Switch process starts again and finds its nodes by their tickets, over real sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ovng.demo.deployment import COMMAND
from ovng.ids import Locator, NodeID
from ovng.io.control import ask
from ovng.pki.folder import Folder
from tests.crowd import Crowd
from tests.netns.rig import say


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_all_are_back_by_their_tickets(count: int, tmp_path: Path) -> None:
    """PROTOCOL 6: a CHALLENGE to each node of the snapshot, two reports of each, and no TLS."""
    with switch(tmp_path) as made:
        crowd = Crowd(count, made.id, time.time())
        crowd.check()
        crowd.keep(made.state)
        try:
            made.start()
            deadline = time.monotonic() + 120
            began = time.monotonic()
            crowd.come_back(made.locator, lambda: time.monotonic() > deadline or made.ended())
            took = time.monotonic() - began
            status = made.status()
        finally:
            crowd.close()
    counters = status["counters"]
    say(f"{count} nodes back {took:.2f} s after their Switch was ready; {dict(crowd.seen)}")
    assert len(crowd.attached) == status["node_count"] == count, (crowd.seen, counters)
    assert counters["tickets_taken"] == count
    assert not counters.get("attach_granted")


class SwitchProcess:
    """`ovng switch` with a certificate and state directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._run_directory = directory / "run"
        self._environment = {**os.environ, "OVNG_RUNTIME_DIR": str(self._run_directory)}
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.locator = Locator.of("127.0.0.1", self._port)
        self._init(directory)
        self._profile, self.state = directory / "net" / "switch.ovng", directory / "net" / "state"
        self.id: NodeID = Folder.open(directory / "net").read_index().find("switch").id

    def _init(self, directory: Path) -> None:
        endpoint = f"127.0.0.1:{self._port}"
        words = [*COMMAND, "ca", "init", "net", "--prefix", "10.0.0.0/8", "--switch", endpoint]
        subprocess.run(words, cwd=directory, check=True, capture_output=True, timeout=60, env=self._path())

    def _path(self) -> dict[str, str]:
        return {**self._environment, "PYTHONPATH": str(Path(__file__).parents[2])}

    def start(self) -> None:
        """Until it is ready."""
        said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"\0ovng-test-{os.getpid()}"
        said.bind(name)
        said.settimeout(30)
        words = [*COMMAND, "switch", str(self._profile)]
        self._process = subprocess.Popen(words, env={**self._path(), "NOTIFY_SOCKET": f"@{name[1:]}"})
        with said:
            assert said.recv(1000).startswith(b"READY=1")

    def ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def status(self) -> dict[str, Any]:
        return ask("switch", {"verb": "status"}, path=self._run_directory / "switch.sock")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            finally:
                self._process.kill()


@contextmanager
def switch(directory: Path) -> Iterator[SwitchProcess]:
    made = SwitchProcess(directory)
    try:
        yield made
    finally:
        made.stop()
