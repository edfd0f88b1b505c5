"""Coalescing: whatever it writes, segmentation gives the same packets back, flow by flow in the same order."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovng._fast.coalesce import coalesce
from ovng._fast.segment import segments
from tests.effort import examples
from tests.unit.packets import (
    ACK,
    CWR,
    ECE,
    FIN,
    NO_VNET,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    Packet,
    icmp_echo,
    slow_segments,
)


class Device:
    """A pair of sockets that keep message boundaries, as TUN does."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)

    def written(self, packets: list[bytes], *, vnet: bool = True, tso: bool = True, uso: bool = True) -> list[bytes]:
        """The frames that one batch becomes."""
        result = coalesce(self.ours.fileno(), packets, vnet, tso, uso)
        assert result["failed"] == 0
        frames = []
        for _ in range(result["writes"]):
            frames.append(self.theirs.recv(70_000))
        return frames

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


KINDS = [(version, protocol) for version in (4, 6) for protocol in (TCP, UDP)]


@pytest.mark.parametrize(("version", "protocol"), KINDS)
@pytest.mark.parametrize("size", [1, 100, 1348])
def test_round_trip_gives_the_super_packet_back(device: Device, version: int, protocol: int, size: int) -> None:
    packet = Packet(bytes(range(251)) * 300, version, protocol, flags=ACK | PSH, options=b"\x01\x01\x08\x0a12345678")
    packet = replace(packet, payload=packet.payload[: min(45 * size + size // 2 + 1, 65_000)])
    frame = packet.vnet(size) + packet.partial()
    assert device.written(segments(frame)) == [frame]


def flow_of(packet: bytes) -> bytes:
    if packet[0] >> 4 == 4:
        return packet[9:10] + packet[12:24]
    return packet[6:7] + packet[8:44]


@settings(max_examples=examples(200))
@given(st.data())
def test_nothing_is_lost_changed_or_overtaken_within_a_flow(data: st.DataObject) -> None:
    """Trains of up to 12 flows, interleaved, some packets lost, repeated or damaged."""
    trains = []
    for index in range(data.draw(st.integers(1, 12))):
        version, protocol = data.draw(st.sampled_from(KINDS))
        size = data.draw(st.integers(1, 60))
        packet = Packet(
            bytes([index]) * data.draw(st.integers(1, 400)),
            version,
            protocol,
            ports=(1000 + index, 2000),
            sequence=data.draw(st.sampled_from((0, 2**32 - 100))),
            flags=ACK | data.draw(st.sampled_from((0, PSH, FIN, PSH | FIN, SYN, RST, ECE, CWR))),
            options=data.draw(st.sampled_from((b"", b"\x01\x01\x08\x0a12345678"))),
            identification=65_530,
        )
        train = [segment.build() for segment in slow_segments(packet, size)]
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, len(train) - 1))
            what = data.draw(st.sampled_from(("lose", "repeat", "damage", "swap")))
            if what == "lose" and len(train) > 1:
                del train[at]
            elif what == "repeat":
                train.insert(at, train[at])
            elif what == "damage":
                train[at] = train[at][:-1] + bytes([train[at][-1] ^ 0x55])
            elif what == "swap" and at:
                train[at - 1], train[at] = train[at], train[at - 1]
        trains.append(train)
    sent = []
    while any(trains):
        train = data.draw(st.sampled_from([train for train in trains if train]))
        count = data.draw(st.integers(1, len(train)))
        sent += train[:count]
        del train[:count]

    device = Device()
    try:
        received = [packet for frame in device.written(sent) for packet in segments(frame)]
    finally:
        device.close()
    assert len(received) == len(sent)
    for flow in {flow_of(packet) for packet in sent}:
        assert [p for p in received if flow_of(p) == flow] == [p for p in sent if flow_of(p) == flow]


def train_of(count: int = 4, size: int = 100, protocol: int = TCP, version: int = 4) -> list[Packet]:
    return slow_segments(Packet(b"d" * (count * size), version, protocol), size)


def test_interleaved_flows_are_gathered_side_by_side(device: Device) -> None:
    first = [packet.build() for packet in train_of()]
    second = [replace(packet, ports=(1, 2)).build() for packet in train_of()]
    mixed = [packet for both in zip(first, second, strict=True) for packet in both]
    assert len(device.written(mixed)) == 2


def test_a_ninth_flow_makes_the_oldest_give_way(device: Device) -> None:
    packets = [replace(p, ports=(port, 1)).build() for p in train_of(2) for port in range(9)]
    frames = device.written(packets)
    assert sum(len(segments(frame)) for frame in frames) == 18
    assert len(frames) > 9


@pytest.mark.parametrize(
    "change",
    [
        {"acknowledgement": 8},
        {"window": 1},
        {"ttl": 3},
        {"class_": 1},
        {"options": b"\x01\x01\x01\x00"},
        {"flags": ACK | ECE},
        {"flags": ACK | FIN},
        {"identification": 99},
        {"sequence": 12345},
        {"ports": (1000, 2001)},
        {"source": "10.77.0.9"},
        {"dont_fragment": True},
    ],
)
def test_another_header_does_not_join(device: Device, change: dict[str, object]) -> None:
    first, second = train_of(2)
    odd = replace(second, **change)  # type: ignore[arg-type]
    assert sorted(device.written([first.build(), odd.build()])) == sorted(NO_VNET + p.build() for p in (first, odd))


def test_with_dont_fragment_the_id_means_nothing(device: Device) -> None:
    """RFC 6864: Linux sends TCP with ID 0 and DF often enough."""
    packets = [replace(packet, dont_fragment=True, identification=0).build() for packet in train_of()]
    assert len(device.written(packets)) == 1


def test_nothing_follows_a_shorter_one_or_a_push(device: Device) -> None:
    packets = train_of(4)
    pushed = [replace(p, flags=ACK | PSH) if i == 1 else p for i, p in enumerate(packets)]
    assert [len(segments(f)) for f in device.written([p.build() for p in pushed])] == [2, 2]
    short = [packets[0], replace(packets[1], payload=b"d" * 50), replace(packets[2], sequence=150)]
    assert [len(segments(f)) for f in device.written([p.build() for p in short])] == [2, 1]


def test_damaged_packet_passes_as_it_is(device: Device) -> None:
    """What arrives damaged must stay visibly damaged: the receiver's kernel drops it, not we."""
    packets = [packet.build() for packet in train_of(4)]
    packets[1] = packets[1][:-1] + b"X"
    assert device.written(packets)[:2] == [NO_VNET + packets[0], NO_VNET + packets[1]]


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("damaged", [0, 1])
def test_damaged_ip_header_is_not_mended(device: Device, protocol: int, damaged: int) -> None:
    """A super-packet gets an IPv4 header checksum of its own."""
    packets = [bytearray(packet.build()) for packet in train_of(2, protocol=protocol)]
    packets[damaged][11] ^= 1
    assert sorted(device.written([bytes(p) for p in packets])) == sorted(NO_VNET + p for p in packets)


@pytest.mark.parametrize(
    "packet",
    [
        icmp_echo("10.77.0.1", "10.77.0.2"),
        Packet(b"", flags=ACK).build(),
        Packet(b"x", protocol=6).build()[:20],  # TCP that ends after the IP header
        Packet(b"x", protocol=17, version=6).build()[:44],
    ],
)
def test_what_is_not_understood_passes_as_it_is(device: Device, packet: bytes) -> None:
    length = len(packet)
    if packet[0] >> 4 == 4:
        packet = packet[:2] + length.to_bytes(2, "big") + packet[4:]
    else:
        packet = packet[:4] + (length - 40).to_bytes(2, "big") + packet[6:]
    assert device.written([packet, packet]) == [NO_VNET + packet] * 2


def test_fragments_and_options_pass_as_they_are(device: Device) -> None:
    fragment = bytearray(train_of(1)[0].build())
    fragment[6] |= 0x20  # more fragments
    assert device.written([bytes(fragment)] * 2) == [NO_VNET + fragment] * 2
    fragment = bytearray(train_of(1)[0].build())
    fragment[7] = 1  # offset
    assert device.written([bytes(fragment)] * 2) == [NO_VNET + fragment] * 2


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("extension", [0, 43, 44, 60])
def test_behind_an_ipv6_extension_nothing_overtakes(device: Device, protocol: int, extension: int) -> None:
    """A flow's later fragments, or its packets with options, are not gathered, and wait for those that are."""
    first, second, third = train_of(3, protocol=protocol, version=6)
    plain = third.build()
    header = bytes([protocol, 0, 1, 4, 0, 0, 0, 0])
    odd = plain[:4] + (len(plain) - 40 + 8).to_bytes(2, "big") + bytes([extension]) + plain[7:40] + header + plain[40:]
    frames = device.written([first.build(), second.build(), odd])
    assert [len(segments(frames[0])), frames[1:]] == [2, [NO_VNET + odd]]


def test_udp_without_checksum_passes_as_it_is(device: Device) -> None:
    bare = [packet.build()[:26] + b"\0\0" + packet.build()[28:] for packet in train_of(3, protocol=UDP)]
    assert device.written(bare) == [NO_VNET + packet for packet in bare]


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_an_offload_that_is_off_is_not_used(device: Device, protocol: int) -> None:
    packets = [packet.build() for packet in train_of(4, protocol=protocol)]
    assert device.written(packets, tso=protocol != TCP, uso=protocol != UDP) == [NO_VNET + p for p in packets]
    assert device.written(packets, vnet=False) == packets
    assert len(device.written(packets)) == 1


def test_a_run_ends_where_a_super_packet_must(device: Device) -> None:
    most = [packet.build() for packet in train_of(140, size=10)]
    assert [len(segments(frame)) for frame in device.written(most)] == [128, 12]
    datagrams = [packet.build() for packet in train_of(140, size=10, protocol=UDP)]
    assert [len(segments(frame)) for frame in device.written(datagrams)] == [64, 64, 12]
    largest = [packet.build() for packet in train_of(49, size=1348)]
    assert [len(segments(frame)) for frame in device.written(largest)] == [48, 1]


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_refused_super_packet_is_written_one_by_one_and_given_up(device: Device, protocol: int) -> None:
    """A socket with a small buffer answers EMSGSIZE, as an old kernel answers EINVAL."""
    device.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)  # doubled by the kernel
    packets = [packet.build() for packet in train_of(2, size=5000, protocol=protocol)]
    result = coalesce(device.ours.fileno(), packets)
    assert result == {"writes": 2, "failed": 0, "tso": protocol != TCP, "uso": protocol != UDP}
    assert [device.theirs.recv(70_000) for _ in range(2)] == [NO_VNET + packet for packet in packets]


