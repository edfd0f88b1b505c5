"""The control socket of a running service: a Unix stream socket, one JSON object per line each way.

A request is {"verb": NAME, …}; the answer is whatever the service says about it, or {"error": TEXT}; or lines without
end, until one side closes (`Stream`). The socket is mode 0600 and the kernel names the caller (SO_PEERCRED): root and
the service's own user only.

The server is asyncio and bounded in all it takes; the client is for the command line, and blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ovng.errors import OvngError, SystemProblem
from ovng.io.files import runtime_dir

log = logging.getLogger(__name__)

Message = dict[str, Any]


class Stream(Protocol):
    """An answer of many lines."""

    async def take(self) -> list[Message]:
        """What there is to say, waited for."""
        ...

    def close(self) -> None:
        """Nobody listens any more."""
        ...


Handler = Callable[[Message], Awaitable[Message] | Message | Stream]

SWITCH_RUNTIME_DIR = Path("/run/ovng-switch")
"""Of ovng-switch.service, whose user may not write to /run/ovng. Root asks there, too, and believes nothing more."""
REQUEST_MAX = 16_384
ANSWER_MAX = 1 << 24
CONNECTIONS_MAX = 16
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 10.0
_FIRST_SECONDS = 10.0
_PATH_MAX = 107  # sockaddr_un.sun_path less its final zero


def socket_path(name: str, *, create: bool = False) -> Path:
    """Where the service of a profile listens. Raises SystemProblem."""
    path = runtime_dir(create=create) / f"{name}.sock"
    if len(os.fsencode(path)) > _PATH_MAX:
        raise SystemProblem(f"{path}: is too long for a socket: set OVNG_RUNTIME_DIR to a shorter path")
    return path


def _find_socket(name: str) -> Path:
    """Where to ask: below our own runtime directory, or that of the Switch's user. Raises SystemProblem."""
    path = socket_path(name)
    if not path.exists() and not os.environ.get("OVNG_RUNTIME_DIR"):
        with contextlib.suppress(OSError):  # others may not look there
            other = SWITCH_RUNTIME_DIR / path.name
            return other if other.exists() else path
    return path


# -- The service's side


