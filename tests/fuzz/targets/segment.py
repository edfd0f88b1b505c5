"""What TUN hands over: a virtio header that may lie, and a packet, against a slow twin.

Where the twin makes no super-packet of it, neither does the fast one; where it does, the segments are the same bytes.
"""

from __future__ import annotations

import struct

from ovng._fast.segment import segments
from ovng.errors import Malformed
from ovng.node.icmp import checksum, inner_addresses, unreachable
from tests.fuzz.choices import Choices
from tests.unit.packets import (
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    TCP,
    UDP,
    Packet,
    vnet_header,
)

_VNET = struct.Struct("=BBHHHH")
_FIN_PSH, _CWR = 0x09, 0x80
HEADERS_MAX = 256
FRAME_MAX = 65_535


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices = Choices(data)
    frame = choices.rest() if choices.below(8) == 0 else make_frame(choices)
    try:
        found: list[bytes] | str = segments(frame)
    except Malformed as error:
        found = error.reason
    assert found == twin(frame)
    if isinstance(found, list):
        for packet in found:
            _answer(packet)


def make_frame(choices: Choices) -> bytes:
    """As the kernel makes one, and perhaps not."""
    packet = Packet(
        payload=bytes(choices.u16() % 9_000),
        version=choices.pick((4, 6)),
        protocol=choices.pick((TCP, UDP)),
        sequence=choices.integer(),
        flags=choices.u8(),
        options=bytes(4 * choices.below(11)),
        identification=choices.u16(),
        dont_fragment=choices.flag(),
    )
    size = choices.u16() % 2_000 if choices.flag() else 0
    size = max(size, len(packet.payload) // 100) if size else 0
    head = (
        packet.vnet(size)
        if choices.below(4)
        else vnet_header(
            choices.below(4),
            choices.pick((GSO_NONE, GSO_TCPV4, 3, GSO_TCPV6, GSO_UDP_L4, GSO_ECN | GSO_TCPV4, GSO_ECN)),
            choices.u16(),
            choices.u16() % 2_000,
            choices.u8(),
            choices.below(32),
        )
    )
    return (choices.changed(head) + choices.changed(packet.partial()))[:FRAME_MAX]


def _answer(packet: bytes) -> None:
    """The ICMP error that says that it can go nowhere."""
    addresses = inner_addresses(packet)
    assert addresses is not None
    router = bytes(range(len(addresses[0])))
    answer = unreachable(packet, router)
    if answer is not None:
        again = inner_addresses(answer)
        assert again == (router, addresses[0]) and len(answer) <= 1_280
        assert unreachable(answer, router) is None, "an error about an error"


# -- The twin


def twin(frame: bytes) -> list[bytes] | str:
    """virtio 1.2, 5.1.6.2, in plain Python: the packets, or why there are none.

    The checksum field holds the sum of the pseudo header, as the kernel knows it: a routing header may change it.
    """
    if len(frame) < _VNET.size:
        return "tun_truncated"
    flags, kind, _, size, start, offset = _VNET.unpack_from(frame)
    packet = frame[_VNET.size :]
    version = packet[0] >> 4 if packet else 0
    kind &= ~GSO_ECN
    if packet and version not in (4, 6):
        return "tun_version"
    if len(packet) < (20 if version == 4 else 40):
        return "tun_length"
    header = (packet[0] & 15) * 4 if version == 4 else 40
    told = _field(packet, 2) if version == 4 else _field(packet, 4) + 40
    if not 20 <= header <= len(packet) == told:
        return "tun_length"
    if kind == GSO_NONE:
        return _whole(packet, header, flags, start, offset)
    return _super(packet, version, header, flags, kind, size, start, offset)


def _whole(packet: bytes, header: int, flags: int, start: int, offset: int) -> list[bytes] | str:
    if flags & NEEDS_CSUM:
        if start < header or start + offset + 2 > len(packet):
            return "tun_checksum_range"
        packet = _put(packet, start + offset, checksum(packet[start:]) or 0xFFFF)
    return [packet]


def _super(
    packet: bytes, version: int, ip: int, flags: int, kind: int, size: int, start: int, offset: int
) -> list[bytes] | str:
    tcp = kind in (GSO_TCPV4, GSO_TCPV6)
    if (kind, version) not in ((GSO_TCPV4, 4), (GSO_TCPV6, 6), (GSO_UDP_L4, 4), (GSO_UDP_L4, 6)):
        return "tun_gso_type"
    protocol = packet[9] if version == 4 else packet[6]
    if (start == ip or version == 4) and protocol != (TCP if tcp else UDP):
        return "tun_gso_type"
    well_placed = start == ip if version == 4 else start >= 40
    if not flags & NEEDS_CSUM or offset != (16 if tcp else 6) or not well_placed:
        return "tun_checksum_range"
    least = start + (20 if tcp else 8)
    if least > len(packet):
        return "tun_truncated"
    headers = start + (packet[start + 12] >> 4) * 4 if tcp else least
    if not least <= headers <= len(packet):
        return "tun_truncated"
    if headers > HEADERS_MAX or (not tcp and _field(packet, start + 4) != len(packet) - start):
        return "tun_length"
    payload = packet[headers:]
    if not size or not payload or headers + size > FRAME_MAX:
        return "tun_gso_size"
    found = []
    for at in range(0, len(payload), size):
        piece = payload[at : at + size]
        segment = _segment(packet[:headers], start, tcp, piece, at, at // size, at + size >= len(payload))
        pseudo = _field(packet, start + offset) + 0xFFFF - (len(packet) - start) + len(segment) - start
        check = checksum(pseudo.to_bytes(4, "big") + segment[start:])
        found.append(_put(segment, start + offset, check or 0xFFFF))
    return found


def _segment(head: bytes, start: int, tcp: bool, piece: bytes, at: int, index: int, last: bool) -> bytes:
    """Without its checksum."""
    packet, length = head + piece, len(head) + len(piece)
    if head[0] >> 4 == 4:
        packet = _put(packet, 4, int.from_bytes(head[4:6], "big") + index)
        packet = _put(_put(packet, 2, length), 10, 0)
        packet = _put(packet, 10, checksum(packet[:start]))
    else:
        packet = _put(packet, 4, length - 40)
    if tcp:
        sequence = int.from_bytes(head[start + 4 : start + 8], "big") + at
        flags = head[start + 13] & (0xFF if last else ~_FIN_PSH) & (~_CWR if index else 0xFF)
        packet = packet[: start + 4] + (sequence % (1 << 32)).to_bytes(4, "big") + packet[start + 8 :]
        packet = packet[: start + 13] + bytes([flags]) + packet[start + 14 :]
    else:
        packet = _put(packet, start + 4, length - start)
    return _put(packet, start + (16 if tcp else 6), 0)


def _field(packet: bytes, at: int) -> int:
    return int.from_bytes(packet[at : at + 2], "big")


def _put(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + (value % (1 << 16)).to_bytes(2, "big") + packet[at + 2 :]
