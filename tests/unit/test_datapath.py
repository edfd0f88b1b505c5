"""The node's data path without privileges: a socket pair stands for TUN, a loopback socket for the Switch.

The peer is plain Python over the same primitives, so every datagram is built and judged here byte by byte.
"""

from __future__ import annotations

import ipaddress
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ovng._fast import frame
from ovng._fast.aead import Aead
from ovng.ids import Locator, NodeID
from ovng.io.datapath import Event, NodeDataPath
from ovng.io.tun import Offloads, Tun
from ovng.limits import HARD_PACKETS, HEADER_SIZE
from tests.unit.packets import NO_VNET, TCP, UDP, Packet, icmp_echo, slow_segments

ME, PEER, OTHER = NodeID(0xA1), NodeID(0xB2), NodeID(0xC3)
KEY, IV = bytes(range(32)), bytes(range(12))
AES, CHACHA = 1, 2
DATA, CONTROL, REPORT, PRIVATE = 1, 2, 3, 4
DUP, CLUSTER = 1, 2
SECONDS = 10.0

OUT = icmp_echo("10.77.0.1", "10.77.0.2")
BACK = icmp_echo("10.77.0.2", "10.77.0.1")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        select.select([], [], [], 0.001)


class Rig:
    """A data path between `device` (the applications' side of TUN) and `switch` (the far end of the socket)."""

    def __init__(
        self, offloads: dict[str, bool] | None = None, *, ring_bytes: int = 1 << 20, vnet: bool = True
    ) -> None:
        self.device, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.device.settimeout(SECONDS)
        self.tun = Tun(ours.detach(), "pair", Offloads(vnet, vnet, vnet))
        self.switch = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.switch.bind(("127.0.0.1", 0))
        self.switch.settimeout(SECONDS)
        self.outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outer.bind(("127.0.0.1", 0))
        self.path = NodeDataPath(ME, self.tun, offloads, ring_bytes=ring_bytes, short_queue=False)
        self.path.set_path(0, self.outer, Locator.of(*self.switch.getsockname()))
        self.path.set_active(0)
        self.heard: list[Event] = []
        self.path.start()

    def close(self) -> None:
        self.path.close()
        self.tun.close()
        for each in (self.device, self.switch, self.outer):
            each.close()

    def know_peer(self, cipher: int = AES, send_limits: dict[str, int] | None = None) -> None:
        """Keys both ways (key ID 9 inbound, 7 outbound) and routes for 10.77.0.2 and fd77::2."""
        prefixes = [ipaddress.ip_network("10.77.0.2/32"), ipaddress.ip_network("fd77::2/128")]
        self.path.add_peer(PEER, prefixes)
        for prefix in prefixes:
            self.path.add_route(prefix, PEER)
        self.path.install_receive(PEER, 9, cipher, KEY, IV)
        self.path.install_send(PEER, 7, cipher, KEY, IV, **(send_limits or {}))

    # The switch's side

    def deliver(self, datagram: bytes) -> None:
        self.switch.sendto(datagram, self.outer.getsockname())

    def left(self) -> bytes:
        """The next datagram that came out."""
        return self.switch.recv(70_000)

    # The applications' side

    def send(self, packet: bytes) -> None:
        self.device.send(NO_VNET + packet if self.tun.offloads.vnet_hdr else packet)

    def arrived(self) -> bytes:
        """The next frame that went to TUN."""
        return self.device.recv(70_000)

    # The control plane's side

    def drops(self, reason: str) -> int:
        return int(self.path.stats()["drops"][reason])

    def expect(self, event: Event) -> None:
        """Wait until that event was told."""

        def told() -> bool:
            self.heard.extend(self.path.events())
            return event in self.heard

        until(told)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


@pytest.fixture
def ready(rig: Rig) -> Rig:
    rig.know_peer()
    return rig


def seal(
    number: int,
    packet: bytes = BACK,
    *,
    key: bytes = KEY,
    key_id: int = 9,
    flags: int = 0,
    dst: NodeID = ME,
    src: NodeID = PEER,
    cipher: int = AES,
) -> bytes:
    header = frame.build(DATA, key_id, flags, dst, src, number)
    return header + Aead(cipher, key, IV).seal_packet(number, header, packet)


