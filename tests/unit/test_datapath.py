"""The node's data path: what passes, in both directions and up to Python."""

from __future__ import annotations

import ipaddress
import os
import select
import struct
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from ovng._fast import frame
from ovng.ids import Locator
from ovng.io.niceness import has_moderation
from ovng.limits import HEADER_SIZE
from tests.datapath_rig import (
    AES,
    BACK,
    CHACHA,
    CONTROL,
    IV,
    KEY,
    ME,
    OTHER,
    OUT,
    PEER,
    PRIVATE,
    REPORT,
    SECONDS,
    Rig,
    opened,
    seal,
    until,
)
from tests.kernel_refusal import in_a_thread, needs_seccomp, refuse_timestamps
from tests.lacks import needs_gso
from tests.unit.packets import NO_VNET, TCP, UDP, Packet, slow_segments

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


def outbound_policy(rig: Rig) -> int:
    thread = rig.path._threads[0].native_id
    assert thread is not None
    return os.sched_getscheduler(thread)


@pytest.mark.skipif(not has_moderation(), reason="SCHED_BATCH is refused")
def test_a_sender_of_many_small_packets_is_not_interrupted(rig: Rig) -> None:
    """20 in a millisecond are many; when they are few again, each is on its way as soon as can be."""
    rig.know_peer()
    until(lambda: rig.path.stats()["moderation"])
    assert outbound_policy(rig) == os.SCHED_OTHER
    end = time.monotonic() + SECONDS
    while outbound_policy(rig) != os.SCHED_BATCH:
        assert time.monotonic() < end
        for _ in range(200):
            rig.send(OUT)

    def calm() -> bool:
        rig.send(OUT)
        return outbound_policy(rig) == os.SCHED_OTHER

    until(calm)


def test_a_policy_that_was_chosen_for_it_stays() -> None:
    def policy() -> tuple[int, bool]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with closing(Rig()) as rig:  # its threads inherit it
            rig.know_peer()
            rig.send(OUT)
            rig.left()
            return outbound_policy(rig), rig.path.stats()["moderation"]

    assert in_a_thread(policy) == (os.SCHED_IDLE, False)


@pytest.mark.parametrize("gso", [pytest.param(True, marks=needs_gso), False])
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


@needs_gso
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


def test_packet_for_this_machine(rig: Rig) -> None:
    assert rig.path.write_tun(BACK)
    assert rig.arrived() == NO_VNET + BACK


@needs_gso
def test_offloads_can_be_turned_off_one_by_one() -> None:
    for name in ("gso", "gro"):
        rig = Rig({name: False})
        try:
            rig.know_peer()
            all_on = dict.fromkeys(("vnet_hdr", "tso", "uso", "gso", "gro"), True)
            assert rig.path.stats()["offloads"] == all_on | {name: False, "timestamps": False}
            rig.send(OUT)
            assert opened(rig.left())[1] == OUT
            rig.deliver(seal(1))
            assert rig.arrived() == NO_VNET + BACK
        finally:
            rig.close()


@needs_seccomp
def test_a_kernel_that_does_not_say_when_datagrams_came() -> None:
    """It bounds no queue: told as an offload that is off, and all passes."""

    def on(prepare: Callable[[], None]) -> bool:
        prepare()
        with closing(Rig(short_queue=True)) as rig:
            rig.know_peer()
            rig.deliver(seal(1))
            assert rig.arrived() == NO_VNET + BACK
            return bool(rig.path.stats()["offloads"]["timestamps"])

    assert in_a_thread(lambda: on(lambda: None)) is True
    assert in_a_thread(lambda: on(refuse_timestamps)) is False


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
