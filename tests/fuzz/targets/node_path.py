"""The node's two loops, running, against a slow twin: datagrams from the Switch's address, and frames from TUN.

The twin says of each what becomes of it, and all must be accounted for, each under its own reason; what reaches TUN is
what a peer's key sealed, from a source that the peer has.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import select
import socket
import struct
import time
from collections import Counter
from typing import Any

from ovng._fast.aead import Aead
from ovng._fast.node import INBOUND_DROPS
from ovng._fast.replay import LIMIT, WINDOW
from ovng._fast.segment import segments
from ovng.errors import Malformed
from ovng.ids import NodeID
from ovng.limits import HEADER_SIZE, MAX_DATAGRAM, TAG_SIZE
from ovng.wire.header import FLAG_CLUSTER, FLAG_SPARSE, Header, PacketType, parse_header
from tests.datapath_rig import IV, ME, OTHER, PEER, Rig
from tests.fuzz.choices import Choices
from tests.fuzz.targets import segment
from tests.fuzz.targets.coalesce import check_same
from tests.unit.packets import NO_VNET, TCP, UDP, Packet, icmp_echo
from tests.unit.twins import SlowReplayWindow

STEPS_MAX = 8
SECONDS = 10.0
CONTROL_MAX = 2_048
SEND_KEY = 7
BROADCAST = ipaddress.IPv4Address("255.255.255.255")
KEYS = {9: 1, 10: 2}
"""Receiving key IDs and their ciphers."""
PREFIXES = [ipaddress.ip_network("10.77.0.2/32"), ipaddress.ip_network("fd77::2/128")]
_REPLAY = {-1: "replay_number", -2: "replay_old", -3: "replay_duplicate"}
_UDP_SEGMENT = 103
_KEYS = itertools.count(1 << 128)


@functools.cache
def _rig() -> Rig:
    """Loops in their threads, and a peer."""
    rig = Rig()
    rig.know_peer()
    for end in (rig.switch, rig.outer):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return rig


class Stage:
    """Fresh keys on old loops; what is expected, and what was counted before."""

    def __init__(self) -> None:
        self.rig, self.windows = _rig(), {}
        self.key = next(_KEYS).to_bytes(32, "big")  # never again: a key lives once
        for key_id, cipher in KEYS.items():
            self.rig.path.retire_receive(PEER, key_id)
            self.rig.path.install_receive(PEER, key_id, cipher, self.key, IV)
            for mark in (0, FLAG_SPARSE):
                self.windows[key_id, mark] = SlowReplayWindow(WINDOW, LIMIT)
        self.rig.path.install_send(PEER, SEND_KEY, 1, self.key, IV)
        self.controls = 0
        self.sealed = 0  # by the loops, under the key above
        self.said: list[bytes] = []
        self.numbers = Counter(KEYS)  # the last that was sealed here

    # -- Inbound

    def deliver(self, datagrams: list[bytes], train: int = 0) -> None:
        """From the Switch; as one segmented send of `train` bytes each, or one by one."""
        before = self._figures()
        expected, packets = Counter[str](), []
        for datagram in datagrams:
            verdict = self._judge(datagram)
            if isinstance(verdict, str):
                expected[verdict] += 1
            else:
                expected["received_packets"] += 1
                packets.append(verdict)
        if train:
            cut = [(socket.SOL_UDP, _UDP_SEGMENT, struct.pack("=H", train))]
            self.rig.switch.sendmsg([b"".join(datagrams)], cut, 0, self.rig.outer.getsockname())
        else:
            for datagram in datagrams:
                self.rig.deliver(datagram)
        got = self._settle(before, len(datagrams))
        assert got == expected, f"{got} instead of {expected}"
        arrived: list[bytes] = []
        while len(arrived) < len(packets):
            arrived += segments(self.rig.arrived())
        check_same(packets, arrived)

    def _settle(self, before: Counter[str], count: int) -> Counter[str]:
        """What has become of `count` datagrams."""
        deadline = time.monotonic() + SECONDS
        while True:
            got = self._figures() - before
            if got.total() >= count:
                return got
            assert time.monotonic() < deadline, f"only {got} of {count}"
            time.sleep(0.000_05)

    def _figures(self) -> Counter[str]:
        stats: dict[str, Any] = self.rig.path.stats()
        self.controls += sum(event[0] == "control" for event in self.rig.path.events())
        figures = Counter({name: stats["drops"][name] for name in INBOUND_DROPS})
        figures.update(received_packets=stats["received_packets"], keepalives=stats["keepalives"])
        figures.update(control=self.controls)
        return figures

    def _judge(self, datagram: bytes) -> bytes | str:
        """PROTOCOL 2, in its order: the inner packet, or why there is none."""
        try:
            header = parse_header(datagram)
        except Malformed as error:
            return error.reason
        if header.dst != ME:
            return "misaddressed"
        if header.type != PacketType.DATA:
            return "control" if len(datagram) <= CONTROL_MAX else "control_too_big"
        if len(datagram) < HEADER_SIZE + TAG_SIZE:
            return "too_short"
        if header.flags & FLAG_CLUSTER:
            return "cluster_flag"
        if header.src != PEER:
            return "no_session"
        if header.key_id not in KEYS:
            return "unknown_key"
        window = self.windows[header.key_id, header.flags & FLAG_SPARSE]
        verdict = window.check(header.number)
        if verdict:
            return _REPLAY[verdict]
        aead = Aead(KEYS[header.key_id], self.key, IV)
        packet = aead.open_packet(header.number, datagram[:HEADER_SIZE], datagram[HEADER_SIZE:])
        if packet is None:
            return "aead_forged"
        window.commit(header.number)
        return _judge_inner(packet) if packet else "keepalives"

    def seal(self, packet: bytes, header: Header) -> bytes:
        """As the peer does."""
        head = header.pack()
        aead = Aead(KEYS.get(header.key_id, 1), self.key, IV)
        return head + aead.seal_packet(header.number, head, packet)

    # -- Outbound

    def send(self, frame: bytes) -> None:
        """From an application."""
        before: dict[str, Any] = self.rig.path.stats()
        expected = _leaves(frame)
        self.rig.device.send(frame)
        count = len(expected) if isinstance(expected, list) else 1
        deadline = time.monotonic() + SECONDS
        told = 0
        while True:
            now: dict[str, Any] = self.rig.path.stats()
            told += sum(event[0] == "no_route" for event in self.rig.path.events())
            dropped = Counter(now["drops"]) - Counter(before["drops"])
            if now["sent_packets"] - before["sent_packets"] + dropped.total() + told >= count:
                break
            assert time.monotonic() < deadline, f"a frame is not accounted for: {expected!r}"
            time.sleep(0.000_05)
        if isinstance(expected, list):
            for packet in expected:
                self._check_sealed(self.rig.left(), packet)
        elif expected.startswith("no_route"):
            assert told + dropped["event_rate"] == int(expected.removeprefix("no_route "))
        else:
            assert dropped == {expected: 1}

    def _check_sealed(self, datagram: bytes, packet: bytes) -> None:
        self.sealed += 1
        header = parse_header(datagram)
        flags = header.flags & FLAG_SPARSE
        assert header == (PacketType.DATA, SEND_KEY, flags, PEER, ME, self.sealed)
        opened = Aead(1, self.key, IV).open_packet(header.number, datagram[:HEADER_SIZE], datagram[HEADER_SIZE:])
        assert opened == packet


def _judge_inner(packet: bytes) -> bytes | str:
    version = packet[0] >> 4
    if version not in (4, 6):
        return "inner_version"
    header = 40 if version == 6 else (packet[0] & 15) * 4
    if header < 20 or len(packet) < header:
        return "inner_length"
    told = int.from_bytes(packet[2:4], "big") if version == 4 else 40 + int.from_bytes(packet[4:6], "big")
    if told != len(packet):
        return "inner_length"
    source = ipaddress.ip_address(packet[12:16] if version == 4 else packet[8:24])
    return packet if any(source in prefix for prefix in PREFIXES if prefix.version == version) else "inner_source"


def _leaves(frame: bytes) -> list[bytes] | str:
    """What the loop makes of a TUN read: packets for the peer, or why not."""
    try:
        packets = segments(frame)
    except Malformed as error:
        return error.reason
    first = packets[0]
    destination = ipaddress.ip_address(first[16:20] if first[0] >> 4 == 4 else first[24:40])
    if destination.is_multicast or destination.is_link_local or destination == BROADCAST:
        return "local_noise"
    if not any(destination in prefix for prefix in PREFIXES if prefix.version == destination.version):
        return f"no_route {len(packets)}"
    if HEADER_SIZE + len(first) + TAG_SIZE > MAX_DATAGRAM:
        return "too_big"
    return packets


# -- The program


def _inner(choices: Choices) -> bytes:
    """A packet of the peer's, and perhaps not."""
    version = choices.pick((4, 6))
    packet = Packet(
        bytes(choices.u16() % 1_400),
        version,
        choices.pick((TCP, UDP)),
        source=choices.pick(("10.77.0.2", "10.77.0.2", "10.77.0.3") if version == 4 else ("fd77::2", "fd77::2", "::1")),
        sequence=choices.integer(),
        flags=choices.pick((0x10, 0x18, 0x12)),
    )
    return choices.changed(packet.build())


