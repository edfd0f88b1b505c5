"""Nodes that are nothing but a UDP socket and an ID, around a real `SwitchDataPath`."""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ovng._fast.table import Table
from ovng.config.values import Endpoint
from ovng.ids import Locator, NodeID
from ovng.io.switchpath import SwitchDataPath, SwitchEvent
from tests.lacks import HAS_GSO, SOL_UDP, UDP_SEGMENT

SWITCH = NodeID(0x5157_17C4_0000_0001)
A, B, C = 0xA << 60, 0xB << 60, 0xC << 60
DATA, CONTROL, REPORT, PRIVATE = 1, 2, 3, 4
TABLE_KEY = bytes(range(16))


def header(dst: int, src: int, kind: int = DATA, *, key_id: int = 0, flags: int = 0, number: int = 1) -> bytes:
    fields = (bytes([1 << 4 | kind, key_id]), flags.to_bytes(2, "big"), dst.to_bytes(8, "big"), src.to_bytes(8, "big"))
    return b"".join(fields) + number.to_bytes(8, "big")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.002)


class FakeNode:
    """A node's socket. `id` 1 … 2^64-1; `to` is the Switch's address as this node sees it."""

    def __init__(self, id: int, host: str, to: tuple[str, int]) -> None:
        self.id, self.to = NodeID(id), to
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.sock.bind((host, 0))
        self.locator = Locator.of(*self.sock.getsockname()[:2])

    def send(self, dst: int, payload: bytes = b"", kind: int = DATA, **fields: int) -> bytes:
        datagram = header(dst, self.id, kind, **fields) + payload
        self.send_raw(datagram)
        return datagram

    def send_raw(self, datagram: bytes) -> None:
        self.sock.sendto(datagram, self.to)

    def send_train(self, datagrams: list[bytes]) -> None:
        """All in one segmented send: equal lengths, only the last may be shorter."""
        if not HAS_GSO:
            pytest.skip("this kernel does not cut what is sent at UDP_SEGMENT")
        size = len(datagrams[0])
        control = [(SOL_UDP, UDP_SEGMENT, size.to_bytes(2, sys.byteorder))]
        self.sock.sendmsg([b"".join(datagrams)], control, 0, self.to)

    def receive(self, count: int = 1, seconds: float = 5.0) -> list[bytes]:
        """Exactly `count` datagrams, in their order."""
        got: list[bytes] = []
        deadline = time.monotonic() + seconds
        while len(got) < count:
            ready = select.select([self.sock], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, f"{len(got)} of {count} datagrams arrived"
            got.append(self.sock.recv(65536))
        return got

    def assert_silent(self) -> None:
        """Nothing waits. For after something later that has arrived."""
        assert not select.select([self.sock], [], [], 0)[0]


class World:
    """A Switch that forwards, and its table."""

    def __init__(self, **options: Any) -> None:
        listen = options.pop("listen", [Endpoint("::", 0)])
        self.table = Table(options.pop("capacity", 1024), TABLE_KEY)
        options.setdefault("short_queue", False)  # a slow machine drops nothing: tests can tell what else is missing
        options.setdefault("gso", HAS_GSO)
        self.path = SwitchDataPath(SWITCH, listen, self.table, **options)
        self.port = self.path.addresses[0].port
        self.nodes: list[FakeNode] = []

    def close(self) -> None:
        self.path.stop()
        for node in self.nodes:
            node.sock.close()

    def node(self, id: int, host: str = "127.0.0.1", *, attached: bool = True, grace: int = 0) -> FakeNode:
        to = ("::1" if ":" in host else "127.0.0.1", self.port)
        node = FakeNode(id, host, to)
        self.nodes.append(node)
        if attached:
            self.table.put(node.id, b"record")
            self.place(node, node.locator)
            self.table.set_credit(node.id, grace, 0)
        return node

    def place(
        self, node: FakeNode, *locators: Locator | None, active: int = 0, fallback: int = -1, mask: int = 0
    ) -> None:
        slots = [locator.packed() if locator else None for locator in locators]
        self.table.set_locators(node.id, slots + [None] * (4 - len(slots)), active, fallback, mask)

    def events(self, count: int = 1) -> list[SwitchEvent]:
        """At least `count` events, waiting on the eventfd alone."""
        events: list[SwitchEvent] = []
        while len(events) < count:
            assert select.select([self.path.fileno()], [], [], 5.0)[0], f"{len(events)} of {count} events"
            events += self.path.events()
        return events

    def count(self, name: str) -> int:
        return self.path.stats()[name]

    def wait_count(self, name: str, value: int) -> None:
        wait_until(lambda: self.count(name) >= value, f"{name} = {value}, it is {self.count(name)}")
        assert self.count(name) == value, name

    def drops(self) -> dict[str, int]:
        return {name: value for name, value in self.path.stats().items() if name.startswith("drop_") and value}


@contextmanager
def world(**options: Any) -> Iterator[World]:
    made = World(**options)
    made.path.start()
    try:
        yield made
    finally:
        made.close()
