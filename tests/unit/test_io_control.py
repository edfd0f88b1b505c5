"""The control socket: real server, real clients, hostile ones too."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovng.errors import SystemProblem
from ovng.io import control
from ovng.io.control import ControlServer, Message, ask, is_running, list_running


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVNG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def echo(request: Message) -> Message:
    if request["verb"] == "refuse":
        raise SystemProblem("not now")
    if request["verb"] == "fault":
        raise KeyError("secret")
    return {"heard": request}


async def slow(request: Message) -> Message:
    await asyncio.sleep(0)
    return {"slowly": request["verb"]}


def serve(client: Callable[[], Any], handler: control.Handler = echo) -> Any:
    """Run `client`, which blocks, in a thread while the service `office` answers."""

    async def main() -> Any:
        server = ControlServer("office", handler)
        await server.start()
        try:
            return await asyncio.to_thread(client)
        finally:
            await server.close()

    return asyncio.run(asyncio.wait_for(main(), 30))


def raw(data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(control.socket_path("office")))
        client.sendall(data)
        answer = bytearray()
        while piece := client.recv(65_536):
            answer += piece
        return bytes(answer)


def test_question_and_answer() -> None:
    assert serve(lambda: ask("office", {"verb": "status", "n": 1})) == {"heard": {"verb": "status", "n": 1}}


def test_an_answer_may_be_awaited() -> None:
    assert serve(lambda: ask("office", {"verb": "status"}), slow) == {"slowly": "status"}


def test_a_large_answer_arrives_whole() -> None:
    nodes = [{"id": f"{i:016x}", "locators": ["192.0.2.1:5140"]} for i in range(20_000)]
    assert serve(lambda: ask("office", {"verb": "status"}), lambda request: {"nodes": nodes}) == {"nodes": nodes}


def test_refusals_and_faults() -> None:
    with pytest.raises(SystemProblem, match=r"\Anot now\Z"):
        serve(lambda: ask("office", {"verb": "refuse"}))
    with pytest.raises(SystemProblem, match=r"\Ainternal error: KeyError\Z"):
        serve(lambda: ask("office", {"verb": "fault"}))


@pytest.mark.parametrize(
    "line", [b"\n", b"{\n", b"[]\n", b"{}\n", b'{"verb": 7}\n', b"\xff\n", b"[" * 9_000 + b"\n", b'"x']
)
def test_bad_requests_are_answered(line: bytes) -> None:
    def client() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(10)
            peer.connect(str(control.socket_path("office")))
            peer.sendall(line)
            peer.shutdown(socket.SHUT_WR)
            return peer.makefile("rb").read()

    assert json.loads(serve(client)) == {"error": "a request is one line of JSON with a verb"}


def test_a_line_without_end_is_cut_off() -> None:
    def client() -> bytes:
        try:
            return raw(b"x" * (control.REQUEST_MAX * 4))
        except (BrokenPipeError, ConnectionResetError):
            return b""

    assert serve(client) == b""


def test_silent_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.2)

    def client() -> Message:
        path = str(control.socket_path("office"))
        idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(control.CONNECTIONS_MAX)]
        try:
            for peer in idle:
                peer.connect(path)
            with pytest.raises(SystemProblem):
                ask("office", {"verb": "one too many"})
            for peer in idle:  # each is dropped in time
                peer.settimeout(10)
                assert peer.recv(1) == b""
        finally:
            for peer in idle:
                peer.close()
        return ask("office", {"verb": "status"})

    assert serve(client) == {"heard": {"verb": "status"}}


def test_close_does_not_wait_for_a_silent_client() -> None:
    async def main() -> None:
        server = ControlServer("office", echo)
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(server.path))
        await server.close()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    asyncio.run(asyncio.wait_for(main(), 3))


@pytest.mark.parametrize("turns", range(4))
def test_close_lets_go_of_a_client_at_any_moment(turns: int) -> None:
    async def main() -> None:
        server = ControlServer("office", echo)
        await server.start()
        await asyncio.sleep(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            client.connect(str(server.path))
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
            with contextlib.suppress(ConnectionResetError):  # never accepted
                assert client.recv(1) == b""
        gc.collect()  # an accepted socket that nobody closed warns, which fails the test

    asyncio.run(asyncio.wait_for(main(), 3))


def test_close_does_not_wait_for_a_slow_answer() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def never(request: Message) -> Message:
            asked.set()
            await asyncio.Event().wait()
            return {}

        server = ControlServer("office", never)
        await server.start()
        _, writer = await asyncio.open_unix_connection(str(server.path))
        writer.write(b'{"verb": "status"}\n')
        await asked.wait()
        await server.close()
        writer.close()
        await writer.wait_closed()

    asyncio.run(asyncio.wait_for(main(), 3))


def test_private_and_gone_after_close(runtime: Path) -> None:
    mode = serve(lambda: stat.S_IMODE(control.socket_path("office").stat().st_mode))
    assert mode == 0o600
    assert list(runtime.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's identity")
def test_another_user_gets_no_answer() -> None:
    code = f"""
import os, socket
os.chdir({str(control.socket_path("office").parent)!r})  # where he could not go by himself
os.setgid(65534)
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect("office.sock")
print("connected")
try:
    s.sendall(b'{{"verb": "status"}}\\n')
    print(s.recv(100))
except ConnectionError:
    print("dropped")
"""

    def client() -> str:
        path = control.socket_path("office")
        path.chmod(0o666)  # let the mode permit it: who he is must stop him
        path.parent.chmod(0o711)
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return done.stdout.strip()

    assert serve(client) in ("connected\nb''", "connected\ndropped")


def test_not_running_and_stale() -> None:
    with pytest.raises(SystemProblem, match="office is not running"):
        ask("office", {"verb": "status"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(control.socket_path("office")))
        killed.listen()
        assert list_running() == ["office"]
    assert control.socket_path("office").exists()
    assert not is_running("office")
    assert list_running() == []
    with pytest.raises(SystemProblem, match="office is not running"):
        ask("office", {"verb": "status"})
    assert serve(list_running) == ["office"]  # the next service takes its place


def test_a_service_that_hangs() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(str(control.socket_path("office")))
        hung.listen()
        with pytest.raises(SystemProblem, match=r"does not answer within 0\.05 s"):
            ask("office", {"verb": "status"}, timeout=0.05)


@pytest.mark.parametrize("answer", [b"", b"{", b"[]\n", b"7\n", b"\n"])
def test_a_service_that_answers_nonsense(answer: bytes) -> None:
    async def main() -> None:
        async def serve_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answer)
            writer.close()

        server = await asyncio.start_unix_server(serve_nonsense, str(control.socket_path("office")))
        async with server:
            with pytest.raises(SystemProblem, match="gave no answer"):
                await asyncio.to_thread(ask, "office", {"verb": "status"})

    asyncio.run(asyncio.wait_for(main(), 20))


def test_path_too_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVNG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(SystemProblem, match="shorter path"):
        control.socket_path("office")