class ControlServer:
    """Answers on the socket of `name`. The caller holds the profile's lock, so a socket found there is stale."""

    def __init__(self, name: str, handler: Handler) -> None:
        self.path = socket_path(name, create=True)
        self._handler = handler
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises SystemProblem."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.path.unlink(missing_ok=True)
            mask = os.umask(0o177)  # nobody may connect between bind and chmod
            try:
                listener.bind(str(self.path))
            finally:
                os.umask(mask)
            listener.listen(CONNECTIONS_MAX)
        except OSError as error:
            listener.close()
            raise SystemProblem(f"{self.path}: cannot listen: {error.strerror}") from None
        self._listener = listener
        self._listen(listener)

    async def close(self) -> None:
        """Stop listening, let no client wait, and remove the socket."""
        if self._listener:
            self.path.unlink(missing_ok=True)
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self, listener: socket.socket) -> None:
        if listener is self._listener:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        # Not loop.sock_accept: one cancelled in the same turn loses the client it has accepted.
        loop = asyncio.get_running_loop()
        try:
            client, _ = listener.accept()
        except BlockingIOError:  # it has gone again
            return
        except OSError:  # out of descriptors, most likely: try again when something may have been closed
            loop.remove_reader(listener)
            loop.call_later(1.0, self._listen, listener)
            return
        if len(self._tasks) >= CONNECTIONS_MAX or not _may_ask(client):
            client.close()
            return
        client.setblocking(False)
        task = loop.create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: client.close())  # also when it is cancelled before its first step

    async def _serve(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await _receive_line(client)
            answer = await self._answer(line)
            if not isinstance(answer, bytes):
                await _stream(client, answer)
                return
            async with asyncio.timeout(ANSWER_SECONDS):
                await loop.sock_sendall(client, answer)
        except (TimeoutError, OSError, ValueError):
            pass  # too slow, gone, or a line without end

    async def _answer(self, line: bytes) -> bytes | Stream:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
            return _packed({"error": "a request is one line of JSON with a verb"})
        try:
            result = self._handler(request)
            if isinstance(result, Awaitable):
                result = await result
            return _packed(result) if isinstance(result, dict) else result
        except OvngError as error:
            return _packed({"error": str(error)})
        except Exception as error:  # a fault in an answer must not end the tunnel
            log.error("internal error in the answer to %r: %r", request["verb"][:32], error)
            return _packed({"error": f"internal error: {type(error).__name__}"})


async def _stream(client: socket.socket, lines: Stream) -> None:
    """Until the client closes: it has nothing more to say. One that does not read holds up nobody but itself."""
    loop = asyncio.get_running_loop()
    gone = loop.create_task(loop.sock_recv(client, 1))
    taken = loop.create_task(lines.take())
    try:
        while True:
            try:
                await asyncio.wait({gone, taken}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:  # the service ends: what it has said last goes with it, if there is room
                if taken.done():
                    client.send(b"".join(map(_packed, taken.result())))
                raise
            if gone.done():
                return
            await loop.sock_sendall(client, b"".join(map(_packed, taken.result())))
            taken = loop.create_task(lines.take())
    finally:
        lines.close()
        for task in (gone, taken):
            task.cancel()
        await asyncio.gather(gone, taken, return_exceptions=True)


def _packed(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"


async def _receive_line(client: socket.socket) -> bytes:
    """Up to the first newline or the end. Raises ValueError beyond REQUEST_MAX bytes."""
    loop, line = asyncio.get_running_loop(), bytearray()
    while not line.endswith(b"\n"):
        piece = await loop.sock_recv(client, REQUEST_MAX)
        if not piece:
            break
        line += piece
        if len(line) > REQUEST_MAX:
            raise ValueError("a request without end")
    return bytes(line)


def _may_ask(client: socket.socket) -> bool:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.geteuid())


# -- The command line's side


def ask(name: str, request: Message, timeout: float = 10.0, path: Path | None = None) -> Message:
    """Ask the service of a profile. Raises SystemProblem when it does not run, is too slow, or answers an error.

    `path` is its socket, where it has another runtime directory than this process.
    """
    path = path or _find_socket(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, _in_words(name, path, timeout):
        client.settimeout(timeout)
        client.connect(str(path))
        client.sendall(_packed(request))
        return _understood(_read_line(client))


def follow(name: str, request: Message, path: Path | None = None) -> Iterator[Message]:
    """As `ask`, for an answer of many lines: each as it comes, until the service ends. Raises SystemProblem."""
    path = path or _find_socket(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, _in_words(name, path, _FIRST_SECONDS):
        client.settimeout(_FIRST_SECONDS)
        client.connect(str(path))
        client.sendall(_packed(request))
        with client.makefile("rb") as lines:
            first = lines.readline(ANSWER_MAX)
            client.settimeout(None)
            yield _understood(first)
            while line := lines.readline(ANSWER_MAX):
                yield _understood(line)


@contextmanager
def _in_words(name: str, path: Path, timeout: float) -> Iterator[None]:
    """What may go wrong with a service's socket, as people need it."""
    try:
        yield
    except (FileNotFoundError, ConnectionRefusedError):
        raise SystemProblem(f"{name} is not running") from None
    except TimeoutError:
        raise SystemProblem(f"{name} does not answer within {timeout:g} s") from None
    except PermissionError:
        raise SystemProblem(f"{path}: permission denied: ask as root or as the service's user") from None
    except OSError as error:
        raise SystemProblem(f"{path}: {error.strerror}") from None
    except ValueError:
        raise SystemProblem(f"{name} gave no answer: it ends, or is of another version") from None


def _understood(line: bytes) -> Message:
    """Raises ValueError for what is no answer, SystemProblem for one that says `error`."""
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("no JSON object")
    if "error" in answer:
        raise SystemProblem(str(answer["error"]))
    return answer


def _read_line(client: socket.socket) -> bytes:
    """Up to the first newline. Raises ValueError when the answer has no end."""
    pieces = bytearray()
    while not pieces.endswith(b"\n"):
        piece = client.recv(65_536)
        if not piece or len(pieces) + len(piece) > ANSWER_MAX:
            raise ValueError("no whole answer")
        pieces += piece
    return bytes(pieces)


def is_running(name: str) -> bool:
    """Whether somebody listens on the socket of this name; a socket left by a killed service does not count."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(_find_socket(name)))
        except (OSError, SystemProblem):
            return False
    return True


def list_running() -> list[str]:
    """Names of the profiles that run on this machine."""
    directories = [runtime_dir(create=False)]
    if not os.environ.get("OVNG_RUNTIME_DIR"):
        directories.append(SWITCH_RUNTIME_DIR)
    names = {path.stem for directory in directories for path in directory.glob("*.sock")}
    return [name for name in sorted(names) if is_running(name)]
