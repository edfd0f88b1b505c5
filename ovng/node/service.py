"""A running node: TUN and data path, sessions with other nodes, the attachment to the Switch, and the routes between.

Each sans-IO machine is told what happened; `_flush` then carries out what all of them decided, until none has anything
left: their events become calls on each other and on the data path, their datagrams go to the Switch.
"""

from __future__ import annotations

import logging
import secrets
import signal
from collections import Counter

from ovng import limits
from ovng.clock import Now
from ovng.clock import now as read_clock
from ovng.config.profile import NodeProfile
from ovng.errors import ConfigError, Malformed, OvngError, Superseded
from ovng.forwarding import client as attachment
from ovng.ids import Locator, NodeID
from ovng.io import notify
from ovng.io.control import ControlServer, Message
from ovng.io.credentials import read_profile, trust_of
from ovng.io.datapath import NodeDataPath
from ovng.io.driver import Driver
from ovng.io.libcrypto import load_libcrypto, make_aead, preferred_ciphers
from ovng.io.netlink import Watcher
from ovng.io.sockets import open_udp
from ovng.node.announced import RoutePlan, plan_routes
from ovng.node.overlay import Overlay
from ovng.node.policy import RoutePolicy
from ovng.node.status import node_status
from ovng.node.tunnel import Tunnel
from ovng.node.uplink import SwitchAddresses
from ovng.roaming.decision import decide
from ovng.roaming.delta import compare
from ovng.roaming.snapshot import LinkSnapshot
from ovng.session import events as session
from ovng.session.config import SessionConfig
from ovng.session.manager import SessionManager
from ovng.wire.header import Header, PacketType, parse_header

log = logging.getLogger(__name__)

PATH = 0  # one path in this version


