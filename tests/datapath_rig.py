"""The node's data path without privileges: a socket pair stands for TUN, a loopback socket for the Switch.

The peer is plain Python over the same primitives, so every datagram is built and judged here byte by byte.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from ovng._fast import frame
from ovng._fast.aead import Aead
from ovng.ids import Locator, NodeID
from ovng.io.datapath import Event, NodeDataPath
from ovng.io.tun import Offloads, Tun
from ovng.limits import HEADER_SIZE
from tests.lacks import HAS_GSO
from tests.unit.packets import NO_VNET, icmp_echo

ME, PEER, OTHER = NodeID(0xA1), NodeID(0xB2), NodeID(0xC3)
KEY, IV = bytes(range(32)), bytes(range(12))
AES, CHACHA = 1, 2
DATA, CONTROL, REPORT, PRIVATE = 1, 2, 3, 4
DUP, CLUSTER, SPARSE = 1, 2, 4
SECONDS = 10.0

OUT = icmp_echo("10.77.0.1", "10.77.0.2")
BACK = icmp_echo("10.77.0.2", "10.77.0.1")
SPOOFED = icmp_echo("10.77.0.3", "10.77.0.1")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        select.select([], [], [], 0.001)


class Rig:
    """A data path between `device` (the applications' side of TUN) and `switch` (the far end of the socket)."""

    def __init__(
        self,
        offloads: dict[str, bool] | None = None,
        *,
        ring_bytes: int = 1 << 20,
        vnet: bool = True,
        short_queue: bool = False,
        start: bool = True,
    ) -> None:
        self.device, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.device.settimeout(SECONDS)
        self.tun = Tun(ours.detach(), "pair", Offloads(vnet, vnet, vnet))
        self.switch = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.switch.bind(("127.0.0.1", 0))
        self.switch.settimeout(SECONDS)
        self.outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outer.bind(("127.0.0.1", 0))
        offloads = {"gso": HAS_GSO} | (offloads or {})
        self.path = NodeDataPath(ME, self.tun, offloads, ring_bytes=ring_bytes, short_queue=short_queue)
        self.path.set_path(0, self.outer, Locator.of(*self.switch.getsockname()))
        self.path.set_active(0)
        self.heard: list[Event] = []
        if start:
            self.path.start()

    def close(self) -> None:
        self.path.close()
        self.tun.close()
        for each in (self.device, self.switch, self.outer):
            each.close()

    def know_peer(self, cipher: int = AES, send_limits: dict[str, int] | None = None) -> None:
        """Keys both ways (key ID 9 inbound, 7 outbound) and routes for 10.77.0.2 and fd77::2."""
        prefixes = [ipaddress.ip_network("10.77.0.2/32"), ipaddress.ip_network("fd77::2/128")]
        self.path.add_peer(PEER, prefixes)
        for prefix in prefixes:
            self.path.add_route(prefix, PEER)
        self.path.install_receive(PEER, 9, cipher, KEY, IV)
        self.path.install_send(PEER, 7, cipher, KEY, IV, **(send_limits or {}))

    # The switch's side

    def deliver(self, datagram: bytes) -> None:
        self.switch.sendto(datagram, self.outer.getsockname())

    def left(self) -> bytes:
        """The next datagram that came out."""
        return self.switch.recv(70_000)

    # The applications' side

    def send(self, packet: bytes) -> None:
        self.device.send(NO_VNET + packet if self.tun.offloads.vnet_hdr else packet)

    def arrived(self) -> bytes:
        """The next frame that went to TUN."""
        return self.device.recv(70_000)

    # The control plane's side

    def drops(self, reason: str) -> int:
        return int(self.path.stats()["drops"][reason])

    def expect(self, event: Event) -> None:
        """Wait until that event was told."""

        def told() -> bool:
            self.heard.extend(self.path.events())
            return event in self.heard

        until(told)


def seal(
    number: int,
    packet: bytes = BACK,
    *,
    key: bytes = KEY,
    key_id: int = 9,
    flags: int = 0,
    dst: NodeID = ME,
    src: NodeID = PEER,
    cipher: int = AES,
) -> bytes:
    header = frame.build(DATA, key_id, flags, dst, src, number)
    return header + Aead(cipher, key, IV).seal_packet(number, header, packet)


def opened(datagram: bytes, cipher: int = AES, key: bytes = KEY) -> tuple[int, bytes]:
    """(number, inner packet) of one that the data path has sealed for PEER."""
    header = frame.parse(datagram)
    assert isinstance(header, tuple)
    kind, key_id, flags, dst, src, number = header
    assert (kind, key_id, flags & ~SPARSE, dst, src) == (DATA, 7, 0, PEER, ME)
    packet = Aead(cipher, key, IV).open_packet(number, datagram[:HEADER_SIZE], datagram[HEADER_SIZE:])
    assert packet is not None
    return number, packet


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
