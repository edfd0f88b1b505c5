"""The node's data path: what must not pass, and the reason that is counted."""

from __future__ import annotations

import ipaddress
import time

import pytest

from ovng._fast import frame
from ovng.ids import NodeID
from ovng.limits import HARD_PACKETS
from tests.datapath_rig import (
    BACK,
    CHACHA,
    CLUSTER,
    CONTROL,
    DATA,
    DUP,
    ME,
    OTHER,
    OUT,
    PEER,
    SPOOFED,
    Rig,
    opened,
    seal,
    until,
)
from tests.unit.packets import NO_VNET, UDP, Packet, icmp_echo


def broken(at: int, value: int) -> bytes:
    datagram = bytearray(seal(1))
    datagram[at] ^= value
    return bytes(datagram)


BAD_INNER_LENGTH = BACK + b"x"


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
        ("control_too_big", frame.build(CONTROL, 0, 0, ME, PEER, 0) + bytes(8925)),
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
    began = time.monotonic()
    for number in range(1000):
        ready.deliver(seal(1, src=NodeID(0x1000 + number)))
    until(lambda: ready.drops("no_session") == 1000)
    told = [event for event in ready.path.events() if event[0] == "unknown_data"]
    assert 100 <= len(told) <= 100 * (1 + time.monotonic() - began) + 1  # a token under way when it began
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
