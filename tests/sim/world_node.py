"""A node of the simulated world: the same machines, wired as `node/service` wires them, over `MemoryPath`."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.forwarding import clientevents as attachment
from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.clientconfig import ClientConfig
from ovng.ids import NodeID, Prefix
from ovng.limits import HEADER_SIZE, KEEPALIVE_DEFAULT, REKEY_SECONDS
from ovng.node.announced import RoutePlan, plan_routes
from ovng.node.keying import follow_session
from ovng.node.overlay import Overlay
from ovng.node.policy import RoutePolicy
from ovng.session import events as session
from ovng.session.config import SessionConfig
from ovng.session.manager import SessionManager
from ovng.wire.header import PacketType, parse_header
from ovng.wire.inner import Doubling
from tests.pki_fixture import Member
from tests.sim.world_host import Clock, Driven, load_trust
from tests.sim.world_path import MemoryAead, MemoryPath

NETWORK_PREFIXES: tuple[Prefix, ...] = (ipaddress.ip_network("10.77.0.0/16"), ipaddress.ip_network("fd77::/64"))
ACCEPTED: tuple[Prefix, ...] = (ipaddress.ip_network("192.168.0.0/16"), ipaddress.ip_network("fc00::/7"))

GOODBYE_SECONDS = 1.0  # as in `node/service`, which needs the fast path to be imported


@dataclass(frozen=True)
class Options:
    """What a profile would say."""

    rekey_seconds: float = REKEY_SECONDS
    keepalive: int = KEEPALIVE_DEFAULT
    ciphers: tuple[int, ...] = (1, 2)
    doubles: Doubling = Doubling.NONE


class Node(Driven):
    """One process with this profile. `transmit` takes datagrams for the Switch, `deliver` packets for applications."""

    def __init__(
        self,
        member: Member,
        clock: Clock,
        options: Options,
        transmit: Callable[[bytes], None],
        deliver: Callable[[bytes], None],
    ) -> None:
        super().__init__()
        self.member, self.clock, self.options = member, clock, options
        self._transmit, self._deliver = transmit, deliver
        self.id: NodeID = member.id
        self.alive = False
        self.log: list[session.Event | attachment.ClientEvent] = []
        """All events of all its lives."""
        self.ended: str | None = None
        """Why the service gave up by itself: superseded, revoked, left."""

    def start(self, random: Callable[[int], bytes], now: Now) -> None:
        """As a new process: nothing is left of an earlier one but profile and CRL."""
        self.trust = load_trust(self.member)
        self.path = MemoryPath(self.id, self._transmit, self._deliver)
        config = SessionConfig(self.options.rekey_seconds, self.options.ciphers, self.options.doubles)
        self.sessions = SessionManager(self.id, "node", self.trust, random, config, self.path.packets)
        self.client = AttachmentClient(self.id, random, MemoryAead, ClientConfig(keepalive=self.options.keepalive))
        addresses = [prefix.network_address for prefix in self.trust.identity.prefixes]
        self.overlay = Overlay(
            self.id, self.path, self.sessions, self.client, self._policy, self._deliver, addresses[:2]
        )
        self.plan = RoutePlan((), ())
        self.counters: Counter[str] = Counter()
        self.alive, self.ended = True, None
        self._end_by: float | None = None
        self._bye_at: float | None = None
        self._left = False
        self.client.start(now)
        self.flush(now)

    def kill(self) -> None:
        """kill -9."""
        self.alive = False

    # -- What happens

    def receive(self, datagram: bytes, now: Now) -> None:
        """One datagram from the network."""
        before = self.path.received
        self.path.inbound(datagram)
        if self.path.received > before:
            self.client.heard_from_switch(now.mono)
        self.flush(now)

    def send(self, packet: bytes, now: Now) -> None:
        """An application sends an IP packet."""
        before = self.path.sent
        self.path.outbound(packet)
        if self.path.sent > before:
            self.client.sent_traffic(now.mono)
        self.flush(now)

    def network_changed(self, now: Now) -> None:
        """Netlink says so."""
        self.client.network_changed(now)
        self.sessions.retry_now(now)
        self.flush(now)

    def leave(self, now: Now) -> None:
        """SIGTERM: say goodbye to peers, then to the Switch, and end when they have answered, or after a second."""
        self._end_by, self._bye_at = now.mono + GOODBYE_SECONDS, now.mono + GOODBYE_SECONDS / 2
        self.sessions.shutdown(now)
        self.flush(now)

    def handle_timer(self, now: Now) -> None:
        self.sessions.handle_timer(now)
        self.client.handle_timer(now)
        self.flush(now)

    def deadline(self, now: Now) -> float | None:
        times = (self.sessions.deadline(now), self.client.deadline(now), self._bye_at, self._end_by)
        return min((time for time in times if time is not None), default=None)

    def flush(self, now: Now) -> None:
        """Carry out what the machines decided, until nothing is left to do."""
        self.flushes += 1
        while self.alive:
            seen, self.path.events = self.path.events, []
            for told in seen:
                self._on_path(told, now)
            if self._bye_at is not None and (now.mono >= self._bye_at or not self.sessions.busy):
                self._bye_at = None
                self.client.leave(now)
            happened = self.sessions.events()
            for event in happened:
                self.log.append(event)
                self._on_session(event, now)
            said = self.client.events()
            for message in said:
                self.log.append(message)
                self._on_client(message, now)
            if not (seen or happened or said):
                break
        for datagram, _ in self.sessions.datagrams():
            self._transmit(datagram)
        for datagram in self.client.datagrams():
            self._transmit(datagram)
        if self._end_by is not None and (now.mono >= self._end_by or (self._left and not self.sessions.busy)):
            self.alive, self.ended = False, "left"

    # -- What follows

    def _on_path(self, event: tuple[object, ...], now: Now) -> None:
        match event:
            case ("control", bytes() as datagram):
                self._on_datagram(datagram, now)
            case ("no_route", bytes() as packet):
                self.overlay.on_no_route(packet, now)
            case ("no_key", NodeID() as peer, bytes() as packet):
                self.counters["no_key"] += 1
                self.overlay.on_no_key(peer, packet, now)
            case ("unknown_data", NodeID() as peer):
                self.sessions.on_unknown_data(peer, now)
            case ("first_receive", NodeID() as peer, int() as key_id):
                self.sessions.on_first_receive(peer, key_id, now)

    def _on_datagram(self, datagram: bytes, now: Now) -> None:
        try:
            header = parse_header(datagram)
        except Malformed as error:
            raise AssertionError("the data path lets nothing malformed through") from error
        match header.type:
            case PacketType.CONTROL:
                self.sessions.receive(header, datagram[HEADER_SIZE:], b"", now)
            case PacketType.REPORT:
                self.client.receive_report(datagram, now)
            case PacketType.PRIVATE:
                self.client.receive_private(datagram, now)
            case PacketType.DATA:
                raise AssertionError("the data path keeps DATA to itself")

    def _on_session(self, event: session.Event, now: Now) -> None:
        follow_session(event, self.overlay, self.path, self.options.doubles, now)
        match event:
            case session.Attached():
                self.client.granted(event.switch_id, event.grant, event.report_master, event.private_master, now)
            case session.AttachFailed():
                self.client.tls_failed(event.reason, event.final, now)
            case session.CrlChanged():
                self.client.crl_held(event.number)
            case session.AttachRequested() | session.AttachSettled():
                raise AssertionError("a node is not asked for attachments")

    def _on_client(self, event: attachment.ClientEvent, now: Now) -> None:
        match event:
            case attachment.NeedTls():
                self.sessions.attach(now, event.request)
            case attachment.AttachedNow():
                self.sessions.retry_now(now)
            case attachment.Resolved():
                self.overlay.on_resolved(event.address, event.nodes, now)
            case attachment.RoutesChanged():
                announced = [(route.node, route.prefix) for route in event.routes]
                self.overlay.policy_changed()
                self.plan = plan_routes(announced, self.id, self._policy())
            case attachment.CrlArrived():
                if self.trust.offer_crl(event.der):
                    self.sessions.revocation_changed(now)
                self.client.crl_held(self.trust.crl_number)
            case attachment.SupersededEvent():
                self._end("superseded", now)
            case attachment.Revoked():
                self._end("revoked", now)
            case attachment.Left():
                self._left = True
            case _:
                pass

    def _end(self, reason: str, now: Now) -> None:
        """The service ends, with this exit: what `run` does on the way out."""
        self.ended, self.alive = reason, False
        self.sessions.shutdown(now)

    def _policy(self) -> RoutePolicy:
        return RoutePolicy(NETWORK_PREFIXES, self.trust.identity.prefixes, ACCEPTED)
