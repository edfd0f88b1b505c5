"""The few route messages that a node needs when others configure its interface, in the standard library alone.

Stands in for pyroute2's message classes in `rtnetlink.RouteSocket`, and behaves as those do there: links, addresses and
routes, with the attributes that we read or write. Under netifd it saves a router pyroute2 and all that it imports.
Layouts are those of rtnetlink(7) and <linux/rtnetlink.h>; all of it in the machine's own byte order.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_HOP = struct.Struct("=HBBi")  # length, flags, hops, interface
_U32 = struct.Struct("=I")
_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER


class _Kind(NamedTuple):
    """How one attribute is read and written."""

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]


def _read_u32(data: bytes) -> int:
    return int(_U32.unpack_from(data)[0])


def _read_address(data: bytes) -> str:
    return str(ipaddress.ip_address(data))


def _write_address(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def _read_via(data: bytes) -> dict[str, str]:
    """struct rtvia: the family, then the address of a next hop of the other one (RFC 5549)."""
    return {"addr": _read_address(data[2:])}


def _read_only(value: Any) -> bytes:
    raise ValueError("is only read")


_NUMBER = _Kind(_read_u32, _U32.pack)
_TEXT = _Kind(lambda data: data.rstrip(b"\0").decode("utf-8", "replace"), lambda text: str(text).encode() + b"\0")
_ADDRESS = _Kind(_read_address, _write_address)
_VIA = _Kind(_read_via, _read_only)
_HOPS = _Kind(lambda data: list(_hops(data)), _read_only)


class Message:
    """One message: fields by item, attributes by `get_attr`. `encode` fills `data`, `decode` reads it.

    `decode` raises ValueError or struct.error for what is no such message.
    """

    layout: struct.Struct
    fields: tuple[str, ...]
    attributes: ClassVar[dict[str, tuple[int, _Kind]]]

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self._values: dict[str, Any] = dict.fromkeys(self.fields, 0)
        self._values["header"] = {"type": 0, "flags": 0, "sequence_number": 0, "pid": 0}
        self._values["attrs"] = []

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def get_attr(self, name: str) -> Any:
        """Its value, None when the message has none."""
        return next((value for known, value in self["attrs"] if known == name), None)

    def encode(self) -> None:
        """Make `data` of the fields and attributes."""
        body = self.layout.pack(*(self[name] for name in self.fields))
        for name, value in self["attrs"]:
            number, kind = self.attributes[name]
            written = kind.write(value)
            body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(written), number) + written + bytes(-len(written) % 4)
        head = self["header"]
        numbers = head["type"], head["flags"], head["sequence_number"], head["pid"]
        self.data = _HEADER.pack(_HEADER.size + len(body), *numbers) + body

    def decode(self) -> None:
        """Read the fields, and the attributes that we know."""
        self._values |= zip(self.fields, self.layout.unpack_from(self.data, _HEADER.size), strict=True)
        self["attrs"] = list(_attributes(self.data[_HEADER.size + self.layout.size :], self.attributes))


class Link(Message):
    """struct ifinfomsg."""

    layout = struct.Struct("=BxHiII")
    fields = ("family", "ifi_type", "index", "flags", "change")
    attributes: ClassVar[dict[str, tuple[int, _Kind]]] = {
        "IFLA_IFNAME": (3, _TEXT),
        "IFLA_MTU": (4, _NUMBER),
        "IFLA_TXQLEN": (13, _NUMBER),
        "IFLA_IFALIAS": (20, _TEXT),
    }


class Address(Message):
    """struct ifaddrmsg."""

    layout = struct.Struct("=BBBBI")
    fields = ("family", "prefixlen", "flags", "scope", "index")
    attributes: ClassVar[dict[str, tuple[int, _Kind]]] = {
        "IFA_ADDRESS": (1, _ADDRESS),
        "IFA_LOCAL": (2, _ADDRESS),
        "IFA_FLAGS": (8, _NUMBER),
    }


class Route(Message):
    """struct rtmsg."""

    layout = struct.Struct("=BBBBBBBBI")
    fields = ("family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags")
    attributes: ClassVar[dict[str, tuple[int, _Kind]]] = {
        "RTA_DST": (1, _ADDRESS),
        "RTA_OIF": (4, _NUMBER),
        "RTA_GATEWAY": (5, _ADDRESS),
        "RTA_PRIORITY": (6, _NUMBER),
        "RTA_PREFSRC": (7, _ADDRESS),
        "RTA_MULTIPATH": (9, _HOPS),
        "RTA_TABLE": (15, _NUMBER),
        "RTA_MARK": (16, _NUMBER),
        "RTA_VIA": (18, _VIA),
    }


class _Hop(Message):
    """struct rtnexthop, inside RTA_MULTIPATH."""

    layout = _HOP
    fields = ("len", "flags", "hops", "oif")
    attributes: ClassVar[dict[str, tuple[int, _Kind]]] = {
        name: Route.attributes[name] for name in ("RTA_GATEWAY", "RTA_VIA")
    }


def _attributes(data: bytes, known: dict[str, tuple[int, _Kind]]) -> Iterator[tuple[str, Any]]:
    names = {number: (name, kind) for name, (number, kind) in known.items()}
    while len(data) >= _ATTRIBUTE.size:
        length, number = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise ValueError("an attribute is cut")
        if found := names.get(number & _TYPE):
            yield found[0], found[1].read(data[_ATTRIBUTE.size : length])
        data = data[(length + 3) & ~3 :]


def _hops(data: bytes) -> Iterator[_Hop]:
    while len(data) >= _HOP.size:
        length = _HOP.unpack_from(data)[0]
        if not _HOP.size <= length <= len(data):
            raise ValueError("a next hop is cut")
        hop = _Hop(bytes(_HEADER.size) + data[:length])
        hop.decode()
        yield hop
        data = data[(length + 3) & ~3 :]
