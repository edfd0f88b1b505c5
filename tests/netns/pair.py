"""Two data paths joined directly: two namespaces, a veth between them, static keys, no Switch and no TLS.

Everything runs in the test's own process: a thread steps into a namespace, opens a TUN or socket there, and steps back.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ovng.demo.net import Host, Net
from ovng.ids import Locator, NodeID
from ovng.io.datapath import Event, NodeDataPath
from ovng.io.tun import Tun, open_tun

AES, CHACHA = 1, 2
PORT = 5140
OUTER = {4: "192.0.2.{}", 6: "2001:db8::{}"}


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Poll until `condition` holds; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        select.select([], [], [], 0.005)


class End:
    """One node of the pair: its namespace, TUN, socket and data path, and the events it has told."""

    def __init__(
        self,
        host: Host,
        link: str,
        number: int,
        offloads: Mapping[str, bool],
        stack: ExitStack,
        outer: int,
        **options: Any,
    ) -> None:
        self.host, self.link = host, link
        self.id = NodeID(0x1111111111111111 * number)
        self.outer = OUTER[outer].format(number)
        self.inner = f"10.77.0.{number}"
        self.inner6 = f"fd77::{number}"
        with self.host.inside():
            self.tun: Tun = stack.enter_context(open_tun("ovng0", offloads))
            self.socket = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.socket.bind(("::", PORT))
        self.run("ip", "addr", "add", f"{self.inner}/24", "dev", "ovng0")
        self.run("ip", "addr", "add", f"{self.inner6}/64", "dev", "ovng0", "nodad")
        self.run("ip", "link", "set", "ovng0", "mtu", "1400", "up")
        self.path = NodeDataPath(self.id, self.tun, offloads, **options)
        stack.callback(self.path.close)
        self.heard: list[Event] = []

    def join(self, other: End, cipher: int = AES) -> None:
        """Know the other end, and be able to reach it."""
        self.switch = Locator.of(other.outer, PORT)
        self.path.set_path(0, self.socket, self.switch)
        self.path.set_active(0)
        prefixes = [ipaddress.ip_network(other.inner), ipaddress.ip_network(other.inner6)]
        self.path.add_peer(other.id, prefixes)
        for prefix in prefixes:
            self.path.add_route(prefix, other.id)
        rekey(other, self, 1, cipher)

    def run(self, *command: str) -> str:
        """Run a command on the host; SystemProblem when it fails."""
        return self.host.run(*command)

    def events(self) -> list[Event]:
        """All events so far."""
        self.heard += self.path.events()
        return self.heard

    def open_socket(self, family: int, kind: int) -> socket.socket:
        """An application's socket in the namespace."""
        with self.host.inside():
            return socket.socket(family, kind)

    @property
    def drops(self) -> dict[str, int]:
        """Drop counters that are not zero."""
        return {name: count for name, count in self.path.stats()["drops"].items() if count}


def material(sender: End, key_id: int) -> tuple[bytes, bytes]:
    """The static key and IV of one direction and generation."""
    return bytes([sender.id & 255, key_id]) * 16, bytes([key_id, sender.id & 255]) * 6


def rekey(sender: End, receiver: End, key_id: int, cipher: int = AES) -> None:
    """Give the receiver a generation; the sender may use it from then on (`switch_over`)."""
    receiver.path.install_receive(sender.id, key_id, cipher, *material(sender, key_id))


def switch_over(sender: End, receiver: End, key_id: int, cipher: int = AES) -> None:
    """Send under a generation that the receiver has."""
    sender.path.install_send(receiver.id, key_id, cipher, *material(sender, key_id))


@contextmanager
def pair(
    offloads: Mapping[str, bool] | None = None,
    cipher: int = AES,
    *,
    start: bool = True,
    short_queue: bool = False,
    outer: int = 4,
    **options: Any,
) -> Iterator[tuple[End, End]]:
    """Two ends that talk. Namespaces, interfaces and threads are gone afterwards, whatever happened.

    `outer` is the IP version between them. Without `short_queue` a slow machine drops nothing, so that tests can tell
    what else is missing.
    """
    with Net("ovng-pair") as net, ExitStack() as stack:
        hosts = [net.host(name) for name in "ab"]
        net.join(
            hosts[0], hosts[1], *([f"{OUTER[outer].format(number)}/{24 if outer == 4 else 64}"] for number in (1, 2))
        )
        a = End(hosts[0], "b", 1, offloads or {}, stack, outer, short_queue=short_queue, **options)
        b = End(hosts[1], "a", 2, offloads or {}, stack, outer, short_queue=short_queue, **options)
        a.join(b, cipher)
        b.join(a, cipher)
        switch_over(a, b, 1, cipher)
        switch_over(b, a, 1, cipher)
        if start:
            a.path.start()
            b.path.start()
        yield a, b
