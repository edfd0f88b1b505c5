"""One idle node behind NATs that forget, and its Switch, in virtual time: what a day costs, and who can reach it.

`Nat` forgets a mapping after a silence, and gives the next one another port or (as most do) the same. Every datagram,
byte and wake-up is counted, and for each path the time during which nothing could have come in.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from ovng.clock import Now
from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.clientconfig import ClientConfig
from ovng.forwarding.clientevents import NeedTls
from ovng.forwarding.slowtable import SlowTable
from ovng.ids import Locator
from ovng.wire.header import PacketType, parse_header
from tests.attachment_fixture import START, SWITCH, TRUCK, TestAead, after, identity, registrar, seeded

DELAY = 0.02
"""One way, seconds."""
HEADERS = 40 + 8
"""IPv6 and UDP: the larger ones."""
AWAKE = 0.1
"""What follows so soon finds the machine awake."""
HANDSHAKE = 20_000
"""Bytes of an attachment by TLS, both ways, with headers: more than one takes with ECDSA certificates."""


@dataclass
class Nat:
    """`hold`: seconds after the last datagram out during which answers get in."""

    hold: float
    same_port: bool = True
    up: bool = True
    out: float = float("-inf")
    ports: int = 0
    deaf: float = 0.0
    """Seconds without a mapping, while the node relied on one."""
    deafest: float = 0.0

    def send(self, now: float, host: str) -> Locator:
        if self.out > 0 and now - self.out > self.hold:
            silence = now - self.out - self.hold
            self.deaf, self.deafest = self.deaf + silence, max(self.deafest, silence)
            self.ports += not self.same_port
        self.out = now
        return Locator.of(host, 40_000 + self.ports % 20_000)

    def lets_in(self, now: float, to: Locator) -> bool:
        return now - self.out <= self.hold and to.port == 40_000 + self.ports % 20_000


@dataclass
class IdleWorld:
    """`nats`: one for each path; path 0 is active."""

    nats: list[Nat]
    metered: frozenset[int] = frozenset()
    keepalive: int | None = None
    seed: int = 1
    sent: Counter[int] = field(default_factory=Counter)
    """Bytes by path, both ways, headers counted."""
    datagrams: Counter[int] = field(default_factory=Counter)
    kinds: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Datagrams by path and kind of report."""
    wakes: int = 0

    def __post_init__(self) -> None:
        self.now: Now = after(START, 10)
        self.random = seeded(self.seed)
        self.client = AttachmentClient(TRUCK, self.random, TestAead, ClientConfig(self.keepalive))
        self.switch = registrar(START, table=SlowTable(100, bytes(16)))
        self.way: list[tuple[float, int, int | None, bytes, Locator]] = []
        self.number = count()
        self.awake = float("-inf")
        self.client.start(self.now)
        self.carry()
        for index in range(len(self.nats)):
            self.add(index)

    def add(self, index: int) -> None:
        metered = index in self.metered
        if index == 0:
            self.client.set_uplink(0, 0, metered=metered, network="0")
        else:
            self.client.add_path(index, index, self.now, metered=metered, network=str(index))
        self.carry()

    def run(self, seconds: float) -> None:
        until = self.now.mono + seconds
        while True:
            due = self.client.deadline(self.now)
            times = [due, self.way[0][0] if self.way else until]
            at = min(time for time in times if time is not None)
            if at >= until:
                self.now = after(self.now, until - self.now.mono)
                return
            self.now = after(self.now, max(1e-6, at - self.now.mono))
            if due is not None and due <= self.now.mono:
                self.woken()
                self.client.handle_timer(self.now)
            while self.way and self.way[0][0] <= self.now.mono:
                self.arrive(*heapq.heappop(self.way)[2:])
            self.switch.tick(self.now)
            self.carry()

    def woken(self) -> None:
        self.wakes += self.now.mono > self.awake + AWAKE
        self.awake = self.now.mono

    def carry(self) -> None:
        """What the client wants: TLS, and datagrams on their way."""
        for event in self.client.events():
            if isinstance(event, NeedTls):
                source = self.nats[self.client.active].send(self.now.mono, host(self.client.active))
                report, private = self.random(32), self.random(32)
                who = identity(TRUCK, "10.77.0.1/32")
                grant = self.switch.attach(who, event.request, source.packed(), report, private, self.now)
                self.switch.settle(TRUCK, report, self.now)
                self.client.granted(SWITCH, grant, report, private, self.now)
                self.sent[self.client.active] += HANDSHAKE
        for index, datagram in self.client.outgoing():
            self.client.sent_by(self.now.mono, index)
            self.leave(index, datagram, self.nats[index].send(self.now.mono, host(index)))
        for index, datagram in self.client.asides():
            self.leave(index, datagram, Locator.of(host(index), 30_000 + next(self.number) % 10_000))

    def leave(self, index: int, datagram: bytes, source: Locator) -> None:
        self.count(index, datagram)
        if self.nats[index].up:
            heapq.heappush(self.way, (self.now.mono + DELAY, next(self.number), None, datagram, source))

    def arrive(self, index: int | None, datagram: bytes, locator: Locator) -> None:
        if index is None:
            private = parse_header(datagram).type == PacketType.PRIVATE
            handle = self.switch.handle_private if private else self.switch.handle_report
            for out in handle(datagram, locator, self.now):
                path = int(str(out.to.ip).rpartition(".")[2])
                self.count(path, out.datagram)
                entry = (self.now.mono + DELAY, next(self.number), path, out.datagram, out.to)
                heapq.heappush(self.way, entry)
        elif self.nats[index].up and self.nats[index].lets_in(self.now.mono, locator):
            self.woken()
            if parse_header(datagram).type == PacketType.PRIVATE:
                self.client.receive_private(datagram, self.now)
            else:
                self.client.receive_report(datagram, self.now, index)

    def count(self, index: int, datagram: bytes) -> None:
        self.sent[index] += len(datagram) + HEADERS
        self.datagrams[index] += 1
        if parse_header(datagram).type == PacketType.REPORT:
            self.kinds[index, datagram[1]] += 1


def host(index: int) -> str:
    """Where the NAT of a path is."""
    return f"198.51.100.{index}"
