"""A netlink route socket: requests and their answers, notifications as they come. See netlink(7), rtnetlink(7).

pyroute2 knows the messages; its sockets are not used. Up to 0.8 they block, since 0.9 they are asyncio inside and
cannot be called from a running loop; its message classes are the same in all versions. They are imported when the first
socket is made that wants them, and alone: the package's own `__init__` imports all the rest as well, which costs
12 MB and a third of a second. A `lean` socket goes without (`io/nlmessages`), and knows no rules.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
_GET_NEW = RTM_GETLINK - RTM_NEWLINK  # so far is the kind of an answer from that of its request, for all of them
LINK_KINDS, ADDRESS_KINDS, ROUTE_KINDS, RULE_KINDS, NEXTHOP_KINDS = (16, 17), (20, 21), (24, 25), (32, 33), (104, 105)

F_REQUEST, F_ACK, F_DUMP = 0x1, 0x4, 0x300
F_REPLACE, F_EXCL, F_CREATE = 0x100, 0x200, 0x400
_F_DUMP_INTERRUPTED = 0x10
_NOOP, _ERROR, _DONE, _OVERRUN = 1, 2, 3, 4

GROUP_LINK, GROUP_V4_ADDRESS, GROUP_V4_ROUTE, GROUP_V4_RULE = 0x1, 0x10, 0x40, 0x80
GROUP_V6_ADDRESS, GROUP_V6_ROUTE, GROUP_V6_RULE, GROUP_NEXTHOP = 0x100, 0x400, 1 << 18, 1 << 31

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_INT = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_RTA_CACHEINFO = 12
_TIMEOUT = 3.0  # seconds; the kernel answers at once or not at all
_BUFFER = 1 << 16  # no netlink message is longer than what the kernel puts in one skb
_DUMP_TRIES = 4

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
VERSIONS = {int(family): version for version, family in FAMILIES.items()}

Message = Any  # of pyroute2, which has no types


class Raw(NamedTuple):
    """One message as it came: its type and all its bytes, header included."""

    kind: int
    data: bytes

    def body(self, layout: struct.Struct) -> tuple[int, ...]:
        """The fixed part that follows the header, without decoding the rest. Raises struct.error when too short."""
        return layout.unpack_from(self.data, _HEADER.size)


IFINFO = struct.Struct("=BxHiI")  # family, hardware type, index, flags
IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
ROUTE = struct.Struct("=BBBBBBBB")  # family, destination length, source length, tos, table, protocol, scope, type


class RouteSocket:
    """Takes either notifications, without blocking, or requests, each of which waits for the kernel's answer."""

    def __init__(self, groups: int = 0, *, lean: bool = False) -> None:
        """`groups` are the notifications wanted, or-ed; none makes it a socket for requests. Raises OSError."""
        self._classes = _lean_classes() if lean else _message_classes()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._sequence = 0
        self._dumps: dict[tuple[int, int], bytes] = {}  # by kind and family: the request
        self._decoded: dict[tuple[int, int], dict[bytes, Message]] = {}  # by kind and family: the last dump
        self.torn = 0
        """Dumps that are no picture of one instant."""
        try:
            self._socket.bind((0, groups))
            self._socket.settimeout(0 if groups else _TIMEOUT)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For the driver."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def message(self, kind: int, **fields: Any) -> Message:
        """An empty message of the class that belongs to `kind`; `attrs` is a list of (name, value)."""
        message = self._classes[kind]()
        for name, value in fields.items():
            message[name] = value
        return message

    def decode(self, raw: Raw) -> Message:
        """Decode one. Raises ValueError when it is truncated or not of a kind we know."""
        if raw.kind not in self._classes:
            raise ValueError(f"netlink message type {raw.kind}")
        message = self._classes[raw.kind](raw.data)
        try:
            message.decode()
        except Exception as error:  # pyroute2 raises what it likes; the kernel's bytes are the only input
            raise ValueError(str(error)) from error
        return message

    def change(self, kind: int, message: Message, flags: int = 0) -> None:
        """Ask the kernel to do something. Raises OSError as the kernel says."""
        for _ in self._exchange(kind, encoded(message), F_REQUEST | F_ACK | flags):
            pass

    def ask(self, kind: int, message: Message) -> Message:
        """Ask for one thing. Raises OSError as the kernel says."""
        return self.decode(self.ask_raw(kind, encoded(message)))

    def ask_raw(self, kind: int, request: bytes) -> Raw:
        """The same, neither encoded nor decoded here."""
        answers = [raw for raw in self._exchange(kind, request, F_REQUEST | F_ACK) if raw.kind == kind - _GET_NEW]
        if not answers:
            raise OSError(errno.ENODATA, "no answer")
        return answers[0]

    def dump(self, kind: int, family: int = 0, want: Callable[[Raw], bool] = lambda raw: True) -> list[Message]:
        """All entries (0: of all families) that `want` lets through undecoded, for reading only. Raises OSError.

        What is as it was in the last dump is not decoded again; of links that is those that have carried nothing.
        A table that changes all the time is never told whole: then all that was seen in any of a few tries, and `torn`.
        """
        seen: dict[bytes, Raw] = {}
        table = kind, family
        if table not in self._dumps:
            self._dumps[table] = encoded(self.message(kind, family=family))
        for _ in range(_DUMP_TRIES):
            raws: list[Raw] = []
            try:
                for raw in self._exchange(kind, self._dumps[table], F_REQUEST | F_DUMP):
                    raws.append(raw)
            except InterruptedError:
                seen |= {raw.data[_HEADER.size :]: raw for raw in raws}
            else:
                break
        else:
            raws = list(seen.values())
            self.torn += 1
        wanted = [raw for raw in raws if raw.kind == kind - _GET_NEW and want(raw)]
        known, told = self._decoded.get(table, {}), {raw.data[_HEADER.size :]: raw for raw in wanted}
        self._decoded[table] = now = {data: known.get(data) or self.decode(raw) for data, raw in told.items()}
        return [now[raw.data[_HEADER.size :]] for raw in wanted]

    def dump_routes(self, want: Callable[[Raw], bool]) -> list[Message]:
        """IPv4 and IPv6 routes that `want` lets through. Two dumps: one of all families stops after the first."""
        return [route for family in VERSIONS for route in self.dump(RTM_GETROUTE, family, want)]

    def receive(self) -> list[Raw]:
        """Notifications that are here now, none when there are no more. Raises OSError(ENOBUFS) when some were lost."""
        try:
            data, _, flags, _ = self._socket.recvmsg(_BUFFER)
        except BlockingIOError:
            return []
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.ENOBUFS, "a notification was truncated")
        return [raw for raw, _, _ in split(data)]

    def _exchange(self, kind: int, request: bytes, flags: int) -> Iterator[Raw]:
        self._sequence = sequence = self._sequence % 0x7FFFFFFF + 1
        self._socket.sendall(_HEADER.pack(_HEADER.size + len(request), kind, flags, sequence, 0) + request)
        torn = False  # the table changed while it was told
        while True:
            data, _, status, _ = self._socket.recvmsg(_BUFFER)
            if status & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, "an answer was truncated")
            for raw, got, message_flags in split(data):
                if got != sequence:  # of a request that was given up
                    continue
                torn |= bool(message_flags & _F_DUMP_INTERRUPTED)
                if raw.kind in (_ERROR, _DONE):
                    code = _INT.unpack_from(raw.data, _HEADER.size)[0] if len(raw.data) >= _HEADER.size + 4 else 0
                    if code < 0:
                        raise OSError(-code, os.strerror(-code))
                    if torn:
                        raise InterruptedError
                    return
                if raw.kind > _OVERRUN:
                    yield raw


