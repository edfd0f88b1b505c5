"""Doubled packets: which carry DUP, and that they leave on both paths."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ovng._fast import frame
from ovng._fast.aead import Aead
from ovng.ids import Locator
from ovng.limits import HEADER_SIZE
from tests.datapath_rig import AES, DUP, IV, KEY, OTHER, OUT, PEER, SPARSE, Rig, opened, until
from tests.unit.packets import TCP, UDP, Packet, slow_segments

NONE, INTERACTIVE, ALL = 0, 1, 2
EXPEDITED = 46  # DSCP (RFC 3246)


class TwoPaths(Rig):
    """The second path ends at a switch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.know_peer()
        self.second_switch = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.second_switch.bind(("127.0.0.1", 0))
        self.second_switch.settimeout(10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
            second.bind(("127.0.0.1", 0))
            self.path.set_path(1, second, Locator.of(*self.second_switch.getsockname()))
        self.path.set_second(1)

    def close(self) -> None:
        super().close()
        self.second_switch.close()


@pytest.fixture
def rig() -> Iterator[TwoPaths]:
    made = TwoPaths()
    yield made
    made.close()


def doubled(datagram: bytes) -> tuple[int, bytes]:
    """(number, inner packet) of one that was sealed for PEER with DUP."""
    header = frame.parse(datagram)
    assert isinstance(header, tuple)
    assert header[2] & ~SPARSE == DUP
    packet = Aead(AES, KEY, IV).open_packet(header[5], datagram[:HEADER_SIZE], datagram[HEADER_SIZE:])
    assert packet is not None
    return header[5], packet


def test_all_packets_leave_on_both_paths(rig: TwoPaths) -> None:
    rig.path.set_doubling(PEER, ALL)
    for number in range(1, 21):
        rig.send(OUT)
        datagram = rig.left()
        assert doubled(datagram) == (number, OUT)
        assert rig.second_switch.recv(2000) == datagram
    assert rig.path.stats()["doubled"] == 20
    rig.path.set_doubling(PEER, NONE)
    rig.send(OUT)
    assert opened(rig.left()) == (21, OUT)

    def counted() -> list[int]:
        figures = rig.path.path_stats(0), rig.path.path_stats(1)
        return [each.sent_datagrams for each in figures if each is not None]

    until(lambda: counted() == [21, 20])  # counted when the system call is back, maybe after we have it


def test_a_super_packet_is_doubled_whole(rig: TwoPaths) -> None:
    rig.path.set_doubling(PEER, INTERACTIVE)
    rig.path.set_interactive(frozenset(), frozenset({443}))
    packet = Packet(bytes(range(250)) * 40, protocol=TCP, flags=0x18, ports=(40000, 443))
    rig.device.send(packet.vnet(1300) + packet.partial())
    for number, segment in enumerate(slow_segments(packet, 1300), 1):
        datagram = rig.left()
        assert doubled(datagram) == (number, segment.build())
        assert rig.second_switch.recv(2000) == datagram


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("protocol", "ports", "dscp", "expected"),
    [
        (UDP, (5004, 9), 0, True),
        (UDP, (9, 5004), 0, True),
        (TCP, (65535, 9), 0, True),
        (TCP, (9, 0), 0, True),
        (UDP, (5003, 5005), 0, False),
        (UDP, (9, 10), EXPEDITED, True),
        (UDP, (9, 10), 63, True),
        (UDP, (9, 10), EXPEDITED - 1, False),
    ],
)
def test_what_is_interactive(
    rig: TwoPaths, version: int, protocol: int, ports: tuple[int, int], dscp: int, expected: bool
) -> None:
    rig.path.set_doubling(PEER, INTERACTIVE)
    rig.path.set_interactive(frozenset({EXPEDITED, 63}), frozenset({5004, 0, 65535}))
    made = Packet(b"voice", version, protocol, ports=ports, class_=dscp << 2 | 1).build()  # 1: ECN
    rig.send(made)
    assert (doubled if expected else opened)(rig.left()) == (1, made)
    assert rig.path.stats()["doubled"] == expected


def test_only_tcp_and_udp_have_ports(rig: TwoPaths) -> None:
    rig.path.set_doubling(PEER, INTERACTIVE)
    rig.path.set_interactive(frozenset(), frozenset({5004}))
    for number, (version, at) in enumerate(((4, 9), (6, 6)), 1):
        made = bytearray(Packet(b"voice", version, UDP, ports=(5004, 5004)).build())
        made[at] = 47  # GRE
        rig.send(bytes(made))
        assert opened(rig.left()) == (number, bytes(made))


def test_a_later_fragment_has_no_ports(rig: TwoPaths) -> None:
    rig.path.set_doubling(PEER, INTERACTIVE)
    rig.path.set_interactive(frozenset(), frozenset({5004}))
    made = Packet(b"voice", protocol=UDP, ports=(5004, 5004)).build()
    made = made[:6] + (100).to_bytes(2, "big") + made[8:]
    rig.send(made)
    assert opened(rig.left()) == (1, made)


def test_nothing_is_interactive_until_told(rig: TwoPaths) -> None:
    rig.path.set_doubling(PEER, INTERACTIVE)
    rig.send(OUT)
    assert opened(rig.left()) == (1, OUT)
    rig.path.set_interactive(frozenset({0}), frozenset())
    rig.send(OUT)
    assert doubled(rig.left()) == (2, OUT)
    rig.path.set_interactive(frozenset(), frozenset())
    rig.send(OUT)
    assert opened(rig.left()) == (3, OUT)


@pytest.mark.parametrize("second", [-1, 0, 2])
def test_without_a_second_path_the_flag_stays(rig: TwoPaths, second: int) -> None:
    """The Switch may still double it on its side; the active path is no second one."""
    rig.path.set_doubling(PEER, ALL)
    rig.path.set_second(second)
    for number in (1, 2):
        rig.send(OUT)
        assert doubled(rig.left()) == (number, OUT)
    until(lambda: [rig.path.stats()[name] for name in ("sent_packets", "sent_messages")] == [2, 2])


def test_refused_settings(rig: TwoPaths) -> None:
    with pytest.raises(LookupError):
        rig.path.set_doubling(OTHER, ALL)
    for mode in (-1, 3):
        with pytest.raises(ValueError, match="0 to 2"):
            rig.path.set_doubling(PEER, mode)
    for dscp, ports in (({64}, set()), ({-1}, set()), (set(), {65536}), (set(), {-1})):
        with pytest.raises(ValueError, match="a DSCP is 0 to 63"):
            rig.path.set_interactive(frozenset(dscp), frozenset(ports))
