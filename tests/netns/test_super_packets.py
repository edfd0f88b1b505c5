"""Segmentation and coalescing beside the kernel's: what goes in equals what comes out, byte for byte."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ovng._fast.coalesce import coalesce
from ovng._fast.segment import segments
from tests.fuzz.targets.coalesce import check_same, plain
from tests.fuzz.targets.kernel import cut
from tests.netns.router import Router, router
from tests.unit.packets import (
    ACK,
    CWR,
    ECE,
    FIN,
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    Packet,
    as_fragment,
    checksum,
    icmp_echo,
    slow_segments,
    vnet_header,
    with_extension,
    with_options,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and TUN"),
]

SEEDS = 150
LONG = 100  # times as many
IP_OPTIONS = (b"\1\1\1\0", b"\x94\4\0\0", b"\1" * 40)  # no-operation, router alert
TCP_OPTIONS = (b"", b"\1\1\x08\x0a12345678", bytes(4), b"\1" * 40)
EXTENSIONS = (0, 43, 60)  # hop-by-hop options, routing, destination options
SEGMENTS_MOST = 60


@pytest.fixture(scope="module")
def oracle() -> Iterator[Router]:
    with router() as made:
        yield made


# -- Segmentation


def drawn(draw: random.Random, payload: int) -> Packet:
    """Any TCP or UDP packet."""
    return Packet(
        payload=draw.randbytes(payload),
        version=draw.choice((4, 6)),
        protocol=draw.choice((TCP, UDP)),
        ports=(draw.randrange(65_536), draw.randrange(65_536)),
        sequence=draw.choice((0, 2**32 - 1000, draw.randrange(2**32))),
        acknowledgement=draw.randrange(2**32),
        flags=draw.choice(
            (ACK, ACK | PSH, ACK | FIN | PSH, ACK | ECE, ACK | CWR, ACK | ECE | CWR, draw.randrange(256))
        ),
        window=draw.randrange(65_536),
        options=draw.choice(TCP_OPTIONS),
        identification=draw.choice((0, 65_530, draw.randrange(65_536))),
        dont_fragment=draw.random() < 0.5,
        class_=draw.randrange(256),
        ttl=draw.randrange(2, 256),
    )


def with_more_headers(draw: random.Random, packet: bytes) -> tuple[bytes, int]:
    """The same behind IPv4 options or an IPv6 extension header, and how much longer it is."""
    if packet[0] >> 4 == 4:
        longer = with_options(packet, draw.choice(IP_OPTIONS))
    else:
        longer = with_extension(packet, draw.choice(EXTENSIONS))
    return longer, len(longer) - len(packet)


def super_frame(draw: random.Random) -> bytes:
    """A super-packet of 2 to 60 segments as the kernel hands it over."""
    size = draw.choice((1, 7, 100, 1348, draw.randrange(1, 3_000)))
    packet = drawn(draw, min(draw.randrange(size + 1, SEGMENTS_MOST * size), 65_000))
    whole, vnet = packet.partial(), packet.vnet(size, ecn=packet.protocol == TCP and draw.random() < 0.3)
    if draw.random() < 0.3:
        whole, more = with_more_headers(draw, whole)
        start = packet.ip_header + more
        vnet = vnet_header(
            1, vnet[1], start + packet.transport_header, size, start, 16 if packet.protocol == TCP else 6
        )
    return vnet + whole


def returned(packet: bytes) -> bytes:
    """As it was before it passed the router, in the spelling of `plain`."""
    if packet[0] >> 4 == 6:
        return plain(packet[:7] + bytes([packet[7] + 1]) + packet[8:])
    header = (packet[0] & 15) * 4
    assert checksum(packet[:header]) == 0
    packet = packet[:8] + bytes([packet[8] + 1]) + packet[9:10] + b"\0\0" + packet[12:]
    return plain(packet[:10] + checksum(packet[:header]).to_bytes(2, "big") + packet[12:])


def segments_as_the_kernel_does(oracle: Router, seed: int) -> None:
    frame = super_frame(random.Random(seed))
    assert [returned(packet) for packet in oracle.forward([frame])] == [plain(packet) for packet in segments(frame)], (
        f"seed {seed}"
    )


def test_segments_are_those_of_the_kernel(oracle: Router) -> None:
    for seed in range(SEEDS):
        segments_as_the_kernel_does(oracle, seed)


def lying_frame(draw: random.Random) -> bytes:
    """A super-packet whose virtio header lies, or its own headers, or both."""
    frame = bytearray(super_frame(draw))
    for _ in range(draw.randrange(1, 3)):
        match draw.randrange(4):
            case 0:
                frame[draw.randrange(10)] = draw.choice((0, 1, 4, 5, 6, 16, 20, 40, 255, draw.randrange(256)))
            case 1:
                frame[1] = draw.choice((GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, 3, 77)) | draw.choice((0, GSO_ECN))
            case 2:
                frame[draw.randrange(10, 100) % len(frame)] = draw.randrange(256)
            case 3:
                del frame[draw.randrange(10, len(frame) + 1) :]
    return bytes(frame)


def test_a_header_that_lies_makes_no_other_packets_than_the_kernels(oracle: Router) -> None:
    came_out = [cut(oracle, lying_frame(random.Random(seed))) for seed in range(2 * SEEDS)]
    assert 0 in came_out and any(count > 1 for count in came_out), "these lies prove nothing"


# -- Coalescing


def train(draw: random.Random, port: int) -> list[bytes]:
    """Segments of one flow, as they arrive over a bad network."""
    size = draw.choice((1, 60, 1348, draw.randrange(1, 1_400)))
    whole = replace(drawn(draw, draw.randrange(1, 12 * size)), ports=(port, 2000))
    if draw.random() < 0.7:
        whole = replace(whole, flags=draw.choice((ACK, ACK | PSH)))
    parts = slow_segments(whole, size)
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(parts))
        part = parts[at]
        match draw.randrange(6):
            case 0 if len(parts) > 1:
                del parts[at]
            case 1:
                parts.insert(at, part)
            case 2:
                parts.insert(draw.randrange(len(parts)), parts.pop(at))
            case 3:
                parts[at] = replace(part, ttl=draw.randrange(2, 256))
            case 4:
                parts[at] = replace(part, class_=part.class_ ^ draw.choice((1, 2, 3, 4)))
            case 5:
                parts[at] = replace(part, flags=part.flags | draw.choice((FIN, SYN, RST, ECE, CWR)))
    built = [part.build() for part in parts]
    for _ in range(draw.randrange(2)):
        at = draw.randrange(len(built))
        match draw.randrange(3):
            case 0:  # damaged on the way
                built[at] = built[at][:-1] + bytes([built[at][-1] ^ 0x55])
            case 1:
                built[at], _ = with_more_headers(draw, built[at])
            case 2 if built[at][0] == 0x45:
                built[at] = as_fragment(built[at])
    return built


def arrival(draw: random.Random) -> list[bytes]:
    """The trains of up to 12 flows, interleaved."""
    trains = [train(draw, port) for port in range(1, draw.randrange(2, 14))]
    if draw.random() < 0.2:
        trains.append([icmp_echo("10.77.0.1", "10.77.0.2")])
    packets = []
    while trains := [left for left in trains if left]:
        chosen = draw.choice(trains)
        count = draw.randrange(1, len(chosen) + 1)
        packets += chosen[:count]
        del chosen[:count]
    return packets


def comes_out_as_it_went_in(oracle: Router, seed: int) -> int:
    """How many packets a write carried, at most."""
    sent = arrival(random.Random(seed))
    result = coalesce(oracle.entry.fileno(), sent)
    assert (result["failed"], result["tso"], result["uso"]) == (0, True, True), f"seed {seed}"
    try:
        check_same([plain(packet) for packet in sent], [returned(packet) for packet in oracle.left()])
    except AssertionError as error:
        raise AssertionError(f"seed {seed}") from error
    return len(sent) - result["writes"]


def test_what_is_coalesced_leaves_the_kernel_as_it_came(oracle: Router) -> None:
    saved = [comes_out_as_it_went_in(oracle, seed) for seed in range(SEEDS)]
    assert sum(saved) > SEEDS, "hardly anything was joined"


@pytest.mark.long
def test_many_more(oracle: Router) -> None:
    for seed in range(SEEDS, LONG * SEEDS):
        segments_as_the_kernel_does(oracle, seed)
        cut(oracle, lying_frame(random.Random(seed)))
        comes_out_as_it_went_in(oracle, seed)
