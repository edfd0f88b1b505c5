"""What the kernel says on netlink: notifications, dumps and answers, whole or not.

The bytes are the kernel's, which does not lie; but a newer kernel says more, and a full buffer cuts. So the watcher
must come through anything: it looks again, and at worst counts that it could not.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import re
import socket
import struct
from typing import cast

from ovng.errors import SystemProblem
from ovng.io import netlink
from ovng.io import rtnetlink as rt
from ovng.io.netlink import Watcher
from ovng.io.rtnetlink import Raw, RouteSocket, split
from ovng.roaming.delta import compare
from ovng.roaming.snapshot import LinkSnapshot
from tests.attachment_fixture import START, after
from tests.fuzz.choices import Choices

_HEADER = struct.Struct("=IHHII")
DESTINATIONS = tuple(map(ipaddress.ip_address, ("198.51.100.1", "2001:db8::1")))
ANSWERS_MAX = 12
_DONE, _ERROR = 3, 2
_ENCAP = re.compile(rb"\x16[\0\x40\x80\xc0]")
"""RTA_ENCAP: pyroute2 (0.9.7, `rtmsg.encap_info`) does not come to an end of a broken one, which Linux never sends."""


class _Kernel:
    """In place of the netlink socket: answers requests as the program says."""

    def __init__(self, choices: Choices) -> None:
        self._choices, self._left, self._sequence = choices, ANSWERS_MAX, 0

    def sendall(self, data: bytes) -> None:
        self._sequence = _HEADER.unpack_from(data)[3]

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, None]:
        self._left -= 1
        if self._left < 0 or not self._choices:
            return message(_DONE, bytes(4), self._sequence), [], 0, None
        cut = socket.MSG_TRUNC if self._choices.u8() == 1 else 0
        return datagram(self._choices, self._sequence), [], cut, None

    def recv(self, size: int) -> bytes:
        raise BlockingIOError

    def settimeout(self, seconds: float) -> None:
        """Never waits."""

    def close(self) -> None:
        """Nothing to close."""


def message(kind: int, body: bytes, sequence: int, flags: int = 0) -> bytes:
    """One netlink message, padded."""
    padding = bytes(-len(body) % 4)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body + padding


def attribute(kind: int, value: bytes) -> bytes:
    """struct rtattr, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@functools.cache
def bodies() -> tuple[tuple[int, bytes], ...]:
    """A link, an address, a default route and the answer to where a datagram goes, as Linux tells them."""
    link = struct.pack("=BxHiII", 0, 1, 2, 0x11043, 0) + attribute(3, b"eth0\0") + attribute(4, struct.pack("=I", 1500))
    address = struct.pack("=BBBBI", socket.AF_INET, 24, 0x80, 0, 2)
    address += attribute(1, bytes([192, 0, 2, 7])) + attribute(2, bytes([192, 0, 2, 7])) + attribute(8, bytes(4))
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 16, 0, 1, 0)
    default = head + attribute(4, struct.pack("=I", 2)) + attribute(5, bytes([192, 0, 2, 1]))
    default += attribute(6, struct.pack("=I", 100))
    via = head + attribute(4, struct.pack("=I", 2)) + attribute(18, struct.pack("=H", 10) + bytes(16))
    way = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 0, 0, 1, 0)
    way += attribute(4, struct.pack("=I", 2)) + attribute(7, bytes([192, 0, 2, 7]))
    return (
        (rt.RTM_NEWLINK, link),
        (rt.RTM_NEWADDR, address),
        (rt.RTM_NEWROUTE, default),
        (rt.RTM_NEWROUTE, via),
        (
            rt.RTM_NEWROUTE,
            way,
        ),
    )


def datagram(choices: Choices, sequence: int) -> bytes:
    """Several messages, each perhaps changed, and the end of a dump."""
    parts = []
    for _ in range(choices.below(4)):
        kind, body = choices.pick(bodies())
        if choices.below(8) == 7:
            kind, body = choices.u8(), choices.chunk(200)
        flags = 0x10 if choices.below(16) == 15 else 0x2
        parts.append(choices.changed(message(kind, choices.changed(body), sequence, flags)))
    match choices.below(4):
        case 0 | 1:
            parts.append(message(_DONE, bytes(4), sequence))
        case 2:
            parts.append(message(_ERROR, struct.pack("=i", -choices.u8()), sequence))
    return _ENCAP.sub(b"\x17\0", b"".join(parts))


class _Watcher(Watcher):
    """A watcher whose sockets lead to the program; `notify` is the kernel's end of one."""

    def __init__(self, choices: Choices) -> None:
        super().__init__("ovng0")
        self._notices.close()
        self._requests.close()
        self._requests._socket = cast(socket.socket, _Kernel(choices))
        self._notices._socket, self.notify = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices._socket.setblocking(False)
        self._heard.register(self._notices)

    def close(self) -> None:
        super().close()
        self.notify.close()


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    logging.getLogger(netlink.__name__).setLevel(logging.CRITICAL)
    choices = Choices(data)
    watcher = _Watcher(choices)
    try:
        _watch(watcher, choices)
    finally:
        watcher.close()


def _watch(watcher: _Watcher, choices: Choices) -> None:
    now, last = START, LinkSnapshot()
    watcher.set_destinations(DESTINATIONS)
    while choices:
        told = datagram(choices, 0)
        for raw, _, _ in split(told):
            _read(watcher._notices, raw)
        watcher.notify.send(told)
        watcher.receive(now)
        now = after(now, 2.0)
        failed = watcher.counters["failed"]
        snapshot = watcher.take(now)
        if snapshot is not None:
            compare(last, snapshot, DESTINATIONS[0])
            last = snapshot
        due = watcher.deadline()
        assert due is None or due > now.mono, "a deadline that is always due"
        assert watcher.counters["failed"] == failed or due is not None, "a failed look that is not tried again"


def _read(route_socket: RouteSocket, raw: Raw) -> None:
    try:
        route_socket.decode(raw)
    except ValueError:
        return
    except SystemProblem as error:  # of no bytes
        raise AssertionError("bytes of the kernel stop the service") from error
