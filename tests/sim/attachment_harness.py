"""Attachment clients against a registrar over the bad network, in virtual time.

TLS is replaced by calling both ends with the same masters after one round trip, as often as a client wants it; the
handshake itself has its own simulation. A host has an address that may change at any moment: what it sends then comes
from there, and what flies to the old one is lost.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeVar

from ovng.clock import Now
from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.clientconfig import ClientConfig
from ovng.forwarding.clientevents import ClientEvent, NeedTls
from ovng.forwarding.registrar import Registrar
from ovng.forwarding.slowtable import GRACE, LIVE, STRAY, UNKNOWN, SlowTable
from ovng.forwarding.store import Out
from ovng.ids import Locator, NodeID
from ovng.wire.header import Header, PacketType, parse_header
from tests.attachment_fixture import SWITCH, TestAead, identity, prefix, seeded
from tests.sim.network import CALM, Network, VirtualClock, Weather

Event = TypeVar("Event", bound=ClientEvent)
HUB = Locator.of("192.0.2.1", 5_140)
HANDSHAKE_SECONDS = 0.08


class Host:
    """One node at an address."""

    def __init__(self, world: World, node: NodeID, at: Locator, *prefixes: str, serial: int, keepalive: int) -> None:
        self.world, self.id, self.at = world, node, at
        self.identity = identity(node, *prefixes, serial=serial)
        self.random = seeded(world.seed * 1_000 + serial + at.port)
        self.client = AttachmentClient(node, self.random, TestAead, ClientConfig(keepalive))
        self.events: list[tuple[float, ClientEvent]] = []
        self.handshakes = 0
        self.data: list[bytes] = []

    def seen(self, kind: type[Event]) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def move(self, to: Locator, *, notices: bool = True) -> None:
        """Another address; unless it `notices`, a NAT on the way has done it."""
        del self.world.hosts[self.at]
        self.at = to
        self.world.hosts[to] = self
        if notices:
            self.client.network_changed(self.world.now)
        self.world.flush()

    def send_data(self, to: NodeID, size: int = 200) -> None:
        """One packet of traffic."""
        header = Header(PacketType.DATA, 1, 0, to, self.id, 1).pack()
        self.client.sent_traffic(self.world.now.mono)
        self.world.network.send(self.at, HUB, header + bytes(size - len(header)), self.world.now.mono)


class World:
    """One Switch, many hosts, one clock."""

    def __init__(self, seed: int = 1, weather: Weather = CALM, network: str = "10.77.0.0/16") -> None:
        self.seed = seed
        self.clock = VirtualClock()
        self.network = Network(seed, weather)
        self.members = (prefix(network),)
        self.hosts: dict[Locator, Host] = {}
        self.ticket_keys: bytes | None = None
        self.snapshot = b""
        self.attacker: Callable[[bytes], None] = lambda datagram: None
        """Sees every datagram that a host sends, before the Switch does; may call `inject`."""
        self.seen_at: dict[Locator, int] = {}
        """Bytes of DATA the Switch sent, by locator."""
        self._tasks: list[tuple[float, int, Callable[[], None]]] = []
        self._count = self._boots = 0
        self.start_switch()

    @property
    def now(self) -> Now:
        return self.clock.now

    def start_switch(self) -> None:
        """A Switch process with an empty memory and what its files hold."""
        self._boots += 1
        self.table = SlowTable(1_000, bytes(16))
        self.switch = Registrar(
            SWITCH, self.table, seeded(self.seed * 77 + self._boots), TestAead, self.now, self.members
        )
        if self.ticket_keys is not None:
            self.switch.load_ticket_keys(self.ticket_keys, self.now)
            self.switch.restore(self.snapshot, self.now)
        self.running = True

    def kill_switch(self) -> None:
        """It is gone, with what its files held at the last moment."""
        self.ticket_keys = self.switch.ticket_keys()
        self.snapshot = b"".join(self.switch.snapshot())
        self.running = False

    def host(self, node: NodeID, at: Locator, *prefixes: str, serial: int = 7, keepalive: int = 25) -> Host:
        """A further node, started."""
        host = Host(self, node, at, *prefixes, serial=serial, keepalive=keepalive)
        self.hosts[at] = host
        host.client.start(self.now)
        self.flush()
        return host

    def after(self, seconds: float, task: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._tasks, (self.now.mono + seconds, self._count, task))

    def inject(self, datagram: bytes, source: Locator) -> None:
        """Somebody who is near the Switch sends this to it, from whatever address."""
        if self.running:
            self._at_switch(datagram, source)

    def run(self, seconds: float) -> None:
        """From event to event, for so long."""
        end = self.now.mono + seconds
        idle = 0
        while True:
            nexts = [time for time in (self.network.next(), self._tasks[0][0] if self._tasks else None) if time]
            nexts += [time for host in self.hosts.values() if (time := host.client.deadline(self.now)) is not None]
            if self.running:
                nexts.append(self.switch.deadline(self.now))
            at = min(nexts, default=end)
            if at > end:
                self.clock.advance_to(end)
                return
            idle = idle + 1 if at <= self.now.mono else 0
            assert idle < 1_000, "a deadline that is always due"
            self.clock.advance_to(at)
            self._step()

    def run_until(self, done: Callable[[], bool], limit: float) -> float:
        """Run until `done`, at most `limit` seconds; the seconds it took."""
        began = self.now.mono
        while not done():
            assert self.now.mono < began + limit, f"not done after {limit} s"
            self.run(0.01)
        return self.now.mono - began

    def flush(self) -> None:
        """What hosts have to send and to say."""
        for host in list(self.hosts.values()):
            for datagram in host.client.datagrams():
                self.attacker(datagram)
                self.network.send(host.at, HUB, datagram, self.now.mono)
            for event in host.client.events():
                host.events.append((self.now.mono, event))
                if isinstance(event, NeedTls):
                    self.after(HANDSHAKE_SECONDS, lambda host=host, event=event: self._handshake(host, event))  # type: ignore[misc]

    def _step(self) -> None:
        while self._tasks and self._tasks[0][0] <= self.now.mono:
            heapq.heappop(self._tasks)[2]()
        for target, datagram, source in self.network.arrivals(self.now.mono):
            assert isinstance(source, Locator)
            if target == HUB:
                if self.running:
                    self._at_switch(datagram, source)
            elif isinstance(target, Locator) and target in self.hosts:
                self._at_host(self.hosts[target], datagram)
        for host in list(self.hosts.values()):
            deadline = host.client.deadline(self.now)
            if deadline is not None and deadline <= self.now.mono:
                host.client.handle_timer(self.now)
        if self.running and self.switch.deadline(self.now) <= self.now.mono:
            self._send(self.switch.tick(self.now))
        self.flush()

    def _at_switch(self, datagram: bytes, source: Locator) -> None:
        try:
            header = parse_header(datagram)
        except Exception:
            return
        out: list[Out] = []
        if header.type == PacketType.REPORT:
            out = self.switch.handle_report(datagram, source, self.now)
        elif header.type == PacketType.PRIVATE:
            out = self.switch.handle_private(datagram, source, self.now)
        elif header.type == PacketType.DATA:
            verdict = self.table.check_source(header.src, source.packed(), len(datagram))
            if verdict != LIVE:
                attached = verdict != UNKNOWN
                out = self.switch.handle_unmatched(datagram[:28], source, attached, len(datagram), self.now)
            if verdict in (LIVE, GRACE):
                _, locator = self.table.resolve(header.dst, len(datagram))
                if locator is not None:
                    to = Locator.unpack(locator)
                    self.seen_at[to] = self.seen_at.get(to, 0) + len(datagram)
                    self.network.send(HUB, Locator.unpack(locator), datagram, self.now.mono)
            assert verdict in (LIVE, GRACE, STRAY, UNKNOWN)
        if header.type != PacketType.PRIVATE:
            for answer in out:
                assert len(answer.datagram) <= len(datagram), "an answer larger than what it answers"
        self._send(out)

    def _send(self, out: list[Out]) -> None:
        for datagram, to in out:
            self.network.send(HUB, to, datagram, self.now.mono)

    def _at_host(self, host: Host, datagram: bytes) -> None:
        host.client.heard_from_switch(self.now.mono)
        try:
            kind = parse_header(datagram).type
        except Exception:
            return
        if kind == PacketType.REPORT:
            host.client.receive_report(datagram, self.now)
        elif kind == PacketType.PRIVATE:
            host.client.receive_private(datagram, self.now)
        elif kind == PacketType.DATA:
            host.data.append(datagram)

    def _handshake(self, host: Host, event: NeedTls) -> None:
        """TLS: fails while the Switch is away or the host offline, and is tried again by the client's backoff."""
        if not self.running or host.at in self.network.down or HUB in self.network.down:
            host.client.tls_failed("timeout", False, self.now)
            return
        report, private = host.random(32), host.random(32)
        grant = self.switch.attach(host.identity, event.request, host.at.packed(), report, private, self.now)
        host.handshakes += 1
        if grant.status:
            host.client.tls_failed(f"refused_{grant.status.name.lower()}", True, self.now)  # type: ignore[attr-defined]
            return
        self._send(self.switch.settle(host.id, report, self.now))
        host.client.granted(SWITCH, grant, report, private, self.now)
