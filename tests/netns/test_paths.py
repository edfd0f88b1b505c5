"""A node's link goes away under its feet: what its data path does with the packets of that moment."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ovng.clock import now
from ovng.demo.net import Batch
from ovng.io.sockets import open_uplink
from tests.netns.pair import End, pair, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")


@contextmanager
def talking() -> Iterator[tuple[End, End, socket.socket, socket.socket]]:
    """Two nodes, a UDP socket of each: the second one's listens to port 9 of its inner address."""
    with (
        pair() as (a, b),
        a.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        b.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((b.inner, 9))
        receiver.settimeout(10)
        yield a, b, sender, receiver


def test_what_a_lost_link_refused_leaves_on_the_next_path() -> None:
    """Between the loss of the link and the word of Python packets are sealed and refused by the kernel."""
    with talking() as (a, b, sender, receiver):
        sender.sendto(b"first", (b.inner, 9))
        assert receiver.recv(10) == b"first"
        a.run("ip", "link", "set", "dev", a.link, "down")
        packets = [b"%d" % index * (index + 1) for index in range(20)]
        for packet in packets:
            sender.sendto(packet, (b.inner, 9))
        until(lambda: a.drops.get("send_unreachable") == 20)
        a.run("ip", "link", "set", "dev", a.link, "up")
        a.path.set_path(1, a.socket, a.switch)
        a.path.set_active(1)
        assert [receiver.recv(100) for _ in packets] == packets
        assert a.path.stats()["sent_later"] == 20


def test_more_than_one_system_call_takes_is_kept_when_it_leaves_later() -> None:
    """1024 messages."""
    with talking() as (a, b, sender, _):
        a.run("ip", "link", "set", "dev", a.link, "down")
        count = 0
        for _ in range(22):
            for size in (2, 1) * 50:  # a shorter one is the last of its message
                sender.sendto(bytes(size), (b.inner, 9))
            count += 100
            until(lambda: a.drops.get("send_unreachable", 0) == count)  # noqa: B023
        since = now().mono
        a.run("ip", "link", "set", "dev", a.link, "up")
        a.path.set_path(1, a.socket, a.switch)
        a.path.set_active(1)
        until(lambda: a.path.stats()["sent_later"] == count)
        a.path.set_path(2, a.socket, a.switch)
        a.path.set_active(2)
        a.path.send_again(since)
        until(lambda: a.path.stats()["sent_again"] == count)


def test_what_a_lost_link_refused_leaves_at_once_on_the_path_that_stands_by() -> None:
    """Python has not even heard of it. Where that refuses too, or nobody stands by, it waits for the next path."""
    with talking() as (a, b, sender, receiver):
        a.run("ip", "link", "add", "uplink0", "type", "veth", "peer", "name", "uplink1")
        with a.host.inside():
            uplinks = [open_uplink("uplink0", port) for port in (7, 8)]
        for index, uplink in enumerate(uplinks, 1):  # down: sending is refused
            with uplink.sock:
                a.path.set_path(index, uplink.sock, a.switch)
        packets = [b"%d" % index * (index + 1) for index in range(20)]
        a.path.set_active(1)
        a.path.set_standby(0)
        for packet in packets:
            sender.sendto(packet, (b.inner, 9))
        assert [receiver.recv(100) for _ in packets] == packets
        a.path.set_standby(2)
        for packet in packets:
            sender.sendto(packet, (b.inner, 9))
        until(lambda: a.drops.get("send_unreachable", 0) >= 2 * len(packets))
        a.path.set_active(0)
        assert [receiver.recv(100) for _ in packets] == packets


def test_an_interface_that_is_taken_away() -> None:
    """A socket bound to it reaches nothing any more; what was sent meanwhile leaves on the next path."""
    with talking() as (a, b, sender, receiver):
        a.run("ip", "link", "add", "uplink0", "type", "veth", "peer", "name", "uplink1")
        a.run("ip", "link", "set", "dev", "uplink0", "up")
        with a.host.inside():
            uplink = open_uplink("uplink0", 7)
        with uplink.sock:
            a.path.set_path(1, uplink.sock, a.switch)
        a.path.set_active(1)
        a.run("ip", "link", "delete", "dev", "uplink0")
        packets = [b"%d" % index for index in range(20)]
        for packet in packets:
            sender.sendto(packet, (b.inner, 9))
        until(lambda: a.drops.get("send_unreachable") == 20)
        a.path.set_active(0)
        assert [receiver.recv(100) for _ in packets] == packets


def test_what_a_link_without_a_route_took_leaves_again_by_the_next_path() -> None:
    """A socket bound to an interface sends even where no route leads: the kernel asks for a neighbour that is none."""
    with talking() as (a, b, sender, receiver):
        sender.sendto(b"before", (b.inner, 9))
        assert receiver.recv(100) == b"before"
        a.run("ip", "link", "add", "uplink0", "type", "veth", "peer", "name", "uplink1")
        for device in ("uplink0", "uplink1"):
            a.run("ip", "link", "set", "dev", device, "up")
        with a.host.inside():
            uplink = open_uplink("uplink0", 7)
        since = now().mono
        with uplink.sock:
            a.path.set_path(1, uplink.sock, a.switch)
            a.path.set_active(1)
            packets = [b"%d" % index * (index + 1) for index in range(20)]
            for packet in packets:
                sender.sendto(packet, (b.inner, 9))
            until(lambda: (figures := a.path.path_stats(1)) is not None and figures.sent_datagrams == len(packets))
            assert a.drops.get("send_unreachable", 0) == 0
            a.path.set_active(0)
            assert a.path.send_again(since)
        assert [receiver.recv(100) for _ in packets] == packets
        assert a.path.stats()["sent_again"] == len(packets)


def test_of_what_is_refused_in_part_each_datagram_leaves_again() -> None:
    """A route that comes and goes: what was refused leaves by the next path, and what was taken in vain, too."""
    with talking() as (a, b, sender, _):
        since = now().mono
        route = f"unreachable {b.outer}/32"
        toggles = threading.Thread(target=Batch(a.host, [f"route add {route}", f"route delete {route}"] * 1000))
        toggles.start()
        sent = 0
        while toggles.is_alive() and sent < 500:
            for size in range(50):
                sender.sendto(bytes(size), (b.inner, 9))
            sent += 50
            until(lambda: a.path.stats()["sent_packets"] == sent)  # noqa: B023
        toggles.join()
        refused, figures = a.drops.get("send_unreachable", 0), a.path.path_stats(0)
        assert figures is not None
        assert figures.sent_datagrams + refused == sent
        assert 0 < refused < sent, "the route came and went"
        a.path.set_path(1, a.socket, a.switch)
        a.path.set_active(1)
        until(lambda: a.path.stats()["sent_later"] == refused)
        a.path.send_again(since)
        until(lambda: a.path.stats()["sent_again"] == sent - refused)


BACKED_OFF = 4  # retransmissions of TCP without an answer: the last was 3 s after the first loss, the next is 3 s away
NFT_GAP = "add table inet gap; add chain inet gap in { type filter hook input priority 0; udp dport 5140 drop; }"
TCPI_RETRANSMITS = 2  # octet of struct tcp_info


@pytest.mark.parametrize("sender_is_back", [True, False])
def test_tcp_goes_on_at_once_after_a_gap_at_the_far_end(sender_is_back: bool) -> None:
    """The far end hears nothing for 3 s. It tells that it is back, or sends something of its own."""
    with pair() as (a, b), b.open_socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((b.inner, 7))
        listener.listen()
        with a.open_socket(socket.AF_INET, socket.SOCK_STREAM) as sender:
            sender.connect((b.inner, 7))
            receiver, _ = listener.accept()
            with receiver:
                sender.sendall(b"before")
                assert receiver.recv(100) == b"before"
                b.run("nft", NFT_GAP)
                sender.sendall(b"within")
                until(lambda: sender.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 8)[TCPI_RETRANSMITS] == BACKED_OFF)
                b.run("nft", "delete table inet gap")
                if sender_is_back:
                    assert b.path.send_keepalive(a.id)
                else:
                    receiver.sendall(b"answer")
                receiver.settimeout(1.5)  # half of what TCP alone would wait
                assert receiver.recv(100) == b"within"
                assert a.path.stats()["resent"] >= 1
