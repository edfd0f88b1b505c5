"""Several paths of a node's data path: what passed on each, changes under traffic, packets that wait for a path."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from ovng.ids import Locator
from ovng.limits import UNKNOWN_PLACE_BYTES
from tests.datapath_rig import BACK, OUT, Rig, open_descriptors, opened, seal, until
from tests.unit.packets import NO_VNET, TCP, UDP, Packet, icmp_echo, slow_segments

HELD_BYTES = 256 * 1024
AGAIN_BYTES = 8192  # of node.pxd
SHARE = 64 * 1024  # of 5 ms: what is more is not kept
OTHER_OUT = icmp_echo("10.77.0.1", "10.99.0.1")


@pytest.fixture
def ready() -> Iterator[Rig]:
    made = Rig()
    made.know_peer()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[socket.socket]:
    """The socket of a second path."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        yield made


def where(rig: Rig) -> Locator:
    return Locator.of(*rig.switch.getsockname())


# -- Figures


def test_each_path_counts_what_passed_on_it(ready: Rig, other: socket.socket) -> None:
    assert ready.path.path_stats(1) is None
    assert ready.path.path_stats(0) == (0, 0, 0, 0, 0, 0)
    ready.path.set_path(1, other, where(ready))
    began = time.monotonic() * 1000
    for number in (1, 2):
        ready.send(OUT)
        ready.left()
        ready.switch.sendto(seal(number), other.getsockname())
        ready.arrived()
    sent, received = len(OUT) + 44, len(BACK) + 44
    until(lambda: (stats := ready.path.path_stats(0)) is not None and stats.sent_datagrams == 2)
    first, second = ready.path.path_stats(0), ready.path.path_stats(1)
    assert first is not None and second is not None
    assert (first[:4], second[:4]) == ((2, 2 * sent, 0, 0), (0, 0, 2, 2 * received))
    assert began - 1 <= first.last_tx_ms <= time.monotonic() * 1000
    assert began - 1 <= second.last_rx_ms <= time.monotonic() * 1000
    assert (first.last_rx_ms, second.last_tx_ms) == (0, 0)


def test_only_authentic_data_says_that_a_path_is_alive(ready: Rig) -> None:
    ready.deliver(seal(1, key=bytes(32)))
    ready.deliver(bytes(100))
    until(lambda: ready.drops("aead_forged") == 1 and ready.drops("version") == 1)
    figures = ready.path.path_stats(0)
    assert figures is not None
    assert (figures.received_datagrams, figures.last_rx_ms) == (2, 0)


def test_control_is_counted_and_is_no_data(ready: Rig) -> None:
    assert ready.path.send_control(b"hello", 0)
    assert ready.path.path_stats(0) == (1, 5, 0, 0, 0, 0)


def test_a_train_is_counted_by_its_datagrams(ready: Rig) -> None:
    packet = Packet(bytes(13_000), protocol=UDP)
    ready.device.send(packet.vnet(1300) + packet.partial())
    for _ in range(10):
        ready.left()
    until(lambda: (stats := ready.path.path_stats(0)) is not None and stats.sent_datagrams == 10)


# -- Changes


def test_changes_under_traffic_lose_nothing(ready: Rig, other: socket.socket) -> None:
    """The active path changes, paths are set again with their own sockets, all while packets pass both ways."""
    ready.path.set_path(1, other, where(ready))
    before = open_descriptors()
    numbers = []
    for index in range(1, 1001):
        ready.send(OUT)
        ready.switch.sendto(seal(index), (other if index % 3 else ready.outer).getsockname())
        ready.path.set_active(index % 2)
        if index % 5 == 0:
            ready.path.set_path(index % 2, (ready.outer, other)[index % 2], where(ready))
        if index % 7 == 0:
            ready.path.set_path(2, other, where(ready))
        if index % 14 == 0:
            ready.path.clear_path(2)
        numbers.append(opened(ready.left())[0])
        assert ready.arrived() == NO_VNET + BACK
    assert numbers == list(range(1, 1001))
    ready.path.clear_path(2)
    until(lambda: ready.path.events() is not None and open_descriptors() <= before)
    assert not any(ready.path.stats()["drops"].values())


# -- Packets wait for a path