class RouteQuery:
    """A question for one route, asked again and again: what is as it was is neither encoded nor decoded again."""

    def __init__(self, route_socket: RouteSocket, message: Message) -> None:
        self._socket, self._request = route_socket, encoded(message)
        self._told, self._answer = b"", None

    def ask(self) -> Message:
        """The answer, for reading only. Raises OSError as the kernel says."""
        raw = self._socket.ask_raw(RTM_GETROUTE, self._request)
        told = _without_age(raw.data[_HEADER.size :])
        if told != self._told:
            self._told, self._answer = told, self._socket.decode(raw)
        return self._answer


def _without_age(route: bytes) -> bytes:
    """RTA_CACHEINFO says when the route was used last, which is another time each time."""
    offset = ROUTE.size + 4
    while offset + _ATTRIBUTE.size <= len(route):
        length, kind = _ATTRIBUTE.unpack_from(route, offset)
        end = offset + max(_ATTRIBUTE.size, (length + 3) & ~3)
        if kind == _RTA_CACHEINFO:
            return route[:offset] + route[end:]
        offset = end
    return route


def encoded(message: Message) -> bytes:
    """What follows the header."""
    message.encode()
    return bytes(message.data[_HEADER.size :])


def split(data: bytes) -> Iterator[tuple[Raw, int, int]]:
    """The messages of one datagram, each with sequence and flags. One that is cut ends it, as kind 0."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            yield Raw(0, data[offset:]), 0, 0
            return
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            yield Raw(0, data[offset:]), 0, 0
            return
        yield Raw(kind, data[offset : offset + length]), sequence, flags
        offset += (length + 3) & ~3


def _message_classes() -> dict[int, Any]:
    with _parts_only("pyroute2"):
        from pyroute2.netlink.rtnl.fibmsg import fibmsg
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
        from pyroute2.netlink.rtnl.rtmsg import rtmsg

    return {
        **dict.fromkeys((RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK), ifinfmsg),
        **dict.fromkeys((RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR), ifaddrmsg),
        **dict.fromkeys((RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE), rtmsg),
        **dict.fromkeys((RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE), fibmsg),
    }


def _lean_classes() -> dict[int, Any]:
    from ovng.io.nlmessages import Address, Link, Route

    return {
        **dict.fromkeys((RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK), Link),
        **dict.fromkeys((RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR), Address),
        **dict.fromkeys((RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE), Route),
    }


@contextmanager
def _parts_only(name: str) -> Iterator[None]:
    """Meanwhile modules of a package are imported without running its `__init__`."""
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:  # all of it is there, or nothing: as usual
        yield
        return
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[name]
