"""A peer falls silent and is heard again: what TCP sent meanwhile leaves once more, sealed anew."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator

import pytest

from ovng.ids import NodeID
from tests.datapath_rig import AES, BACK, IV, KEY, OUT, PEER, Rig, opened, seal, until
from tests.unit.packets import NO_VNET, TCP, UDP, Packet, slow_segments

SILENT = 0.5  # seconds until a peer counts as silent
PACKETS, BYTES, PEERS = 16, 32 * 1024, 32


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    made.know_peer()
    yield made
    made.close()


def data(index: int, size: int = 100) -> bytes:
    return Packet(index.to_bytes(4, "big") + bytes(size), protocol=TCP, flags=0x10).build()


def pass_by(rig: Rig, packet: bytes) -> None:
    rig.send(packet)
    assert opened(rig.left())[1] == packet


def fall_silent(rig: Rig) -> None:
    """Send until packets are kept."""

    def kept() -> bool:
        pass_by(rig, data(0))
        return bool(rig.path.stats()["stashed"])

    until(kept)


def test_tcp_data_sent_into_the_silence_leaves_again(rig: Rig) -> None:
    began = time.monotonic()
    fall_silent(rig)
    assert time.monotonic() - began > SILENT
    packets = [data(index) for index in range(1, 101)]
    for packet in packets:
        pass_by(rig, packet)
    newest = rig.path.stats()["sent_packets"]
    rig.deliver(seal(1, b""))
    again = [opened(rig.left()) for _ in range(PACKETS)]
    assert again == list(enumerate(packets[-PACKETS:], newest + 1))
    pass_by(rig, data(0))  # nothing stands between: that was all
    assert rig.path.stats()["resent"] == PACKETS
    rig.deliver(seal(2))
    assert rig.arrived() == NO_VNET + BACK
    pass_by(rig, data(0))
    assert rig.path.stats()["resent"] == PACKETS


def test_what_is_kept_is_bounded_in_bytes(rig: Rig) -> None:
    fall_silent(rig)
    packets = [data(index, 4000) for index in range(20)]
    for packet in packets:
        pass_by(rig, packet)
    rig.deliver(seal(1))
    count = BYTES // (len(packets[0]) + 16)
    assert [opened(rig.left())[1] for _ in range(count)] == packets[-count:]
    assert rig.path.stats()["resent"] == count


def test_segments_of_a_super_packet_are_kept(rig: Rig) -> None:
    fall_silent(rig)
    packet = Packet(bytes(range(250)) * 83, protocol=TCP, flags=0x18)
    expected = [segment.build() for segment in slow_segments(packet, 1300)]
    rig.device.send(packet.vnet(1300) + packet.partial())
    assert [opened(rig.left())[1] for _ in expected] == expected
    rig.deliver(seal(1))
    assert [opened(rig.left())[1] for _ in range(PACKETS)] == expected[-PACKETS:]


@pytest.mark.parametrize(
    "packet",
    [
        Packet(b"datagram", protocol=UDP).build(),
        Packet(b"", protocol=TCP, flags=0x10).build(),
        Packet(b"", protocol=TCP, version=6, flags=0x10).build(),
    ],
)
def test_only_tcp_data_is_kept(rig: Rig, packet: bytes) -> None:
    end = time.monotonic() + 2 * SILENT

    def time_is_up() -> bool:
        pass_by(rig, packet)
        return time.monotonic() > end

    until(time_is_up)
    assert rig.path.stats()["stashed"] == 0


def test_who_answers_is_not_silent(rig: Rig) -> None:
    """Nor is he who was not asked: an answer that follows a pause makes nothing leave twice."""
    numbers = iter(range(1, 1_000_000))
    for _ in range(3):
        pass_by(rig, data(0))
        rig.deliver(seal(next(numbers)))
        rig.arrived()
        end = time.monotonic() + 1.2 * SILENT
        until(lambda end=end: time.monotonic() > end)  # type: ignore[misc]
    end = time.monotonic() + 2 * SILENT
    while time.monotonic() < end:
        pass_by(rig, data(0))
        rig.deliver(seal(next(numbers)))
        rig.arrived()
    assert rig.path.stats()["stashed"] == 0


def test_few_silent_peers_are_remembered(rig: Rig) -> None:
    """One too many: the one to which nothing was sent for longest is forgotten."""
    peers = [NodeID(0x1000 + index) for index in range(PEERS + 1)]
    packets = [Packet(b"data", protocol=TCP, destination=f"10.78.0.{index}").build() for index in range(PEERS + 1)]
    for index, peer in enumerate(peers):
        prefix = ipaddress.ip_network(f"10.78.0.{index}/32")
        rig.path.add_peer(peer, [prefix])
        rig.path.add_route(prefix, peer)
        rig.path.install_send(peer, 7, AES, index.to_bytes(32, "big"), IV)
        rig.path.install_receive(peer, 9, AES, KEY, IV)
    for packet in packets:
        rig.send(packet)
        rig.left()
    end = time.monotonic() + 1.2 * SILENT
    until(lambda: time.monotonic() > end)
    for packet in packets:
        rig.send(packet)
        rig.left()
    assert rig.path.stats()["stashed"] == PEERS + 1
    rig.path.remove_peer(peers[5])
    for peer in (peers[0], peers[5], peers[1], peers[-1]):
        rig.deliver(seal(1, b"", src=peer))
    until(lambda: rig.path.stats()["resent"] == 2)
    assert {rig.left()[4:12] for _ in range(2)} == {peers[1].packed(), peers[-1].packed()}


def test_a_keepalive_tells_a_peer_that_we_are_back(rig: Rig) -> None:
    assert rig.path.send_keepalive(PEER)
    assert opened(rig.left()) == (1, b"")
    rig.path.set_active(-1)
    assert rig.path.send_keepalive(PEER)
    assert rig.path.send_keepalive(NodeID(99))
    assert rig.path.inject(OUT)
    until(lambda: rig.path.stats()["held"] == 1)  # both keepalives are behind us
    rig.path.set_active(0)
    assert opened(rig.left()) == (2, OUT)