def test_without_a_path_packets_wait(ready: Rig, other: socket.socket) -> None:
    ready.path.set_active(-1)
    packets = [Packet(bytes([index]), protocol=UDP).build() for index in range(20)]
    for packet in packets:
        ready.send(packet)
    until(lambda: ready.path.stats()["held"] == 20)
    ready.path.set_active(1)  # there is none
    ready.send(OUT)
    assert ready.path.inject(BACK[:12] + OUT[12:])
    until(lambda: ready.path.stats()["held"] == 22)
    ready.path.set_path(1, other, where(ready))
    received = [ready.switch.recvfrom(2000) for _ in range(22)]
    assert {source for _, source in received} == {other.getsockname()}
    assert [opened(datagram)[1] for datagram, _ in received] == [*packets, OUT, BACK[:12] + OUT[12:]]
    assert ready.path.stats()["held_sent"] == 22
    assert ready.drops("held_over") == 0


@pytest.mark.parametrize("vnet", [True, False])
def test_what_waited_is_forwarded_as_ever(vnet: bool) -> None:
    """With what the kernel left to us: segments and checksums; and without a route it comes up."""
    rig = Rig(vnet=vnet)
    try:
        rig.know_peer()
        rig.path.set_active(-1)
        packet = Packet(bytes(range(250)) * 40, protocol=TCP, flags=0x18)
        expected = [segment.build() for segment in slow_segments(packet, 1300)]
        if vnet:
            rig.device.send(packet.vnet(1300) + packet.partial())
        else:
            for each in expected:
                rig.device.send(each)
        stray = Packet(b"x", protocol=UDP, destination="10.99.0.1").build()
        rig.send(stray)
        rig.send(Packet(b"x", protocol=UDP, destination="224.0.0.251").build())
        until(lambda: rig.drops("local_noise") == 1)
        rig.path.set_active(0)
        assert [opened(rig.left())[1] for _ in expected] == expected
        rig.expect(("no_route", stray))
    finally:
        rig.close()


def test_the_newest_wait(ready: Rig) -> None:
    ready.path.set_active(-1)
    packets = [Packet(index.to_bytes(2, "big") + bytes(1000), protocol=UDP).build() for index in range(400)]
    for packet in packets:
        ready.send(packet)
    until(lambda: ready.path.stats()["tun_reads"] == 400)
    until(lambda: ready.path.stats()["held"] == 400)
    over = ready.drops("held_over")
    assert HELD_BYTES // 1100 <= 400 - over <= HELD_BYTES // 1000
    ready.path.set_active(0)
    assert opened(ready.left()) == (1, packets[over])
    until(lambda: ready.path.stats()["sent_packets"] == 400 - over)  # more than the far socket's buffer takes at once


def test_a_path_comes_and_goes_under_traffic(ready: Rig) -> None:
    for index in range(300):
        ready.path.set_active(-1)
        ready.send(OUT)
        ready.path.set_active(0)
        assert opened(ready.left()) == (index + 1, OUT)


# -- Sleep


@pytest.mark.parametrize("traffic", ["sealed", "received", "keepalive"])
def test_the_first_packet_wakes(ready: Rig, traffic: str) -> None:
    def pass_one(number: int) -> None:
        if traffic == "sealed":
            ready.send(OUT)
        else:
            ready.deliver(seal(number, BACK if traffic == "received" else b""))

    def told() -> int:
        ready.heard += ready.path.events()
        return ready.heard.count(("traffic",))

    ready.path.wake_on_traffic()
    ready.deliver(seal(9, key=bytes(32)))
    ready.send(OTHER_OUT)
    ready.expect(("no_route", OTHER_OUT))
    until(lambda: ready.drops("aead_forged") == 1)
    assert told() == 0
    for number in range(1, 100):
        pass_one(number)
    ready.expect(("traffic",))
    until(lambda: sum(ready.path.stats()[name] for name in ("sent_packets", "received_packets", "keepalives")) == 99)
    assert told() == 1
    ready.path.wake_on_traffic()
    pass_one(100)
    until(lambda: told() == 2)


# -- What a path took in vain


def nothing_but_new(rig: Rig, number: int) -> None:
    """The next packets have this number and the one behind it: what would leave again comes between new ones."""
    for one in (number, number + 1):
        rig.send(OUT)
        assert opened(rig.left())[0] == one


def change(rig: Rig) -> None:
    """The path is another, by the same way."""
    rig.path.set_path(0, rig.outer, where(rig))