class NodeService:
    """One node from its profile. `run` serves until SIGTERM; raises OvngError when it cannot start or go on."""

    def __init__(self, profile: NodeProfile, now: Now) -> None:
        self.profile, self.started = profile, now
        self.libcrypto = load_libcrypto(profile.libcrypto)
        self.trust = trust_of(profile)
        self.me: NodeID = self.trust.identity.id
        self.tunnel = Tunnel(profile)
        try:
            self._build(now)
        except BaseException:
            self.tunnel.close()
            raise

    def _build(self, now: Now) -> None:
        profile = self.profile
        offloads = {key: getattr(profile.offloads, key) for key in ("gso", "gro")}
        self._udp = open_udp("::", profile.port)
        self.path = NodeDataPath(self.me, self.tunnel.tun, offloads)
        config = SessionConfig(float(profile.rekey_seconds), preferred_ciphers())
        self.sessions = SessionManager(self.me, "node", self.trust, secrets.token_bytes, config, self._traffic)
        self.client = attachment.AttachmentClient(
            self.me, secrets.token_bytes, make_aead, attachment.ClientConfig(keepalive=profile.keepalive)
        )
        self.overlay = Overlay(
            self.me, self.path, self.sessions, self.client, self._policy, self.path.write_tun, profile.addresses
        )
        self.switch = SwitchAddresses()
        self.watcher = Watcher(profile.interface)
        self.links = LinkSnapshot()
        self.plan = RoutePlan((), ())
        self.warnings: list[str] = self.tunnel.forwarding(profile.routes, profile.forward)
        self.counters: Counter[str] = Counter()
        self._driver = Driver(
            deadline=self._deadline, on_timer=self._on_timer, flush=self._flush, on_suspend=self._on_suspend
        )

    async def run(self) -> None:
        """Serve. Interface and routes are gone when it returns, whatever happens."""
        control = ControlServer(self.profile.name, self._answer)
        self._driver.add_reader(self.path.fileno(), self._on_data_path)
        self._driver.add_reader(self.watcher.fileno(), self._on_links)
        self._driver.on_signal(signal.SIGHUP, self._on_reload_signal)
        try:
            await control.start()
            self.path.start()
            self._driver.call_soon(self._start)
            await self._driver.run()
        finally:
            notify.stopping()
            self._leave()
            self.path.close()
            self.watcher.close()
            self.tunnel.close()
            self._udp.sock.close()
            await control.close()

    # -- What happens

    def _start(self, now: Now) -> None:
        log.info("node %s of network %s, interface %s", self.me, self.profile.network, self.tunnel.tun.name)
        for line in (*self.warnings, *self.trust.warnings(now.wall)):
            log.warning("%s", line)
        self._look_up(now)
        self.client.start(now)

    def _on_data_path(self, now: Now) -> None:
        for event in self.path.events():
            match event:
                case ("control", _, source, datagram):
                    self._on_datagram(datagram, source, now)
                case ("no_route", packet):
                    self.overlay.on_no_route(packet, now)
                case ("no_key", peer, packet):
                    self.overlay.on_no_key(peer, packet, now)
                case ("unknown_data", peer):
                    self.sessions.on_unknown_data(peer, now)
                case ("first_receive", peer, key_id):
                    self.sessions.on_first_receive(peer, key_id, now)
                case ("soft_limit" | "hard_limit", peer, key_id):
                    self.sessions.on_limit(peer, key_id, now)

    def _on_datagram(self, datagram: bytes, source: Locator, now: Now) -> None:
        try:
            header = parse_header(datagram)
        except Malformed as error:
            self.counters[f"datagram_{error.reason}"] += 1
            return
        self._source = source
        match header.type:
            case PacketType.CONTROL:
                self.sessions.receive(header, datagram[limits.HEADER_SIZE :], b"", now)
            case PacketType.REPORT:
                self.client.receive_report(datagram, now)
            case PacketType.PRIVATE:
                self.client.receive_private(datagram, now)
            case PacketType.DATA:
                self.counters["datagram_data"] += 1

    def _on_links(self, now: Now) -> None:
        self.watcher.receive(now)
        self._take_links(now)

    def _take_links(self, now: Now) -> None:
        snapshot = self.watcher.take(now)
        if snapshot is None:
            return
        address = self.switch.current.ip if self.switch.current else None
        decision = decide(compare(self.links, snapshot, address))
        self.links = snapshot
        self._replan()
        if decision.lookup:
            self._look_up(now)
        if decision.move:
            log.info("network changed (%s): telling the Switch", ", ".join(decision.reasons))
            self.client.network_changed(now)
            self.sessions.retry_now(now)

    def _on_suspend(self, seconds: float, now: Now) -> None:
        log.info("this machine slept for %.0f s", seconds)
        self.watcher.resync()
        self.client.network_changed(now)
        self.sessions.retry_now(now)

    def _on_timer(self, now: Now) -> None:
        self._take_links(now)
        self.sessions.handle_timer(now)
        self.client.handle_timer(now)

    def _deadline(self, now: Now) -> float | None:
        wanted = (self.sessions.deadline(now), self.client.deadline(now), self.watcher.deadline(), self._look_up_at)
        return min((at for at in wanted if at is not None), default=None)

    # -- What follows

    def _flush(self, now: Now) -> None:
        """Carry out what the machines decided, until nothing is left to do."""
        busy = True
        while busy:
            busy = False
            for event in self.sessions.events():
                busy = True
                self._on_session_event(event, now)
            for told in self.client.events():
                busy = True
                self._on_client_event(told, now)
        for datagram, _ in self.sessions.datagrams():
            self._send(datagram)
        for datagram in self.client.datagrams():
            self._send(datagram)

    def _on_session_event(self, event: session.Event, now: Now) -> None:
        match event:
            case session.SessionUp():
                self.overlay.on_session_up(event.peer, event.identity)
                log.info(
                    "session %016x with %s, generation %d, %s, in %.0f ms",
                    event.session_id,
                    event.peer,
                    event.generation,
                    event.group,
                    event.handshake_seconds * 1000,
                )
            case session.InstallReceive():
                self.overlay.know(event.peer)
                self.path.install_receive(event.peer, event.key_id, event.cipher, event.key, event.iv)
            case session.InstallSend():
                self.overlay.know(event.peer)
                self.path.install_send(event.peer, event.key_id, event.cipher, event.key, event.iv)
                self.overlay.on_send_ready(event.peer)
            case session.RetireReceive():
                self.path.retire_receive(event.peer, event.key_id)
            case session.RetireSend():
                self.path.retire_send(event.peer)
                self.overlay.on_send_paused(event.peer)
            case session.SessionDown():
                self.overlay.on_session_down(event.peer)
                text = f": {escape(event.text)}" if event.text else ""
                log.info("session with %s ended (%s)%s", event.peer, event.reason, text)
            case session.ConnectFailed():
                self.overlay.on_connect_failed(event.peer)
                log.info("no session with %s: %s %s", event.peer, event.reason, escape(event.detail))
            case session.Attached():
                if self._source is not None and self.switch.heard(self._source):
                    self._use_switch()
                self.client.granted(event.switch_id, event.grant, event.report_master, event.private_master, now)
                self.attach_group, self.attach_seconds = event.group, event.handshake_seconds
            case session.AttachFailed():
                self._on_attach_failed(event, now)
            case session.CrlChanged():
                self.client.crl_held(event.number, now)
                log.info("revocation list %d in force", event.number)
