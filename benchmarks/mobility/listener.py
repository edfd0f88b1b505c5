"""Somebody who reads the wire between a node and the hub, and is nearer to the hub than the node is.

It copies the node's reports and sends them from its own address: at once, so that the copy is there first, or later, as
they were and with a bit changed. What the hub then sends it, it keeps.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType

from benchmarks.mobility.drive import Moment
from benchmarks.mobility.probe import PADDING
from benchmarks.mobility.systems import OVNG_PORT, Running
from benchmarks.mobility.topology import HUB, World
from ovng.clock import now
from ovng.wire.header import PacketType

ADDRESS, GATEWAY = "203.0.113.2", "203.0.113.1"
ALLOWED_BYTES = 3 * 16 * 1024
"""Of one raced move: 3 seconds at most before the old locator is restored, 16 KiB each (PROTOCOL 6), and answers."""
_ETHERTYPE_IP = 0x0800
_IP_UDP = 28


class Listener:
    """On a host of its own, next to the hub; listens on the wire of a's Wi-Fi."""

    address = ADDRESS

    def __init__(self, world: World) -> None:
        host = world.star.net.host("listener")
        world.star.net.join(world.star.hub, host, [f"{GATEWAY}/24"], [f"{ADDRESS}/24"])
        host.default_via(GATEWAY)
        with world.internet.inside():
            self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETHERTYPE_IP))
            self._wire.bind(("a-wifi", _ETHERTYPE_IP))
        with host.inside():
            self._own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._own.bind((ADDRESS, 0))
        for one in (self._wire, self._own):
            one.settimeout(0.05)
        self._racing, self._end = threading.Event(), threading.Event()
        self._reports: list[bytes] = []
        self._taken, self._raced = 0, 0
        self._most = 0
        self._read = False
        self._threads = [threading.Thread(target=work) for work in (self._listen, self._take)]

    def racing(self, move: Callable[[Running], Moment]) -> Callable[[Running], Moment]:
        """The same event, raced."""

        def act(running: Running) -> Moment:
            self._settle()
            self._racing.set()
            return move(running)

        return act

    def replaying(self, _: Running) -> Moment:
        """Send all that was heard again, and each with one bit changed."""
        self._racing.clear()
        self._settle()
        began = now().mono
        for report in self._reports[-50:]:
            self._own.sendto(report, (HUB, OVNG_PORT))
            self._own.sendto(report[:-1] + bytes([report[-1] ^ 1]), (HUB, OVNG_PORT))
        return Moment(began, began)

    def facts(self) -> dict[str, float | bool | str]:
        """What it got out of it."""
        self._settle()
        return {
            "raced": self._raced > 0,
            "reports_raced": float(self._raced),
            "bytes_taken": float(self._most),
            "bounded": self._most <= ALLOWED_BYTES,
            "unreadable": not self._read,
        }

    def _settle(self) -> None:
        """An event is over: what it brought at most."""
        self._most, self._taken = max(self._most, self._taken), 0

    def _listen(self) -> None:
        while not self._end.is_set():
            try:
                packet, source = self._wire.recvfrom(65_536)
            except TimeoutError:
                continue
            if source[2] != socket.PACKET_HOST or packet[9] != socket.IPPROTO_UDP or len(packet) <= _IP_UDP:
                continue
            payload = packet[_IP_UDP:]
            if payload[0] & 0x0F == PacketType.REPORT and packet[16:20] == socket.inet_aton(HUB):
                if self._racing.is_set():
                    self._own.sendto(payload, (HUB, OVNG_PORT))
                    self._raced += 1
                self._reports.append(payload)

    def _take(self) -> None:
        while not self._end.is_set():
            try:
                got = self._own.recv(65_536)
            except TimeoutError:
                continue
            self._taken += len(got)
            self._read = self._read or PADDING in got

    def __enter__(self) -> Listener:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._wire.close()
        self._own.close()