def opened(datagram: bytes, cipher: int = AES, key: bytes = KEY) -> tuple[int, bytes]:
    """(number, inner packet) of one that the data path has sealed for PEER."""
    header = frame.parse(datagram)
    assert isinstance(header, tuple)
    kind, key_id, flags, dst, src, number = header
    assert (kind, key_id, flags, dst, src) == (DATA, 7, 0, PEER, ME)
    packet = Aead(cipher, key, IV).open_packet(number, datagram[:HEADER_SIZE], datagram[HEADER_SIZE:])
    assert packet is not None
    return number, packet


# -- Traffic


@pytest.mark.parametrize("cipher", [AES, CHACHA])
def test_packets_pass_both_ways(rig: Rig, cipher: int) -> None:
    rig.know_peer(cipher)
    for number in range(1, 4):
        rig.send(OUT)
        assert opened(rig.left(), cipher) == (number, OUT)
        rig.deliver(seal(number, cipher=cipher))
        assert rig.arrived() == NO_VNET + BACK
    peer = rig.path.peer_stats(PEER)
    assert peer is not None
    assert (peer["sent_packets"], peer["sent_bytes"]) == (3, 3 * len(OUT))
    assert (peer["received_packets"], peer["received_bytes"]) == (3, 3 * len(BACK))
    assert (peer["send_key"], peer["send_number"], peer["receive_keys"]) == (7, 3, [9])
    assert abs(rig.path.last_rx - time.monotonic() * 1000) < 5000
    assert abs(rig.path.last_tx - time.monotonic() * 1000) < 5000


@pytest.mark.parametrize("gso", [True, False])
@pytest.mark.parametrize(("version", "protocol"), [(4, TCP), (4, UDP), (6, TCP), (6, UDP)])
def test_super_packet_leaves_as_sealed_segments(version: int, protocol: int, gso: bool) -> None:
    rig = Rig({"gso": gso})
    try:
        rig.know_peer()
        packet = Packet(bytes(range(250)) * 240, version, protocol, flags=0x18)
        rig.device.send(packet.vnet(1300) + packet.partial())
        expected = [segment.build() for segment in slow_segments(packet, 1300)]
        assert [opened(rig.left()) for _ in expected] == list(enumerate(expected, 1))
        assert rig.path.stats()["offloads"]["gso"] == gso
        assert (rig.path.stats()["sent_messages"] < 5) == gso
    finally:
        rig.close()


def test_train_of_datagrams_arrives_as_one_super_packet(ready: Rig) -> None:
    """The Switch sends with GSO; the payload of 43 segments is opened, checked and coalesced where it lies."""
    packet = Packet(bytes(range(250)) * 220, protocol=TCP, flags=0x18, source="10.77.0.2", destination="10.77.0.1")
    segments = slow_segments(packet, 1300)
    train = b"".join(seal(number, segment.build()) for number, segment in enumerate(segments, 1))
    size = HEADER_SIZE + 40 + 1300 + 16
    assert len(train) <= 65_507
    cut = [(17, 103, struct.pack("=H", size))]  # SOL_UDP, UDP_SEGMENT
    ready.switch.sendmsg([train], cut, 0, ready.outer.getsockname())
    assert ready.arrived() == packet.vnet(1300) + packet.partial()


def test_without_virtio_header_packets_are_bare() -> None:
    rig = Rig(vnet=False)
    try:
        rig.know_peer()
        rig.send(OUT)
        assert opened(rig.left()) == (1, OUT)
        rig.deliver(seal(1))
        assert rig.arrived() == BACK
        assert not any(rig.path.stats()["offloads"][name] for name in ("vnet_hdr", "tso", "uso"))
    finally:
        rig.close()


def test_empty_plaintext_is_a_keepalive(ready: Rig) -> None:
    ready.deliver(seal(1, b""))
    ready.expect(("first_receive", PEER, 9))
    assert ready.path.stats()["keepalives"] == 1
    assert ready.path.stats()["received_packets"] == 0


def test_first_receive_is_told_once_per_generation(ready: Rig) -> None:
    ready.path.install_receive(PEER, 10, AES, KEY, IV)
    for number in (1, 2, 3):
        ready.deliver(seal(number))
        ready.deliver(seal(number, key_id=10))
        ready.arrived()
        ready.arrived()
    ready.expect(("first_receive", PEER, 9))
    ready.expect(("first_receive", PEER, 10))
    assert len(ready.heard) == 2


