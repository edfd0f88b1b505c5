"""The traffic of a scenario: 1000 numbered datagrams a second each way, a paced TCP stream, an idle TCP connection.

As a program it is one end, on its node, in a process of its own. It says `ready` when both TCP connections stand, and
on SIGTERM stops sending, sees whether the TCP connections still work, and writes what it saw as JSON. `a` opens the
connections and sends the stream; `b` receives it. With --hold it sends nothing before SIGUSR1.

`Probe` starts and stops both ends. How far they are it reads from a page of memory that each end shares as a file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mobility.flow import INTERVAL, Flow
from benchmarks.star import Star
from ovng.demo.net import Process, wait_until

PORT, STREAM_PORT, IDLE_PORT = 7000, 7001, 7002
PADDING = b"<<nobody but the two ends may read this: ovng probe.....>>"
STREAM_RATE = 400_000  # bytes per second
READY_SECONDS, END_SECONDS = 15.0, 20.0
DRAIN_SECONDS = 1.0
ALIVE_SECONDS = 8.0
"""What the idle connection may take to carry a byte and an answer at the end, and the stream to arrive whole."""
_CHUNK = bytes(16_384)
_SO_TIMESTAMPNS, _SO_MAX_PACING_RATE, _SO_RCVBUFFORCE = 35, 47, 33
_SHARED = struct.Struct("=qd")  # datagrams that came; when the last one came


# -- One end, the program


class End:
    """Sockets of one end, and what they saw."""

    def __init__(self, here: str, there: str, *, opens: bool, shared: Path, interval: float = INTERVAL) -> None:
        self._interval = interval
        family = socket.AF_INET6 if ":" in here else socket.AF_INET
        self._there, self._opens = there, opens
        self.udp = socket.socket(family, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
        self.udp.bind((here, PORT))
        self.udp.setblocking(False)
        self._out = socket.socket(family, socket.SOCK_DGRAM)
        self._out.bind((here, 0))
        self.sent: list[float] = []
        self.refused = 0
        self.arrived: list[tuple[int, float]] = []
        self.stream_arrived: list[float] = []
        self.stream_bytes = 0
        self.alive = {"stream": False, "idle": False}
        self.go, self.stop = threading.Event(), threading.Event()
        with shared.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        self.stream, self.idle = self._connect(here, family)

    def _connect(self, here: str, family: int) -> tuple[socket.socket, socket.socket]:
        if not self._opens:
            with (
                socket.create_server((here, STREAM_PORT), family=family) as one,
                socket.create_server((here, IDLE_PORT), family=family) as other,
            ):
                one.settimeout(READY_SECONDS)
                return one.accept()[0], other.accept()[0]
        pair = []
        for port in (STREAM_PORT, IDLE_PORT):
            deadline = time.monotonic() + READY_SECONDS
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    pair.append(socket.create_connection((self._there, port), timeout=READY_SECONDS))
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError("the other end does not listen")
                time.sleep(0.02)
        stream, idle = pair
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        stream.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, STREAM_RATE)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        return stream, idle

    def finish(self) -> None:
        """Send nothing more."""
        self.stop.set()
        self.go.set()

    def send(self) -> None:
        """Datagrams at a steady pace until told to stop; the thread's work."""
        self.go.wait()
        began, number = time.monotonic(), 0
        while not self.stop.is_set():
            early = began + number * self._interval - time.monotonic()
            if early > 0:
                time.sleep(early)
            at = time.monotonic()
            self.sent.append(at)
            try:
                self._out.sendto(struct.pack("=q", number) + PADDING, (self._there, PORT))
            except OSError:  # no route: the application is told, and the packet is lost all the same
                self.refused += 1
            number += 1

    def run(self) -> None:
        """Receive, and send the stream, until told to stop and then until all is told."""
        self.stream.setblocking(False)
        self.idle.setblocking(False)
        print("ready", flush=True)
        streaming, deadline = self._opens, 0.0
        asked, pending = False, {"stream", "idle"}
        while not deadline or (pending and time.monotonic() < deadline) or time.monotonic() < self._drained:
            if self.stop.is_set() and not deadline:
                deadline, self._drained = time.monotonic() + ALIVE_SECONDS, time.monotonic() + DRAIN_SECONDS
                if self._opens and not asked:
                    streaming, asked = False, True
                    with contextlib.suppress(OSError):
                        self.stream.shutdown(socket.SHUT_WR)
                    with contextlib.suppress(OSError):
                        self.idle.send(b"?")
            readers = [self.udp, *(one for name, one in self._tcp() if name in pending)]
            writers = [self.stream] if streaming and self.go.is_set() else []
            readable, writable, _ = select.select(readers, writers, [], 0.05)
            if self.udp in readable:
                self._receive()
            for name, one in self._tcp():
                if one in readable and self._hear(name, one):
                    pending.discard(name)
            if writable:
                streaming = self._stream()

    _drained = 0.0

    def _tcp(self) -> tuple[tuple[str, socket.socket], ...]:
        return ("stream", self.stream), ("idle", self.idle)

    def _receive(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self.udp.recvmsg(2048, 64)
            except BlockingIOError:
                return
            at = time.monotonic()
            if ancillary:  # the kernel's own stamp: how late we were does not count
                seconds, nanoseconds = struct.unpack_from("=qq", ancillary[0][2])
                at -= max(0.0, time.time() - (seconds + nanoseconds / 1e9))
            self.arrived.append((struct.unpack_from("=q", data)[0], at))
            _SHARED.pack_into(self._shared, 0, len(self.arrived), at)

    def _hear(self, name: str, one: socket.socket) -> bool:
        """Whether there is nothing more to hear on this connection."""
        try:
            data = one.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if name == "stream" and data:
            self.stream_arrived.append(time.monotonic())
            self.stream_bytes += len(data)
            return False
        if name == "stream":  # its end arrived, so all of it did; an answering end says the same to `a`
            self.alive["stream"] = True
            if not self._opens:
                one.shutdown(socket.SHUT_WR)
            return True
        self.alive["idle"] = data == b"?"
        if data and not self._opens:
            one.send(data)
        return True

    def _stream(self) -> bool:
        """Send some more; False when the connection is dead."""
        try:
            self.stream_bytes += self.stream.send(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mobility.probe")
    parser.add_argument("role", choices=("a", "b"))
    for name in ("here", "there", "out", "shared"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--interval", type=float, default=INTERVAL)
    parser.add_argument("--hold", action="store_true")
    options = parser.parse_args()
    sys.setswitchinterval(0.0005)
    opens, shared = options.role == "a", Path(options.shared)
    end = End(options.here, options.there, opens=opens, shared=shared, interval=options.interval)
    signal.signal(signal.SIGTERM, lambda *_: end.finish())
    signal.signal(signal.SIGUSR1, lambda *_: end.go.set())
    if not options.hold:
        end.go.set()
    sender = threading.Thread(target=end.send)
    sender.start()
    end.run()
    sender.join()
    seen = {
        "sent": end.sent,
        "refused": end.refused,
        "arrived": end.arrived,
        "stream": end.stream_arrived,
        "alive": end.alive,
    }
    Path(options.out).write_text(json.dumps(seen))
    return 0


# -- Both ends, from the benchmark


@dataclass(frozen=True)
class Seen:
    """A whole probe."""

    up: Flow
    """a → b."""
    down: Flow
    stream: list[float]
    """When parts of the TCP stream came."""
    stream_alive: bool
    idle_alive: bool


class Probe:
    """Both ends, running. `a` and `b` are the inner addresses, `interval` seconds between two datagrams."""

    def __init__(self, star: Star, a: str, b: str, *, hold: bool = False, interval: float = INTERVAL) -> None:
        self._folder = star.net.directory
        self._pages: dict[str, mmap.mmap] = {}
        self._processes: dict[str, Process] = {}
        for role, host, here, there in (("b", star.b, b, a), ("a", star.a, a, b)):
            shared = self._folder / f"probe-{role}.shared"
            shared.write_bytes(bytes(_SHARED.size))
            with shared.open("rb") as file:
                self._pages[role] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            words = [role, "--here", here, "--there", there, "--out", str(self._out(role)), "--shared", str(shared)]
            words += [f"--interval={interval}", *(["--hold"] if hold else [])]
            command = [sys.executable, "-m", "benchmarks.mobility.probe", *words]
            self._processes[role] = host.start("probe", *command)
        wait_until(self._ready, "probe", READY_SECONDS)
        if not hold:
            wait_until(lambda: self.count("a") and self.count("b"), "first datagrams both ways")

    def go(self, role: str) -> None:
        """End the hold of one end."""
        self._processes[role].send(signal.SIGUSR1)

    def count(self, role: str) -> int:
        """Datagrams that this end has received."""
        return int(_SHARED.unpack_from(self._pages[role])[0])

    def last(self, role: str) -> float:
        """When this end received the last one."""
        return float(_SHARED.unpack_from(self._pages[role])[1])

    def arriving(self, since: float, roles: str = "ab", more: int = 20) -> Callable[[], bool]:
        """A condition: at each of the ends something came after an instant, and so many more after that."""
        marks: dict[str, int] = {}

        def holds() -> bool:
            for role in roles:
                if role not in marks and self.last(role) > since:
                    marks[role] = self.count(role)
            return len(marks) == len(roles) and all(self.count(role) >= marks[role] + more for role in roles)

        return holds

    def stop(self) -> Seen:
        """Stop both; what they saw. Raises SystemProblem when one has failed."""
        for process in self._processes.values():
            process.check()
            process.send(signal.SIGTERM)
        for process in self._processes.values():
            process.finish(END_SECONDS)
        seen: dict[str, dict[str, Any]] = {role: json.loads(self._out(role).read_text()) for role in "ab"}
        a, b = seen["a"], seen["b"]
        return Seen(
            Flow.of(a["sent"], b["arrived"]),
            Flow.of(b["sent"], a["arrived"]),
            b["stream"],
            a["alive"]["stream"] and b["alive"]["stream"],
            a["alive"]["idle"],
        )

    def kill(self) -> None:
        """End both; what they saw is lost."""
        for process in self._processes.values():
            process.kill()

    def _out(self, role: str) -> Path:
        return self._folder / f"probe-{role}.json"

    def _ready(self) -> bool:
        for process in self._processes.values():
            process.check()
        return all("ready" in process.output for process in self._processes.values())


if __name__ == "__main__":
    sys.exit(main())
