"""The kernel as oracle: a router with a TUN on either side, one with offloads, one without.

What is written to `entry` is forwarded to `exit`, whose missing offloads make the kernel segment super-packets and
complete checksums by its own code. So whatever two ways of saying the same come out as the same packets.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ovng.demo.net import Net
from ovng.io.tun import Tun, open_tun
from tests.unit.packets import NO_VNET, icmp_echo

ROUTED = ("10.77.0.0/16", "fd77::/16")  # what tests.unit.packets talks about
SILENCE = "table inet silence { chain out { type filter hook output priority 0; policy drop; }; }"  # of its own
QUEUE = 20_000
SECONDS = 10.0
_FRAME = 70_000


class Router:
    """Writes frames to its entry and reads what leaves by its exit."""

    def __init__(self, entry: Tun, exit_: Tun) -> None:
        self.entry, self._exit = entry, exit_
        self._marks = 0

    def forward(self, frames: list[bytes]) -> list[bytes]:
        """What leaves when `frames`, each behind its virtio header, arrive; those that the entry refuses do not."""
        for frame in frames:
            try:
                os.write(self.entry.fileno(), frame)
            except OSError:
                continue
        return self.left()

    def left(self) -> list[bytes]:
        """All that has left since the last time: the packets before one more of our own, which comes last."""
        self._marks += 1
        mark = icmp_echo("10.77.255.1", "10.77.255.2", self._marks % 1_000)
        os.write(self.entry.fileno(), NO_VNET + mark)
        found = []
        while (packet := self._read())[12:] != mark[12:]:
            found.append(packet)
        return found

    def _read(self) -> bytes:
        assert select.select([self._exit.fileno()], [], [], SECONDS)[0], "the router forwards nothing more"
        return os.read(self._exit.fileno(), _FRAME)


@contextmanager
def router() -> Iterator[Router]:
    """A router in a namespace of its own."""
    with Net("ovng-router") as net, ExitStack() as stack:
        host = net.host("r")
        with host.inside():
            entry = stack.enter_context(open_tun("entry"))
            exit_ = stack.enter_context(open_tun("exit", {"vnet_hdr": False}))
        assert entry.offloads == (True, True, True), "this kernel has no USO"
        host.nft(SILENCE)
        host.forward()
        for key in ("all", "default", "entry"):
            host.sysctl(f"net.ipv4.conf.{key}.rp_filter", 0)
        for device in ("entry", "exit"):
            host.ip("link", "set", device, "mtu", "65535", "txqueuelen", str(QUEUE), "up")
        host.run("tc", "qdisc", "replace", "dev", "exit", "root", "noqueue")
        for prefix in ROUTED:
            host.ip("route", "add", prefix, "dev", "exit")
        yield Router(entry, exit_)