# -- What must not pass


def broken(at: int, value: int) -> bytes:
    datagram = bytearray(seal(1))
    datagram[at] ^= value
    return bytes(datagram)


BAD_INNER_LENGTH = BACK + b"x"
SPOOFED = icmp_echo("10.77.0.3", "10.77.0.1")


@pytest.mark.parametrize(
    ("reason", "datagram"),
    [
        ("too_short", b""),
        ("too_short", b"\x11"),
        ("too_short", seal(1)[:27]),
        ("too_short", seal(1)[:43]),
        ("version", broken(0, 0x30)),
        ("type", broken(0, 0x01)),
        ("type", broken(0, 0x08)),
        ("flags", broken(2, 0x80)),
        ("src_zero", frame.build(DATA, 9, 0, ME, 0, 1) + bytes(60)),
        ("src_is_dst", frame.build(DATA, 9, 0, ME, ME, 1) + bytes(60)),
        ("misaddressed", seal(1, dst=OTHER)),
        ("misaddressed", seal(1, dst=NodeID(0))),
        ("no_session", seal(1, src=OTHER)),
        ("unknown_key", seal(1, key_id=8)),
        ("cluster_flag", seal(1, flags=CLUSTER)),
        ("replay_number", seal(0)),
        ("replay_number", seal(HARD_PACKETS + 1)),
        ("replay_number", seal(2**64 - 1)),
        ("aead_forged", broken(3, DUP)),  # flags are authenticated
        ("aead_forged", broken(27, 2)),  # so is the number
        ("aead_forged", broken(40, 1)),
        ("aead_forged", broken(-1, 1)),
        ("aead_forged", seal(1)[:-1]),
        ("aead_forged", seal(1, key=bytes(32))),
        ("aead_forged", seal(1, cipher=CHACHA)),
        ("inner_version", seal(1, b"\x55" + BACK[1:])),
        ("inner_length", seal(1, BAD_INNER_LENGTH)),
        ("inner_length", seal(1, BACK[:-1])),
        ("inner_length", seal(1, b"\x45")),
        ("inner_length", seal(1, b"\x44" + BACK[1:])),
        ("inner_length", seal(1, b"\x60" + bytes(38))),
        ("inner_source", seal(1, SPOOFED)),
        ("inner_source", seal(1, Packet(b"x", version=6, source="fd77::3").build())),
        ("inner_source", seal(1, Packet(b"x", version=6, source="::10.77.0.2").build())),
        ("inner_source", seal(1, Packet(b"x", version=6, source="::ffff:10.77.0.2").build())),
        ("control_too_big", frame.build(CONTROL, 0, 0, ME, PEER, 0) + bytes(2021)),
    ],
)
def test_bad_datagram_is_dropped_under_its_reason(ready: Rig, reason: str, datagram: bytes) -> None:
    ready.deliver(datagram)
    until(lambda: ready.drops(reason) == 1)
    ready.deliver(seal(2))  # and everything still works
    assert ready.arrived() == NO_VNET + BACK
    drops = ready.path.stats()["drops"]
    assert {name: count for name, count in drops.items() if count} == {reason: 1}


def test_replayed_and_old_packets_are_dropped(ready: Rig) -> None:
    for number in (1, 9000):
        ready.deliver(seal(number))
        ready.arrived()
    for number in (1, 2, 9000 - 8192):
        ready.deliver(seal(number))
    ready.deliver(seal(9000))
    until(lambda: ready.drops("replay_old") == 3)
    until(lambda: ready.drops("replay_duplicate") == 1)
    ready.deliver(seal(9000 - 8191))  # the oldest that still fits
    assert ready.arrived() == NO_VNET + BACK


def test_a_forgery_does_not_move_the_window(ready: Rig) -> None:
    ready.deliver(seal(1_000_000, key=bytes(32)))
    until(lambda: ready.drops("aead_forged") == 1)
    ready.deliver(seal(1))
    assert ready.arrived() == NO_VNET + BACK