def test_what_was_sent_since_leaves_again_as_it_was(ready: Rig) -> None:
    before: list[bytes] = []
    after: list[bytes] = []
    since = 0.0
    for into in (before, after):
        for length in (10, 10, 200, 10):
            ready.send(Packet(bytes(length), protocol=UDP).build())
            into.append(ready.left())
        if into is before:
            since = time.monotonic() + 0.005
            until(lambda: time.monotonic() > since + 0.002)  # noqa: B023
    change(ready)
    assert ready.path.send_again(since)
    assert [ready.left() for _ in after] == after
    until(lambda: ready.path.stats()["sent_again"] == len(after))
    ready.send(OUT)
    assert opened(ready.left())[0] == len(before) + len(after) + 1  # nothing more left, and no number twice


def test_what_is_sent_again_goes_by_the_path_in_use(ready: Rig, other: socket.socket) -> None:
    since = time.monotonic()
    ready.send(OUT)
    datagram = ready.left()
    ready.path.set_path(1, other, where(ready))
    ready.path.set_active(1)
    ready.path.send_again(since)
    again, source = ready.switch.recvfrom(70_000)
    assert (again, source) == (datagram, other.getsockname())
    ready.path.set_active(-1)
    ready.path.send_again(since)
    ready.send(OUT)
    until(lambda: ready.path.stats()["held"] == 1)  # until there is a path
    ready.path.set_active(1)
    assert opened(ready.left())[0] == 2, "without a path nothing is sent again"


def test_what_left_again_is_kept_for_the_next_time(ready: Rig) -> None:
    """A second change, before anything else was sent: the first way was gone as soon."""
    since = time.monotonic()
    sent = []
    for length in (10, 300, 10):
        ready.send(Packet(bytes(length), protocol=UDP).build())
        sent.append(ready.left())
    for _ in range(3):
        until(lambda: time.monotonic() > since + 0.002)  # noqa: B023
        since = time.monotonic()  # what was sent again then was sent then
        change(ready)
        ready.path.send_again(since - 0.1)
        assert [ready.left() for _ in sent] == sent
        change(ready)
        ready.path.send_again(since)
        assert [ready.left() for _ in sent] == sent
        ready.path.send_again(since)  # by the same path: nothing
    nothing_but_new(ready, len(sent) + 1)


def test_a_part_of_what_waited_leaves_at_once_and_the_rest_a_little_later_in_order(ready: Rig) -> None:
    """The Switch must have read the report before it lets more pass."""
    packets = [Packet(number.to_bytes(2, "big") + bytes(1000), protocol=UDP).build() for number in range(100)]
    ready.path.set_active(-1)
    for packet in packets[:80]:
        ready.send(packet)
    until(lambda: ready.path.stats()["held"] == 80)
    began = time.monotonic()
    ready.path.set_active(0)
    got = [opened(ready.left())[1]]
    until(lambda: ready.path.stats()["held_sent"] > 20)
    for packet in packets[80:]:
        ready.send(packet)
    while len(got) < len(packets):
        got.append(opened(ready.left())[1])
        if len(got) * len(packets[0]) > UNKNOWN_PLACE_BYTES:
            assert time.monotonic() > began + 0.035
    assert got == packets


def test_the_newest_can_be_sent_again_first_and_the_rest_later(ready: Rig) -> None:
    since = time.monotonic()
    sent = []
    for number in range(20):
        ready.send(Packet(bytes(100 + number), protocol=UDP).build())
        sent.append(ready.left())
    change(ready)
    ready.path.send_again(since, sum(map(len, sent[15:])) - 10)  # whole datagrams
    assert [ready.left() for _ in sent[15:]] == sent[15:]
    ready.path.send_again(since)
    assert [ready.left() for _ in sent[:15]] == sent[:15]
    ready.path.send_again(since)
    nothing_but_new(ready, len(sent) + 1)


def test_of_a_train_its_end_is_the_newest(ready: Rig) -> None:
    since = time.monotonic()
    ready.path.set_active(-1)
    for number in range(20):
        ready.send(Packet(bytes([number]) * 100, protocol=UDP).build())
    until(lambda: ready.path.stats()["held"] == 20)
    ready.path.set_active(0)  # equal ones that waited leave as one message
    sent = [ready.left() for _ in range(20)]
    change(ready)
    ready.path.send_again(since, 5 * len(sent[0]) - 10)
    assert [ready.left() for _ in sent[15:]] == sent[15:]
    ready.path.send_again(since)
    assert [ready.left() for _ in sent[:15]] == sent[:15]
    ready.path.send_again(since)  # all of it has left by this path
    change(ready)
    ready.path.send_again(since)
    assert [ready.left() for _ in sent] == sent
    nothing_but_new(ready, len(sent) + 1)


