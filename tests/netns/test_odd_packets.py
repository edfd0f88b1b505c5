"""Packets that hardly anybody sends, put on the TUN by a packet socket: the other node's kernel gets them as they were,
or they are dropped and counted under their own reason.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from ovng._fast.segment import segments
from tests.fuzz.targets.coalesce import check_same
from tests.netns.pair import End, pair, until
from tests.unit.packets import (
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    NO_VNET,
    UDP,
    Packet,
    as_fragment,
    icmp_echo,
    vnet_header,
    with_extension,
    with_options,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and TUN"),
]

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
SECONDS = 10.0
OPTIONS = b"\1\1\1\0"


class Tap:
    """A packet socket on an end's TUN, whose frames begin with a virtio header; it does not hear what is sent there."""

    def __init__(self, end: End) -> None:
        self._name = "ovng0"
        with end.host.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((self._name, ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.settimeout(SECONDS)

    def send(self, frame: bytes) -> None:
        kind = ETH_P_IPV6 if frame[10] >> 4 == 6 else ETH_P_IP
        self.socket.sendto(frame, (self._name, kind))

    def take(self, count: int) -> list[bytes]:
        """The next packets to arrive, super-packets cut again."""
        arrived: list[bytes] = []
        while len(arrived) < count:
            arrived += segments(self.socket.recv(70_000))
        return arrived

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[End, End]]:
    with pair() as both:
        yield both


V4, V6 = Packet(b"o" * 500), Packet(b"o" * 500, version=6)
V4_UDP, V6_UDP = (replace(packet, protocol=UDP) for packet in (V4, V6))
LONG, LONG_6 = Packet(b"s" * 9_000), Packet(b"s" * 9_000, version=6)
LONG_UDP, LONG_UDP_6 = (replace(packet, protocol=UDP) for packet in (LONG, LONG_6))


def of_protocol(packet: bytes, protocol: int) -> bytes:
    """An IPv6 packet whose payload is said to be something else."""
    return packet[:6] + bytes([protocol]) + packet[7:]


def behind_extension(packet: Packet, size: int) -> bytes:
    """An IPv6 super-packet with destination options."""
    start = 48
    kind, field = (GSO_UDP_L4, 6) if packet.protocol == UDP else (GSO_TCPV6, 16)
    head = vnet_header(NEEDS_CSUM, kind, start + packet.transport_header, size, start, field)
    return head + with_extension(packet.partial(), 60)


def behind_options(packet: Packet, size: int) -> bytes:
    """An IPv4 super-packet with options."""
    start = 24
    kind, field = (GSO_UDP_L4, 6) if packet.protocol == UDP else (GSO_TCPV4, 16)
    head = vnet_header(NEEDS_CSUM, kind, start + packet.transport_header, size, start, field)
    return head + with_options(packet.partial(), OPTIONS)


PASS = {
    "IPv4 options": NO_VNET + with_options(V4.build(), OPTIONS),
    "all the options there can be": NO_VNET + with_options(V4_UDP.build(), b"\1" * 40),
    "hop-by-hop options": NO_VNET + with_extension(V6.build(), 0),
    "destination options": NO_VNET + with_extension(V6_UDP.build(), 60),
    "two extension headers": NO_VNET + with_extension(with_extension(V6.build(), 60), 0),
    "an IPv4 fragment": NO_VNET + as_fragment(V4_UDP.build()),
    "an IPv6 fragment": NO_VNET + with_extension(V6_UDP.build(), 44),
    "an unknown protocol": NO_VNET + of_protocol(V6.build(), 253),
    "no next header": NO_VNET + of_protocol(V6.build(), 59),
    "UDP without payload": NO_VNET + replace(V4_UDP, payload=b"").build(),
    "IPv6 without payload": NO_VNET + of_protocol(V6.build(), 59)[:4] + b"\0\0" + of_protocol(V6.build(), 59)[6:40],
    "a damaged checksum": NO_VNET + V4.build()[:-1] + b"x",
    "as large as may be": NO_VNET + Packet(bytes(1360)).build(),
    "hop limit 0": NO_VNET + replace(V6, ttl=0).build(),
    "super-packet": LONG.vnet(1348) + LONG.partial(),
    "super-packet, IPv6": LONG_6.vnet(1328) + LONG_6.partial(),
    "super-packet, UDP": LONG_UDP.vnet(1000) + LONG_UDP.partial(),
    "super-packet, UDP in IPv6": LONG_UDP_6.vnet(1001) + LONG_UDP_6.partial(),
    "super-packet with segments above the MTU": LONG.vnet(5_000) + LONG.partial(),
    "super-packet with options": behind_options(LONG, 1300),
    "super-packet with options, UDP": behind_options(LONG_UDP, 1300),
    "super-packet with an extension": behind_extension(LONG_6, 1300),
    "super-packet with an extension, UDP": behind_extension(LONG_UDP_6, 1300),
}


def with_length(packet: bytes, length: int) -> bytes:
    """An IP packet that tells another length."""
    at = 2 if packet[0] >> 4 == 4 else 4
    return packet[:at] + length.to_bytes(2, "big") + packet[at + 2 :]


JUMBO = with_length(V6.build(), 0)[:6] + b"\0" + V6.build()[7:40] + b"\x06\0\xc2\4\0\1\0\0" + V6.build()[40:]
DROPPED = {
    "no length": ("tun_length", NO_VNET + with_length(V4.build(), 0)),
    "no length, IPv6": ("tun_length", NO_VNET + with_length(V6.build(), 0)),
    "a jumbogram": ("tun_length", NO_VNET + JUMBO),
    "longer than it tells": ("tun_length", NO_VNET + V4.build() + b"x"),
    "shorter than it tells": ("tun_length", NO_VNET + V6.build()[:-1]),
    "no header's length": ("tun_length", NO_VNET + b"\x41" + V4.build()[1:]),
    "not even a header": ("tun_length", NO_VNET + b"\x60"),
    "neither IPv4 nor IPv6": ("tun_version", NO_VNET + b"\x55" + V4.build()[1:]),
    "super-packet, longer than it tells": ("tun_length", LONG.vnet(1348) + with_length(LONG.partial(), 2_000)),
    "super-packet without length": ("tun_length", LONG_6.vnet(1348) + with_length(LONG_6.partial(), 0)),
    "super-packet, shorter than it tells": ("tun_length", LONG_UDP.vnet(1000) + with_length(LONG_UDP.partial(), 9_999)),
}
"""Other lies of a virtio header this kernel does not let through; tests/unit/test_segment.py has them all."""


@pytest.mark.parametrize("what", PASS)
def test_odd_but_right(ends: tuple[End, End], what: str) -> None:
    a, b = ends
    expected = segments(PASS[what])
    with closing(Tap(a)) as entry, closing(Tap(b)) as exit_:
        entry.send(PASS[what])
        check_same(expected, exit_.take(len(expected)))
    assert not {*a.drops, *b.drops} - {"local_noise", *(counter for counter, _ in DROPPED.values())}


@pytest.mark.parametrize("what", DROPPED)
def test_wrong(ends: tuple[End, End], what: str) -> None:
    a, b = ends
    counter, frame = DROPPED[what]
    mark, before = icmp_echo(a.inner, b.inner), a.drops.get(counter, 0)
    with closing(Tap(a)) as entry, closing(Tap(b)) as exit_:
        entry.send(frame)
        until(lambda: a.drops.get(counter, 0) > before)
        entry.send(NO_VNET + mark)
        assert exit_.take(1) == [mark]
