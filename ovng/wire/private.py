"""What a node and its Switch say in private (PROTOCOL 7): header, nonce 12, AES-256-GCM over the body, header included.

The plaintext is kind 1, request ID 8, body. The nonce is random (NIST SP 800-38D, 8.2.2: at most 2^32 per key).
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from typing import NamedTuple

from ovng.errors import Malformed
from ovng.fields import Frozen
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.limits import HEADER_SIZE, HOLDERS_MAX, MAX_CONTROL_DATAGRAM, TAG_SIZE
from ovng.wire.buffer import Reader, Writer
from ovng.wire.header import Header, PacketType

NONCE_SIZE = 12
PRIVATE_MIN = HEADER_SIZE + NONCE_SIZE + TAG_SIZE + 9
_ROUTE_MAX = 26  # bytes of one route
_LIST_HEAD = 22
ROUTES_PER_PAGE = (MAX_CONTROL_DATAGRAM - HEADER_SIZE - NONCE_SIZE - TAG_SIZE - _LIST_HEAD) // _ROUTE_MAX
ROUTES_ONLY = 0  # family of a CHANGED that names no prefix


class PrivateKind(IntEnum):
    """First byte of the plaintext."""

    RESOLVE = 1
    RESOLVED = 2
    ROUTES = 3
    ROUTE_LIST = 4
    CHANGED = 5


class ResolveStatus(IntEnum):
    """What the Switch knows about an address. NOT_YET is said instead of NOBODY just after its start."""

    FOUND = 0
    NOBODY = 1
    NOT_YET = 2


class Route(NamedTuple):
    """A prefix behind a node."""

    prefix: Prefix
    node: NodeID


class Resolve(Frozen):
    """Who has this inner address?"""

    request: int
    address: IPAddress

    def pack(self) -> bytes:
        writer = Writer().u8(PrivateKind.RESOLVE).u64(self.request)
        return writer.u8(self.address.version).put(self.address.packed).bytes()


class Resolved(Frozen):
    """These nodes (at most 8) attached with `prefix`, the longest that holds the address. `lifetime` in seconds."""

    request: int
    status: ResolveStatus
    lifetime: int
    prefix: Prefix
    nodes: tuple[NodeID, ...] = ()

    def pack(self) -> bytes:
        writer = Writer().u8(PrivateKind.RESOLVED).u64(self.request).u8(self.status).u16(self.lifetime)
        writer.u8(self.prefix.prefixlen).u8(self.prefix.version).put(self.prefix.network_address.packed)
        writer.u8(len(self.nodes))
        for node in self.nodes:
            writer.u64(node)
        return writer.bytes()


class Routes(Frozen):
    """Give me the route list from entry `start` on."""

    request: int
    start: int

    def pack(self) -> bytes:
        return Writer().u8(PrivateKind.ROUTES).u64(self.request).u16(self.start).bytes()


class RouteList(Frozen):
    """One page (at most ROUTES_PER_PAGE) of `total` routes, as of `version`."""

    request: int
    version: int
    total: int
    start: int
    routes: tuple[Route, ...] = ()

    def pack(self) -> bytes:
        writer = Writer().u8(PrivateKind.ROUTE_LIST).u64(self.request)
        writer.u64(self.version).u16(self.total).u16(self.start).u8(len(self.routes))
        for prefix, node in self.routes:
            writer.u64(node)
            _push_prefix(writer, prefix)
        return writer.bytes()


class Changed(Frozen):
    """A push: who holds `prefix` has changed (None: the route list only). `counter` rises with every push."""

    counter: int
    version: int
    prefix: Prefix | None = None

    def pack(self) -> bytes:
        writer = Writer().u8(PrivateKind.CHANGED).u64(self.counter).u64(self.version)
        if self.prefix is None:
            return writer.u8(ROUTES_ONLY).bytes()
        _push_prefix(writer, self.prefix)
        return writer.bytes()


Private = Resolve | Resolved | Routes | RouteList | Changed


class Sealed(NamedTuple):
    """A PRIVATE datagram in its parts: associated data, nonce, ciphertext with tag."""

    header: bytes
    nonce: bytes
    sealed: bytes


def private_header(dst: NodeID, src: NodeID) -> bytes:
    """The 28 bytes before the nonce."""
    return Header(PacketType.PRIVATE, 0, 0, dst, src, 0).pack()


def parse_sealed(datagram: bytes) -> Sealed:
    """Split a datagram whose header was read already. Raises Malformed: private_length."""
    if not PRIVATE_MIN <= len(datagram) <= MAX_CONTROL_DATAGRAM:
        raise Malformed("private_length")
    reader = Reader(datagram)
    return Sealed(reader.take(HEADER_SIZE), reader.take(NONCE_SIZE), reader.rest())


def parse_private(plaintext: bytes) -> Private:
    """Read an opened body. Raises Malformed: private_kind, family, prefix, resolve_status, count, those of `Reader`."""
    reader = Reader(plaintext)
    try:
        kind = PrivateKind(reader.u8())
    except ValueError:
        raise Malformed("private_kind") from None
    request = reader.u64()
    message: Private
    if kind == PrivateKind.RESOLVE:
        message = Resolve(request, _pull_address(reader, reader.u8()))
    elif kind == PrivateKind.RESOLVED:
        message = _pull_resolved(reader, request)
    elif kind == PrivateKind.ROUTES:
        message = Routes(request, reader.u16())
    elif kind == PrivateKind.ROUTE_LIST:
        message = _pull_route_list(reader, request)
    else:
        version, family = reader.u64(), reader.u8()
        message = Changed(request, version, None if family == ROUTES_ONLY else _pull_prefix(reader, family))
    reader.end()
    return message


def _pull_resolved(reader: Reader, request: int) -> Resolved:
    try:
        status = ResolveStatus(reader.u8())
    except ValueError:
        raise Malformed("resolve_status") from None
    lifetime, length, family = reader.u16(), reader.u8(), reader.u8()
    prefix = _prefix(_pull_address(reader, family), length)
    nodes = _pull_nodes(reader, reader.u8())
    if bool(nodes) != (status == ResolveStatus.FOUND):
        raise Malformed("count")
    return Resolved(request, status, lifetime, prefix, nodes)


def _pull_nodes(reader: Reader, count: int) -> tuple[NodeID, ...]:
    if count > HOLDERS_MAX:
        raise Malformed("count")
    return tuple(_pull_node(reader) for _ in range(count))


def _pull_route_list(reader: Reader, request: int) -> RouteList:
    version, total, start, count = reader.u64(), reader.u16(), reader.u16(), reader.u8()
    if start + count > total:
        raise Malformed("count")
    routes = []
    for _ in range(count):
        node = _pull_node(reader)
        routes.append(Route(_pull_prefix(reader, reader.u8()), node))
    return RouteList(request, version, total, start, tuple(routes))


def _pull_node(reader: Reader) -> NodeID:
    node = NodeID(reader.u64())
    if not node:
        raise Malformed("id_zero")
    return node


def _pull_address(reader: Reader, family: int) -> IPAddress:
    if family == 4:
        return ipaddress.IPv4Address(reader.take(4))
    if family == 6:
        return ipaddress.IPv6Address(reader.take(16))
    raise Malformed("family")


def _pull_prefix(reader: Reader, family: int) -> Prefix:
    length = reader.u8()
    return _prefix(_pull_address(reader, family), length)


def _push_prefix(writer: Writer, prefix: Prefix) -> None:
    writer.u8(prefix.version).u8(prefix.prefixlen).put(prefix.network_address.packed)


def _prefix(address: IPAddress, length: int) -> Prefix:
    try:
        return ipaddress.ip_network((address, length))
    except ValueError:  # bits beyond the length, or a length beyond the address
        raise Malformed("prefix") from None