def test_strangers_earn_few_events(ready: Rig) -> None:
    """Each costs a counter; at most 100 per second cost Python anything."""
    for number in range(1000):
        ready.deliver(seal(1, src=NodeID(0x1000 + number)))
    until(lambda: ready.drops("no_session") == 1000)
    told = [event for event in ready.path.events() if event[0] == "unknown_data"]
    assert 100 <= len(told) <= 150
    assert ("unknown_data", NodeID(0x1000)) in told


def test_a_known_peer_without_keys_has_no_session(rig: Rig) -> None:
    rig.path.add_peer(PEER, [])
    rig.deliver(seal(1))
    rig.expect(("unknown_data", PEER))


@pytest.mark.parametrize("destination", ["224.0.0.251", "255.255.255.255", "169.254.7.7"])
def test_small_talk_of_a_lan_is_dropped(ready: Rig, destination: str) -> None:
    ready.path.add_route(ipaddress.ip_network("0.0.0.0/0"), PEER)
    ready.send(icmp_echo("10.77.0.1", destination))
    ready.send(Packet(b"x", version=6, protocol=UDP, destination="ff02::fb").build())
    ready.send(Packet(b"x", version=6, protocol=UDP, destination="fe80::1").build())
    until(lambda: ready.drops("local_noise") == 3)
    assert ready.path.events() == []


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("tun_truncated", b"short"),
        ("tun_length", NO_VNET + OUT + b"x"),
        ("tun_version", NO_VNET + b"\xf5" + OUT[1:]),
        (
            "tun_gso_size",
            Packet(b"x" * 3000).vnet(1)[:4] + bytes(2) + Packet(b"x").vnet(1)[6:] + Packet(b"x" * 3000).partial(),
        ),
        ("too_big", NO_VNET + Packet(bytes(65_440), protocol=UDP).build()),
    ],
)
def test_bad_tun_frame_is_dropped_under_its_reason(ready: Rig, reason: str, written: bytes) -> None:
    ready.device.send(written)
    until(lambda: ready.drops(reason) == 1)
    ready.send(OUT)
    assert opened(ready.left())[1] == OUT


def test_largest_packet_that_fits_a_datagram(ready: Rig) -> None:
    packet = Packet(bytes(65_507 - 44 - 28), protocol=UDP, source="10.77.0.2").build()
    outward = Packet(bytes(65_507 - 44 - 28), protocol=UDP).build()
    ready.send(outward)
    assert opened(ready.left()) == (1, outward)
    ready.deliver(seal(1, packet))
    assert ready.arrived() == NO_VNET + packet


# -- What goes to Python


@pytest.mark.parametrize("kind", [CONTROL, REPORT, PRIVATE])
def test_control_datagram_comes_up_with_its_origin(rig: Rig, kind: int) -> None:
    for size in (28, 1232, 2048):
        datagram = frame.build(kind, 0, 0, ME, OTHER, 0).ljust(size, b"c")
        rig.deliver(datagram)
        rig.expect(("control", 0, Locator.of(*rig.switch.getsockname()), datagram))


def test_control_goes_out_on_the_path_asked_for(rig: Rig) -> None:
    assert rig.path.send_control(b"hello")
    assert rig.left() == b"hello"
    assert not rig.path.send_control(b"hello", path=2)
    assert rig.drops("send_control") == 1


def test_packet_without_route_waits_for_python(rig: Rig) -> None:
    rig.send(OUT)
    rig.expect(("no_route", OUT))
    rig.path.add_route(ipaddress.ip_network("10.77.0.0/24"), PEER)
    assert rig.path.inject(OUT)
    rig.expect(("no_key", PEER, OUT))
    rig.path.add_peer(PEER, [ipaddress.ip_network("10.77.0.2/32")])
    assert rig.path.inject(OUT)
    rig.path.install_send(PEER, 7, AES, KEY, IV)
    assert rig.path.inject(OUT)
    assert opened(rig.left())[1] == OUT


def test_super_packet_without_route_comes_up_in_pieces(rig: Rig) -> None:
    packet = Packet(bytes(4000))
    rig.device.send(packet.vnet(1300) + packet.partial())
    for segment in slow_segments(packet, 1300):
        rig.expect(("no_route", segment.build()))


