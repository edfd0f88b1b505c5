"""Requests on the control socket, in any pieces: one line of JSON comes back, whatever the service thinks of it."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import socket
from typing import Any

from ovng.errors import SystemProblem
from ovng.io.control import REQUEST_MAX, ControlServer, Message
from tests.fuzz.choices import Choices

REPEATS_MAX = 300


class _Server(ControlServer):
    """Serves a connected socket, without a path to listen on."""

    def __init__(self) -> None:
        self._handler = _answer
        self._tasks = set()

    async def serve(self, client: socket.socket) -> None:
        await self._serve(client)


def _answer(request: Message) -> Message:
    """Shows what arrived; some verbs fail, in either way."""
    if request["verb"] == "refuse":
        raise SystemProblem("not now")
    if request["verb"] == "fail":
        raise KeyError(request["verb"])
    return {"asked": request}


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    logging.getLogger("ovng.io.control").setLevel(logging.CRITICAL)  # internal errors are what `fail` asks for
    return asyncio.new_event_loop()


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices = Choices(data)
    pieces = [choices.chunk(64) for _ in range(choices.below(4))]
    line = choices.rest()
    pieces.append(line[1:] * REPEATS_MAX if line[:1] == b"*" else line)  # long requests from short inputs
    answer = _loop().run_until_complete(_exchange(pieces))
    if not answer:
        assert sum(map(len, pieces)) > REQUEST_MAX, "a request that was not answered"
        return
    assert answer.endswith(b"\n") and answer.count(b"\n") == 1
    told: Any = json.loads(answer)
    assert isinstance(told, dict) and ("error" in told or told["asked"]["verb"] is not None)


async def _exchange(pieces: list[bytes]) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        serving = asyncio.ensure_future(_Server().serve(theirs))
        loop = asyncio.get_running_loop()
        for piece in pieces:
            try:
                await loop.sock_sendall(ours, piece)
            except BrokenPipeError:
                break
            if piece.endswith(b"\n"):  # a request ends here; nobody reads what follows
                break
            await asyncio.sleep(0)
        ours.shutdown(socket.SHUT_WR)
        await serving
        theirs.close()
        answer = bytearray()
        try:
            while received := await loop.sock_recv(ours, 1 << 16):
                answer += received
        except ConnectionResetError:  # it did not care to read all
            pass
        return bytes(answer)