def test_what_is_new_overtakes_what_leaves_again(ready: Rig) -> None:
    """That leaves in parts of 8 KiB, the newest first, each in its order; all of it leaves in the end."""
    since = time.monotonic()
    packet = Packet(bytes(1000), protocol=UDP).build()
    for _ in range(100):
        ready.send(packet)
        part = -(-AGAIN_BYTES // len(ready.left()))
    change(ready)
    ready.path.send_again(since)
    again = [opened(ready.left())[0]]
    ready.send(OUT)
    while len(again) < 101:
        again.append(opened(ready.left())[0])
    assert sorted(again) == list(range(1, 102))
    assert again[:part] == list(range(101 - part, 101))
    assert again.index(101) < 100
    assert ready.path.stats()["sent_again"] == 100


def test_a_change_in_the_middle_of_it_loses_nothing(ready: Rig) -> None:
    """Whoever asks next knows only of the second change."""
    since = time.monotonic()
    packet = Packet(bytes(1000), protocol=UDP).build()
    for _ in range(60):
        ready.send(packet)
        ready.left()
    change(ready)
    ready.path.send_again(since)
    missing = set(range(1, 61)) - {opened(ready.left())[0]}
    change(ready)
    ready.path.send_again(time.monotonic())
    while missing:
        missing.discard(opened(ready.left())[0])


def test_what_is_old_is_not_sent_again_however_often_it_was(ready: Rig) -> None:
    since = time.monotonic()
    ready.send(OUT)
    datagram = ready.left()
    until(lambda: time.monotonic() > since + 0.5)
    change(ready)
    ready.path.send_again(since)
    assert ready.left() == datagram
    until(lambda: time.monotonic() > since + 1.1)
    change(ready)
    ready.path.send_again(since)
    nothing_but_new(ready, 2)


def test_more_than_one_system_call_takes_is_kept(ready: Rig) -> None:
    """1024 messages: what waited for a path leaves at once."""
    ready.path.set_active(-1)
    pairs = 1100
    for _ in range(pairs):  # a shorter one is the last of its message
        for length in (2, 1):
            ready.send(Packet(bytes(length), protocol=UDP).build())
    until(lambda: ready.path.stats()["held"] == 2 * pairs)
    since = time.monotonic()
    ready.path.set_active(0)
    until(lambda: ready.path.stats()["held_sent"] == 2 * pairs)
    ready.path.send_again(since)  # what had waited went by this path
    for more in (1, 2):
        ready.send(OUT)
        until(lambda: ready.path.stats()["sent_packets"] == 2 * pairs + more)  # noqa: B023
    assert ready.path.stats()["sent_again"] == 0
    change(ready)
    ready.path.send_again(since)
    until(lambda: ready.path.stats()["sent_again"] == 2 * pairs + 2)


def burst(rig: Rig) -> int:
    """More than its share by one read of TUN, and one flush. How many bytes left."""
    whole = Packet(bytes(64_000), protocol=TCP)
    rig.device.send(whole.vnet(500) + whole.partial())
    return sum(len(rig.left()) for _ in range(128))


def test_one_burst_beyond_the_share_is_kept(ready: Rig) -> None:
    """It is what had waited for a path, and the next change may follow at once."""
    since = time.monotonic()
    assert burst(ready) > SHARE
    for _ in range(2):
        change(ready)
        ready.path.send_again(since)
        assert sorted(opened(ready.left())[0] for _ in range(128)) == list(range(1, 129))
    nothing_but_new(ready, 129)


def test_a_node_that_goes_on_beyond_its_share_keeps_nothing(ready: Rig) -> None:
    def kept_of_the_last() -> int:
        for _ in range(20):
            since = time.monotonic()
            burst(ready)
        before: int = ready.path.stats()["sent_again"]
        change(ready)
        ready.path.send_again(since)
        for _ in range(2):  # what leaves again comes between them
            ready.send(OUT)
            while len(ready.left()) > 200:
                pass
        after: int = ready.path.stats()["sent_again"]
        return after - before

    until(lambda: kept_of_the_last() == 0)