def test_waiting_packets_do_not_flood_python(rig: Rig) -> None:
    for _ in range(3000):
        rig.send(OUT)
    until(lambda: rig.path.stats()["tun_reads"] == 3000)
    assert rig.drops("event_rate") > 0
    assert rig.drops("event_ring_full") == 0


@pytest.mark.parametrize("packet", [b"", bytes(65_001)])
def test_what_cannot_be_injected(rig: Rig, packet: bytes) -> None:
    assert not rig.path.inject(packet)


def test_injected_garbage_is_dropped(ready: Rig) -> None:
    assert ready.path.inject(b"\xf0garbage")
    until(lambda: ready.drops("tun_version") == 1)


def test_a_python_side_that_sleeps_loses_events_and_no_traffic() -> None:
    rig = Rig(ring_bytes=4096)
    try:
        rig.know_peer()
        for _ in range(100):
            rig.deliver(frame.build(CONTROL, 0, 0, ME, OTHER, 0).ljust(1000, b"c"))
        until(lambda: rig.drops("event_ring_full") >= 97)
        rig.deliver(seal(1))
        assert rig.arrived() == NO_VNET + BACK
        rig.heard = rig.path.events()
        assert 1 <= len(rig.heard) <= 5
        rig.deliver(seal(2))  # had this event found no room, it would be told now
        rig.expect(("first_receive", PEER, 9))
    finally:
        rig.close()


def test_eventfd_is_readable_while_there_is_something(rig: Rig) -> None:
    assert select.select([rig.path], [], [], 0)[0] == []
    rig.send(OUT)
    assert select.select([rig.path], [], [], SECONDS)[0] == [rig.path]
    assert rig.path.events() == [("no_route", OUT)]
    assert select.select([rig.path], [], [], 0)[0] == []


# -- Generations


@pytest.mark.parametrize("bound", [{"soft_packets": 2, "hard_packets": 4}, {"soft_blocks": 8, "hard_blocks": 16}])
def test_limits_of_a_generation(rig: Rig, bound: dict[str, int]) -> None:
    """Four packets of 60 bytes are 16 blocks."""
    rig.know_peer(send_limits=bound)
    for _ in range(6):
        rig.send(OUT)
    assert [opened(rig.left())[0] for _ in range(4)] == [1, 2, 3, 4]
    rig.expect(("soft_limit", PEER, 7))
    rig.expect(("hard_limit", PEER, 7))

    def both_wait() -> bool:
        rig.heard += rig.path.events()
        return rig.heard.count(("no_key", PEER, OUT)) == 2

    until(both_wait)
    assert len(rig.heard) == 4
    rig.path.install_send(PEER, 7, AES, KEY[::-1], IV)
    rig.send(OUT)
    assert opened(rig.left(), key=KEY[::-1]) == (1, OUT)


def test_a_limit_is_told_even_if_the_ring_was_full() -> None:
    rig = Rig(ring_bytes=64)
    try:
        rig.know_peer(send_limits={"soft_packets": 0})
        rig.path.add_route(ipaddress.ip_network("10.77.0.3/32"), OTHER)
        bare = Packet(b"", protocol=UDP, destination="10.77.0.3").build()  # 8 + 8 + 28 of the ring's 64 bytes
        rig.send(bare)
        until(lambda: rig.path.stats()["tun_reads"] == 1)
        rig.send(OUT)
        rig.left()
        assert rig.drops("event_ring_full") == 1
        assert rig.path.events() == [("no_key", OTHER, bare)]
        rig.send(OUT)
        rig.expect(("soft_limit", PEER, 7))
    finally:
        rig.close()


def test_retired_sending_key_makes_packets_wait(ready: Rig) -> None:
    assert ready.path.retire_send(PEER)
    assert not ready.path.retire_send(PEER)
    ready.send(OUT)
    ready.expect(("no_key", PEER, OUT))


def test_four_generations_receive_side_by_side(ready: Rig) -> None:
    for key_id in (10, 11, 12):
        ready.path.install_receive(PEER, key_id, AES, KEY, IV)
    with pytest.raises(RuntimeError, match="four generations"):
        ready.path.install_receive(PEER, 13, AES, KEY, IV)
    for key_id in (9, 10, 11, 12):
        ready.deliver(seal(1, key_id=key_id))
        assert ready.arrived() == NO_VNET + BACK
    assert ready.path.retire_receive(PEER, 10)
    assert not ready.path.retire_receive(PEER, 10)
    ready.deliver(seal(2, key_id=10))
    until(lambda: ready.drops("unknown_key") == 1)
    ready.path.install_receive(PEER, 13, AES, KEY, IV)
    ready.deliver(seal(2, key_id=13))
    assert ready.arrived() == NO_VNET + BACK