def _header(stage: Stage, choices: Choices) -> Header:
    key_id = choices.pick((9, 9, 9, 10, 11))
    stage.numbers[key_id] += 1
    number = choices.integer() if choices.below(8) == 7 else stage.numbers[key_id]
    flags = choices.pick((0, 0, FLAG_SPARSE, 1, 2, 3))
    dst, src = choices.pick((ME, ME, ME, OTHER)), choices.pick((PEER, PEER, PEER, OTHER, NodeID(0x99)))
    kind = choices.pick((PacketType.DATA, PacketType.DATA, PacketType.DATA, *PacketType))
    return Header(kind, key_id, flags, dst, src if src != dst else PEER, number)


def one(stage: Stage, choices: Choices) -> None:
    """A datagram, changed before or after sealing."""
    packet = b"" if choices.below(16) == 15 else _inner(choices)
    datagram = choices.changed(stage.seal(packet, _header(stage, choices)))
    stage.said.append(datagram)
    stage.deliver([datagram])


def train(stage: Stage, choices: Choices) -> None:
    """Equal datagrams in one segmented send: consecutive segments of one flow, some changed on the way."""
    size, count = 1 + choices.u16() % 1_200, 2 + choices.below(20)
    version, protocol = choices.pick((4, 6)), choices.pick((TCP, UDP))
    datagrams = []
    for index in range(count):
        stage.numbers[9] += 1
        packet = Packet(
            bytes(size),
            version,
            protocol,
            source="10.77.0.2" if version == 4 else "fd77::2",
            sequence=index * size,
            identification=index,
            dont_fragment=choices.flag(),
        ).build()
        datagram = stage.seal(packet, Header(PacketType.DATA, 9, 0, ME, PEER, stage.numbers[9]))
        changed = choices.changed(datagram)
        datagrams.append(changed if len(changed) == len(datagram) else datagram)
    datagrams[-1] = datagrams[-1][: 1 + choices.u16() % len(datagrams[-1])] if choices.flag() else datagrams[-1]
    stage.deliver(datagrams, len(datagrams[0]))


def raw(stage: Stage, choices: Choices) -> None:
    """Any bytes."""
    stage.deliver([choices.chunk(3_000)])


def again(stage: Stage, choices: Choices) -> None:
    """What came before."""
    if stage.said:
        stage.deliver([choices.changed(choices.pick(stage.said))])


def tun(stage: Stage, choices: Choices) -> None:
    """What an application sends, as the kernel hands it over, and perhaps not."""
    if choices.flag():
        to = choices.pick(("10.77.0.2", "10.77.0.9", "224.0.0.1", "255.255.255.255", "169.254.1.1"))
        frame = NO_VNET + choices.changed(icmp_echo("10.77.0.1", to, choices.u8()))
    else:
        frame = segment.make_frame(choices)
    if frame:
        stage.send(frame)


STEPS = (one, train, raw, again, tun)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    stage, choices = Stage(), Choices(data)
    for step in choices.steps(STEPS, STEPS_MAX):
        step(stage, choices)
    assert not select.select([stage.rig.device, stage.rig.switch], [], [], 0)[0], "more came out than went in"