def test_giving_up_lets_nothing_overtake() -> None:
    """With the last offload gone packets are written at once: what was gathered of other flows goes first."""
    large = [packet.build() for packet in train_of(48, size=1364)]
    end_of_large = replace(train_of(49, size=1364)[-1], flags=ACK | FIN).build()
    early, late = (replace(packet, ports=(1, 2)).build() for packet in train_of(2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours, socket.socket(ours.family, ours.type) as theirs:
        theirs.bind(("127.0.0.1", 0))
        theirs.setblocking(False)
        ours.connect(theirs.getsockname())  # takes datagrams of 65,507 bytes
        result = coalesce(ours.fileno(), [*large, early, end_of_large, late], uso=False)
        assert result == {"writes": 51, "failed": 0, "tso": False, "uso": False}
        frames = [theirs.recv(70_000) for _ in range(51)]
    assert frames.index(NO_VNET + early) < frames.index(NO_VNET + late)


def test_a_device_that_takes_nothing_is_counted(device: Device) -> None:
    device.theirs.close()
    packets = [packet.build() for packet in train_of(3)]
    assert coalesce(device.ours.fileno(), [icmp_echo("10.0.0.1", "10.0.0.2"), *packets])["failed"] == 4


def test_what_is_no_ip_packet_is_refused(device: Device) -> None:
    for packet in (b"", b"\x45", b"\x60" * 39, b"\x20" * 60, train_of(1)[0].build()[:-1]):
        with pytest.raises(ValueError, match="not an IP packet"):
            coalesce(device.ours.fileno(), [packet])
