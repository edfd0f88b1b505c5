"""A node's link goes away under its feet: what its data path does with the packets of that moment."""

from __future__ import annotations

import os
import socket

import pytest

from tests.netns.pair import pair, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")


def test_what_a_lost_link_refused_leaves_on_the_next_path() -> None:
    """Between the loss of the link and the word of Python packets are sealed and refused by the kernel."""
    with (
        pair() as (a, b),
        a.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        b.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((b.inner, 9))
        receiver.settimeout(10)
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