def test_reinstalled_key_id_starts_a_fresh_window(ready: Rig) -> None:
    ready.deliver(seal(1))
    ready.arrived()
    ready.path.install_receive(PEER, 9, AES, KEY[::-1], IV)
    ready.deliver(seal(1, key=KEY[::-1]))
    assert ready.arrived() == NO_VNET + BACK


def test_removed_peer_is_a_stranger(ready: Rig) -> None:
    assert ready.path.remove_peer(PEER)
    assert not ready.path.remove_peer(PEER)
    assert ready.path.peer_stats(PEER) is None
    ready.deliver(seal(1))
    ready.expect(("unknown_data", PEER))
    ready.send(OUT)
    ready.expect(("no_key", PEER, OUT))


def test_prefixes_of_a_peer_can_change(ready: Rig) -> None:
    ready.path.add_peer(PEER, [ipaddress.ip_network("10.77.0.3/32")])
    ready.deliver(seal(1))
    until(lambda: ready.drops("inner_source") == 1)
    ready.deliver(seal(2, SPOOFED))
    assert ready.arrived() == NO_VNET + SPOOFED


# -- Routes


def test_longest_prefix_wins(rig: Rig) -> None:
    """Random nested prefixes of both versions, some removed again, against the standard library."""
    chance = random.Random(7)
    routes: dict[ipaddress.IPv4Network | ipaddress.IPv6Network, NodeID] = {}

    def random_address(version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        if version == 4:  # few bits vary, so that prefixes nest
            return ipaddress.IPv4Address(0x0A000000 | chance.getrandbits(24) & 0x00030303)
        return ipaddress.IPv6Address((0xFD << 120) | chance.getrandbits(120) & 0x3 << 64 | chance.getrandbits(3))

    for index in range(200):
        version = chance.choice((4, 6))
        bits = chance.randint(0, 32 if version == 4 else 128)
        prefix = ipaddress.ip_network((random_address(version), bits), strict=False)
        peer = NodeID(1000 + index)
        rig.path.add_route(prefix, peer)
        routes[prefix] = peer
        if chance.random() < 0.4:
            gone = chance.choice(list(routes))
            assert not rig.path.remove_route(gone, NodeID(1))
            assert rig.path.remove_route(gone, routes.pop(gone))
    assert routes
    for _ in range(300):
        version = chance.choice((4, 6))
        destination = random_address(version)
        packet = Packet(b"x", version, UDP, destination=str(destination)).build()
        covering = [p for p in routes if p.version == version and destination in p]
        rig.send(packet)
        if covering:
            best = max(covering, key=lambda prefix: prefix.prefixlen)
            expected: Event = ("no_key", routes[best], packet)
        else:
            expected = ("no_route", packet)
        rig.heard.clear()
        rig.expect(expected)


def test_a_default_route_serves_one_version(rig: Rig) -> None:
    rig.path.add_route(ipaddress.ip_network("::/0"), PEER)
    rig.send(OUT)
    rig.expect(("no_route", OUT))
    rig.path.add_route(ipaddress.ip_network("0.0.0.0/0"), OTHER)
    rig.send(OUT)
    rig.expect(("no_key", OTHER, OUT))


# -- Paths and life


def test_without_a_path_packets_are_dropped(ready: Rig) -> None:
    ready.path.set_active(-1)
    ready.send(OUT)
    until(lambda: ready.drops("no_path") == 1)
    ready.path.set_active(3)
    ready.send(OUT)
    until(lambda: ready.drops("no_path") == 2)
    ready.path.set_active(0)
    ready.send(OUT)
    assert opened(ready.left()) == (1, OUT)


def test_paths_are_heard_side_by_side_and_can_be_replaced(ready: Rig) -> None:
    second = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        second.bind(("::", 0))
        ready.path.set_path(3, second, Locator.of(*ready.switch.getsockname()))
        ready.switch.sendto(seal(1), ("127.0.0.1", second.getsockname()[1]))
        assert ready.arrived() == NO_VNET + BACK
        ready.deliver(seal(2))
        assert ready.arrived() == NO_VNET + BACK
        ready.path.set_active(3)
        ready.send(OUT)
        datagram, source = ready.switch.recvfrom(2000)
        assert opened(datagram)[1] == OUT
        assert source[1] == second.getsockname()[1]
        hello = frame.build(CONTROL, 0, 0, ME, OTHER, 0)
        ready.switch.sendto(hello, ("127.0.0.1", second.getsockname()[1]))
        ready.expect(("control", 3, Locator.of(*ready.switch.getsockname()), hello))
        ready.path.set_path(3, ready.outer, Locator.of(*ready.switch.getsockname()))
        ready.send(OUT)
        assert ready.switch.recvfrom(2000)[1] == ready.outer.getsockname()
        ready.path.clear_path(3)
        ready.path.clear_path(3)
        ready.send(OUT)
        until(lambda: ready.drops("no_path") == 1)
    finally:
        second.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_stop_leaves_nothing() -> None:
    Rig().close()  # whatever is opened once per process is open now
    until(lambda: threads() == threading.active_count())  # the system's view lags behind a join
    before = open_descriptors(), threads()
    for _ in range(5):
        rig = Rig()
        rig.know_peer()
        for index in (1, 2, 1, 1):
            rig.path.set_path(index, rig.outer, Locator.of(*rig.switch.getsockname()))
        assert threads() == before[1] + 2
        began = time.monotonic()
        rig.path.stop()
        assert time.monotonic() - began < 1
        rig.path.stop()
        rig.close()
        rig.path.close()
        with pytest.raises(RuntimeError, match="closed"):
            rig.path.inject(OUT)
        until(lambda: threads() == before[1])
    assert open_descriptors() == before[0]


def test_replaced_paths_do_not_pile_up(ready: Rig) -> None:
    where = Locator.of(*ready.switch.getsockname())
    ready.path.set_path(1, ready.outer, where)
    before = open_descriptors()
    for _ in range(100):
        ready.path.set_path(1, ready.outer, where)
    until(lambda: ready.path.events() is not None and open_descriptors() <= before)


def test_control_plane_changes_under_full_traffic(ready: Rig) -> None:
    """Keys, routes, peers and paths come and go while both loops run; nothing is lost that had a key."""
    sealed = [seal(number) for number in range(1, 2001)]
    for index, datagram in enumerate(sealed):
        ready.deliver(datagram)
        ready.send(OUT)
        ready.path.install_receive(PEER, 100, AES, index.to_bytes(32, "big"), IV)
        ready.path.add_peer(NodeID(5000 + index % 200), [ipaddress.ip_network("10.9.0.0/16")])
        ready.path.add_route(ipaddress.ip_network(f"10.8.{index % 256}.0/24"), OTHER)
        ready.path.remove_peer(NodeID(5000 + (index + 50) % 200))
        ready.path.remove_route(ipaddress.ip_network(f"10.8.{(index + 50) % 256}.0/24"), OTHER)
        assert ready.arrived() == NO_VNET + BACK
        assert opened(ready.left()) == (index + 1, OUT)


def test_tun_that_goes_away_does_not_burn_the_processor(rig: Rig) -> None:
    rig.device.close()
    until(lambda: rig.path.stats()["tun_error"])
    began = time.process_time()
    select.select([], [], [], 0.5)
    assert time.process_time() - began < 0.25


def test_packet_for_this_machine(rig: Rig) -> None:
    assert rig.path.write_tun(BACK)
    assert rig.arrived() == NO_VNET + BACK


def test_offloads_can_be_turned_off_one_by_one() -> None:
    for name in ("gso", "gro"):
        rig = Rig({name: False})
        try:
            rig.know_peer()
            assert rig.path.stats()["offloads"] == dict.fromkeys(("vnet_hdr", "tso", "uso", "gso", "gro"), True) | {
                name: False
            }
            rig.send(OUT)
            assert opened(rig.left())[1] == OUT
            rig.deliver(seal(1))
            assert rig.arrived() == NO_VNET + BACK
        finally:
            rig.close()
