"""ICMP errors for applications whose packet can go nowhere, or not in one piece (RFC 792, 1191, 4443).

Three cases reach an application: no certificate of the network holds the address, the first handshake with its holder
timed out, or the packet is larger than what reaches it in one piece. Nothing is ever answered to an ICMP error, a
fragment that is not the first, or a group address (RFC 1122, 3.2.2; RFC 4443, 2.4).
"""

from __future__ import annotations

import ipaddress
import struct

from ovng.limits import MIN_TUN_MTU

_ICMP, _ICMP6 = 1, 58
_V4_ERRORS = {3, 4, 5, 11, 12}
_V6_TOTAL = 1_280  # as much as fits the minimum MTU, RFC 4443, 2.4


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of `data`."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def inner_addresses(packet: bytes) -> tuple[bytes, bytes] | None:
    """(source, destination) of an inner packet, 4 or 16 bytes each; None when it is no IP packet."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        return packet[12:16], packet[16:20]
    if len(packet) >= 40 and packet[0] >> 4 == 6:
        return packet[8:24], packet[24:40]
    return None


def router_of(packet: bytes, own: bytes) -> bytes | None:
    """Who may answer `packet` with an error; `own`: this node's IPv6 address, or empty. None: it is no IP packet.

    Linux takes no IPv4 packet from its own address (a martian): there, who cannot be reached says so himself.
    """
    addresses = inner_addresses(packet)
    if addresses is None:
        return None
    return own if own and len(addresses[1]) == 16 else addresses[1]


def unreachable(packet: bytes, router: bytes) -> bytes | None:
    """Host (IPv4) or address (IPv6) unreachable in answer to `packet`, from `router` (4 or 16 bytes, same family).

    None when the rules forbid an answer.
    """
    return _error(packet, router, (3, 1, 0), (1, 3, 0))


def too_big(packet: bytes, router: bytes, mtu: int) -> bytes | None:
    """Fragmentation needed (IPv4), packet too big (IPv6): packets of `mtu` bytes pass, 1280 at least for IPv6.

    `packet` may be cut short behind its headers. Else as `unreachable`.
    """
    return _error(packet, router, (3, 4, mtu), (2, 0, max(mtu, MIN_TUN_MTU)))


def _error(packet: bytes, router: bytes, v4: tuple[int, int, int], v6: tuple[int, int, int]) -> bytes | None:
    """Type, code and the 32 bits behind the checksum, for each family."""
    addresses = inner_addresses(packet)
    if addresses is None or len(router) != len(addresses[0]):
        return None
    source, destination = addresses
    ip_source, ip_destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if ip_source.is_multicast or ip_source.is_unspecified or ip_destination.is_multicast:
        return None
    return _error4(packet, router, *v4) if len(source) == 4 else _error6(packet, router, *v6)


def _error4(packet: bytes, router: bytes, kind: int, code: int, rest: int) -> bytes | None:
    header = (packet[0] & 15) * 4
    if header < 20 or len(packet) < header or int.from_bytes(packet[6:8], "big") & 0x1FFF:
        return None
    if packet[9] == _ICMP and len(packet) > header and packet[header] in _V4_ERRORS:
        return None
    body = struct.pack("!BBHI", kind, code, 0, rest) + packet[: header + 8]
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, 20 + len(body), 0, 0, 64, _ICMP, 0, router, packet[12:16])
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def _error6(packet: bytes, router: bytes, kind: int, code: int, rest: int) -> bytes | None:
    if packet[6] == _ICMP6 and len(packet) > 40 and packet[40] < 128:
        return None
    body = struct.pack("!BBHI", kind, code, 0, rest) + packet[: _V6_TOTAL - 48]
    pseudo = router + packet[8:24] + struct.pack("!II", len(body), _ICMP6)
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    return struct.pack("!IHBB16s16s", 6 << 28, len(body), _ICMP6, 64, router, packet[8:24]) + body
