"""What the inbound loop writes to TUN: any packets that passed its checks, in one batch.

Segmenting what was written gives the packets back, flow by flow in their order: nothing is lost, made up or mended.
"""

from __future__ import annotations

import functools
import socket
from collections import defaultdict

from ovng._fast.coalesce import coalesce
from ovng._fast.segment import segments
from tests.fuzz.choices import Choices
from tests.unit.packets import ACK, PSH, TCP, UDP, Packet, icmp_echo

BATCH_MAX = 60
Flow = tuple[object, ...]


@functools.cache
def _device() -> tuple[socket.socket, socket.socket]:
    """A pair of sockets that keep message boundaries, as TUN does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    for end in (ours, theirs):
        end.setblocking(False)
    return ours, theirs


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices = Choices(data)
    tso, uso = choices.flag(), choices.flag()
    batch = make_batch(choices)
    try:
        result = coalesce(_device()[0].fileno(), batch, True, tso, uso)
    except ValueError:
        assert any(not is_packet(packet) for packet in batch)
        return
    assert all(map(is_packet, batch)) and result["failed"] == 0
    frames = [_device()[1].recv(70_000) for _ in range(result["writes"])]
    assert len(frames) <= len(batch)
    check_same(batch, [packet for frame in frames for packet in segments(frame)])


def check_same(sent: list[bytes], written: list[bytes]) -> None:
    """The same packets, flow by flow in the same order, but for what means nothing."""
    expected, got = defaultdict(list), defaultdict(list)
    for packet in sent:
        expected[flow(packet)].append(plain(packet))
    for packet in written:
        got[flow(packet)].append(plain(packet))
    assert got == expected


def flow(packet: bytes) -> Flow:
    """Version, protocol, addresses and ports."""
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        return packet[9], packet[12:20], packet[header : header + 4]
    return packet[6], packet[8:40], packet[40:44]


def plain(packet: bytes) -> bytes:
    """With one spelling for what has two: a TCP checksum of zero, and IPv4's; and without an ID that says nothing.

    The ID of a packet that may not be fragmented means nothing (RFC 6864), and coalescing makes one up; it is taken out
    of the header's checksum, too (RFC 1624).
    """
    if packet[0] >> 4 == 6:
        return _one_zero(packet, 56) if packet[6] == TCP and len(packet) >= 60 else packet
    header = (packet[0] & 15) * 4
    check = int.from_bytes(packet[10:12], "big")
    if packet[6] & 0x40 and header == 20:
        check += int.from_bytes(packet[4:6], "big")
        packet = packet[:4] + b"\0\0" + packet[6:]
    packet = packet[:10] + (check % 0xFFFF).to_bytes(2, "big") + packet[12:]
    return _one_zero(packet, header + 16) if packet[9] == TCP and len(packet) >= header + 20 else packet


def _one_zero(packet: bytes, at: int) -> bytes:
    return packet[:at] + b"\xff\xff" + packet[at + 2 :] if packet[at : at + 2] == b"\0\0" else packet


def is_packet(packet: bytes) -> bool:
    """Whether the loops would pass it on: an IP header that tells its length."""
    if packet[:1] and packet[0] >> 4 == 4:
        return 20 <= (packet[0] & 15) * 4 <= len(packet) == int.from_bytes(packet[2:4], "big")
    return len(packet) >= 40 and packet[0] >> 4 == 6 and len(packet) == int.from_bytes(packet[4:6], "big") + 40


def make_batch(choices: Choices) -> list[bytes]:
    """Runs of a few flows, changed here and there."""
    batch: list[bytes] = []
    sequences: dict[object, int] = {}
    while choices and len(batch) < BATCH_MAX:
        if choices.below(16) == 15:
            batch.append(choices.chunk(400))
            continue
        what = choices.u8()
        version, protocol, port = (4, 6)[what & 1], (TCP, UDP)[what >> 1 & 1], what >> 2 & 3
        key = version, protocol, port
        size = 1 + choices.u16() % 1_400
        for _ in range(1 + choices.below(6)):
            packet = Packet(
                bytes(size),
                version,
                protocol,
                ports=(1_000 + port, 2_000),
                sequence=sequences.get(key, 0),
                identification=sequences.get(key, 0),
                flags=ACK | (PSH if choices.below(8) == 7 else 0),
                options=b"\x01\x01\x08\x0a12345678" if port == 3 else b"",
                dont_fragment=port == 1,
            )
            sequences[key] = sequences.get(key, 0) + (size if protocol == TCP else 1)
            batch.append(choices.changed(packet.build()))
        if choices.below(16) == 15:
            batch.append(icmp_echo("10.77.0.1", "10.77.0.2"))
    return batch
