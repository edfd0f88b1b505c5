"""A running node: TUN and data path, sessions with other nodes, the attachment to the Switch, and the routes between.

Each sans-IO machine is told what happened; `_flush` then carries out what all of them decided, until none has anything
left: their events become calls on each other and on the data path, their datagrams go to the Switch.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter

from ovng import __version__, limits
from ovng.clock import Now
from ovng.clock import now as read_clock
from ovng.config.profile import NodeProfile
from ovng.errors import ConfigError, Malformed, NotWanted, OvngError, SystemProblem
from ovng.forwarding import clientevents as attachment
from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.clientconfig import ClientConfig
from ovng.ids import Locator, NodeID
from ovng.io import datapath, notify
from ovng.io.control import ControlServer, Message, Stream
from ovng.io.credentials import read_profile, trust_of
from ovng.io.driver import Driver
from ovng.io.events import EventStream, WarningsTold
from ovng.io.hooks import Hooks
from ovng.io.libcrypto import load_libcrypto, make_aead, preferred_ciphers
from ovng.io.logs import escape
from ovng.io.niceness import go_ahead
from ovng.node.keying import follow_session
from ovng.node.moving import Moving
from ovng.node.netifdtunnel import NetifdTunnel
from ovng.node.news import News
from ovng.node.overlay import Overlay
from ovng.node.routing import Routing
from ovng.node.sizes import Sizes
from ovng.node.status import node_status
from ovng.node.switchlink import SwitchLink
from ovng.node.tunnel import Tunnel
from ovng.pki.trust import day
from ovng.session import events as session
from ovng.session.config import SessionConfig
from ovng.session.manager import SessionManager
from ovng.wire.header import PacketType, parse_header

log = logging.getLogger(__name__)

GOODBYE_SECONDS = 1.0

FIXED = (
    "name",
    "network",
    "network_prefixes",
    "addresses",
    "interface",
    "mtu",
    "port",
    "mark",
    "keepalive",
    "rekey_seconds",
    "libcrypto",
    "nice",
    "offloads",
    "log_level",
    "mode",
    "redundant_for",
    "configured_by",
)
"""Keys of the profile that a reload does not change."""


class NodeService:
    """One node from its profile. `run` serves until SIGTERM; raises OvngError when it cannot start or go on."""

    def __init__(self, profile: NodeProfile, now: Now) -> None:
        self.profile, self.started = profile, now
        self.libcrypto = load_libcrypto(profile.libcrypto)
        self.trust = trust_of(profile)
        self.me: NodeID = self.trust.identity.id
        self.tunnel = NetifdTunnel(profile, self._on_netifd_failed) if profile.under_netifd else Tunnel(profile)
        try:
            self._build(now)
        except BaseException:
            self.tunnel.close()
            raise

    def _build(self, now: Now) -> None:
        profile = self.profile
        offloads = {key: getattr(profile.offloads, key) for key in ("gso", "gro")}
        self.path = datapath.NodeDataPath(self.me, self.tunnel.tun, offloads)
        self.path.set_interactive(frozenset(profile.redundant_for.dscp), frozenset(profile.redundant_for.ports))
        self.switch = SwitchLink(profile.port, self.path, self._on_switch_found, profile.mark)
        self.switch.set_endpoints(profile.switch)
        self._doubling = profile.doubles
        config = SessionConfig(float(profile.rekey_seconds), preferred_ciphers(), self._doubling)
        self.sessions = SessionManager(self.me, "node", self.trust, os.urandom, config, self._traffic)
        largest = min(profile.mtu + limits.HEADER_SIZE + limits.TAG_SIZE, limits.MAX_PROBE_DATAGRAM)
        attachment_config = ClientConfig(profile.keepalive, copies=bool(self._doubling), datagram_max=largest)
        self.client = AttachmentClient(self.me, os.urandom, make_aead, attachment_config)
        self.client.crl_held(self.trust.crl_number)
        self.routing = Routing(profile, self.trust.identity, self.tunnel, lambda: self.switch.ips)
        policy, deliver = self.routing.policy, self.path.write_tun
        self.overlay = Overlay(self.me, self.path, self.sessions, self.client, policy, deliver, profile.addresses)
        self.sizes = Sizes(self.path, self.sessions.set_reach, deliver, profile.addresses)
        self._stream, self.hooks = EventStream(), Hooks(profile.name, profile.hooks)
        self._news = News(self._stream, self._run_hooks)
        tell = self._news.tell
        self.moving = Moving(profile, self.path, self.switch, self.client, self.sessions, self._replan, tell)
        self.attach_group, self.attach_seconds, self.attach_count = "", 0.0, 0
        self.precedence: tuple[str, ...] = ()
        """What people should know of it."""
        self.counters: Counter[str] = Counter()
        self._source: tuple[int, Locator] | None = None  # of the last datagram: path, where from
        self._end_by: float | None = None  # monotonic
        self._bye_at: float | None = None  # monotonic: when the Switch is told, at the latest
        self._left = False
        self._warn_at = 0.0  # boot
        self._driver = Driver(
            deadline=self._deadline, on_timer=self._on_timer, flush=self._flush, on_suspend=self._on_suspend
        )
        self.switch.driver = self._driver

    async def run(self) -> None:
        """Serve. Interface and routes are gone when it returns, whatever happens."""
        control = ControlServer(self.profile.name, self._answer)
        self._driver.add_reader(self.path.fileno(), self._on_data_path)
        self._driver.add_reader(self.moving.watcher.fileno(), self.moving.on_links)
        self._driver.on_signal(signal.SIGHUP, self._on_reload_signal)
        self._driver.on_signal(signal.SIGTERM, self._end)
        self._driver.on_signal(signal.SIGINT, self._end)
        self.precedence = go_ahead(self.profile.nice)
        try:
            await control.start()
            self.path.start()
            self._driver.call_soon(self._start)
            with WarningsTold(self._on_warning):
                await self._driver.run()
        finally:
            notify.stopping()
            self.hooks.close()
            self.path.close()
            self.moving.watcher.close()
            self.switch.close_all()
            self.tunnel.close()
            await control.close()

    # -- What happens

    def _run_hooks(self, event: Message) -> None:
        """Behind the report that the event goes with: to start a thread takes a millisecond or more."""
        self._driver.call_soon(lambda now: self.hooks.offer(event))

    def _start(self, now: Now) -> None:
        log.info("node %s of network %s, interface %s", self.me, self.profile.network, self.tunnel.tun.name)
        self._warn(now)
        self.switch.look_up()
        self.client.start(now)
        notify.ready("looking for the Switch")

    def _warn(self, now: Now) -> None:
        """Once a day, what people should know: a certificate that ends, a wrong clock, forwarding that is off."""
        self._warn_at = now.boot + 86_400
        for line in (*self.routing.warnings, *self.precedence, *self.trust.warnings(now.wall)):
            log.warning("%s", line)

    def _on_data_path(self, now: Now) -> None:
        self._driver.each(self.path.events(), self._on_data_path_event, now)

    def _on_data_path_event(self, event: datapath.Event, now: Now) -> None:
        match event:
            case ("control", slot, source, datagram):
                self._on_datagram(datagram, slot, source, now)
            case ("traffic",):
                self._on_timer(now)
            case ("no_route", packet):
                self.overlay.on_no_route(packet, now)
            case ("no_key", peer, packet):
                self.overlay.on_no_key(peer, packet, now)
            case ("too_large", peer, packet):
                self.sizes.on_too_large(peer, packet, now)
            case ("unknown_data", peer):
                self.sessions.on_unknown_data(peer, now)
            case ("first_receive", peer, key_id):
                self.sessions.on_first_receive(peer, key_id, now)
            case ("soft_limit" | "hard_limit" as limit, peer, key_id):
                self.sessions.on_limit(peer, key_id, now, hard=limit == "hard_limit")

    def _on_datagram(self, datagram: bytes, slot: int, source: Locator, now: Now) -> None:
        try:
            header = parse_header(datagram)
        except Malformed as error:
            self.counters[f"datagram_{error.reason}"] += 1
            return
        self._source = slot, source
        match header.type:
            case PacketType.CONTROL:
                self.sessions.receive(header, datagram[limits.HEADER_SIZE :], b"", now)
            case PacketType.REPORT:
                if self.client.receive_report(datagram, now, slot):
                    self.switch.heard(slot, source)
            case PacketType.PRIVATE:
                if self.client.receive_private(datagram, now):
                    self.switch.heard(slot, source)
            case PacketType.DATA:
                self.counters["datagram_data"] += 1

    def _on_warning(self, text: str) -> None:
        self._driver.call_threadsafe(lambda now: self._news.tell("warning", now, text=text))

    def _on_suspend(self, seconds: float, now: Now) -> None:
        log.info("this machine slept for %.0f s", seconds)
        self._news.tell("suspend", now, seconds=round(seconds, 1))
        self.moving.slept(now)

    def _on_timer(self, now: Now) -> None:
        if now.boot >= self._warn_at:
            self._warn(now)
        self.moving.handle_timer(now)
        self.sessions.handle_timer(now)
        self.client.sent_traffic(self.path.last_tx / 1000)
        self.client.passed_bulk(self.path.bulk(), now.mono)
        self.client.handle_timer(now)
        if self.client.idle(now):
            self.path.wake_on_traffic()

    def _deadline(self, now: Now) -> float | None:
        wanted = (
            self.sessions.deadline(now),
            self.client.deadline(now),
            self.moving.deadline(),
            self._bye_at,
            self._end_by,
        )
        return min((at for at in wanted if at is not None), default=None)

    # -- What follows

    def _flush(self, now: Now) -> None:
        """Carry out what the machines decided, until nothing is left to do."""
        self._take_leave(now)
        busy = True
        while busy:
            happened, told = self.sessions.events(), self.client.events()
            self._driver.each(happened, self._on_session_event, now)
            self._driver.each(told, self._on_client_event, now)
            busy = bool(happened or told)
        self.sizes.reach_is(self.client.reach, now)
        self.moving.news.sizes(now)
        for datagram, _ in self.sessions.datagrams():
            self._send(self.client.active, datagram, now)
        for slot, datagram in self.client.outgoing():
            self._send(slot, datagram, now)
        for slot, datagram in self.client.asides():
            self.switch.send_aside(slot, datagram)
        self.moving.reported()
        self._stop_when_done(now)

    def _send(self, slot: int, datagram: bytes, now: Now) -> None:
        self.switch.send(slot, datagram)
        self.client.sent_by(now.mono, slot)

    def _on_session_event(self, event: session.Event, now: Now) -> None:
        follow_session(event, self.overlay, self.path, self._doubling, now)
        self._news.of_session(event, now)
        match event:
            case session.ReachTold():
                self.sizes.on_told(event.peer, event.size, now)
            case session.SessionUp():
                log.info(
                    "session %016x with %s, generation %d, %s, in %.0f ms",
                    event.session_id,
                    event.peer,
                    event.generation,
                    event.group,
                    event.handshake_seconds * 1000,
                )
            case session.SessionDown():
                text = f": {escape(event.text)}" if event.text else ""
                log.info("session with %s ended (%s)%s", event.peer, event.reason, text)
                self.sizes.on_session_down(event.peer)
            case session.ConnectFailed():
                log.info("no session with %s: %s %s", event.peer, event.reason, escape(event.detail))
            case session.Attached():
                self.moving.attached(now)
                if self._source is not None:
                    self.switch.heard(*self._source)
                self.client.granted(event.switch_id, event.grant, event.report_master, event.private_master, now)
                self.attach_group, self.attach_seconds = event.group, event.handshake_seconds
                self.attach_count += 1
            case session.AttachFailed():
                self._on_attach_failed(event, now)
            case session.CrlChanged():
                self.client.crl_held(event.number)
                log.info("revocation list %d in force", event.number)

    def _on_client_event(self, event: attachment.ClientEvent, now: Now) -> None:
        self._news.of_attachment(event, now)
        match event:
            case attachment.NeedTls():
                log.debug("attaching by TLS: %s", event.reason)
                self.sessions.attach(now, event.request)
            case attachment.AttachedNow():
                log.info("attached to Switch %s, seen there as %s", event.switch_id, event.observed)
                self.tunnel.reached()
                notify.status(f"attached to {event.switch_id}")
                self.sessions.retry_now(now)  # what was sent before was dropped at the Switch
            case attachment.LocatorChanged():
                log.info("moved: the Switch sees %s, %.0f ms after the change", event.observed, event.gap * 1000)
                self.moving.told(now)
            case attachment.PathAnswered(slot):
                self.moving.answered(slot, now)
            case attachment.PathSilent(slot):
                self.moving.silent(slot, now)
            case attachment.SwitchRestarted():
                log.info("the Switch was restarted and knows us again by our ticket")
            case attachment.Resolved():
                self.overlay.on_resolved(event.address, event.nodes, now)
            case attachment.RoutesChanged():
                self.routing.announce((route.node, route.prefix) for route in event.routes)
                self._replan()
            case attachment.CrlArrived():
                if self.trust.offer_crl(event.der):
                    self.sessions.revocation_changed(now)
                    log.info("revocation list %d in force", self.trust.crl_number)
                self.client.crl_held(self.trust.crl_number)
            case attachment.Unreachable():
                if not event.detail:  # a failed handshake has been told
                    where = ", ".join(map(str, self.profile.switch))
                    log.warning("no answer from the Switch at %s for %.0f s, trying on", where, event.seconds)
                self.switch.silent(self.client.active)
                self.switch.look_up()
            case attachment.Reachable():
                if event.seconds >= 1:
                    log.info("the Switch answers again after %.0f s", event.seconds)
            case attachment.SupersededEvent():
                raise NotWanted("another process runs with this profile and has taken over: this one ends")
            case attachment.Revoked():
                raise NotWanted("this node's certificate was revoked: ask the CA's keeper for a new profile")
            case attachment.Left():
                self._left = True
            case attachment.CrlNumber():
                pass

    def _on_attach_failed(self, event: session.AttachFailed, now: Now) -> None:
        again = f"again in {event.retry_seconds:.0f} s" if not event.final else "not again"
        log.warning("the Switch did not attach us (%s %s), %s", event.reason, escape(event.detail), again)
        self.client.tls_failed(event.reason, event.final, now)
        self.switch.silent(self.client.active)
        self.switch.look_up()

    def _on_netifd_failed(self, words: str) -> None:
        """An interface without addresses is of no use: end, and let netifd start us anew."""

        def end(now: Now) -> None:
            if self._end_by is None:
                raise SystemProblem(words)

        self._driver.call_soon(end)

    def _on_switch_found(self, now: Now) -> None:
        self.moving.switch_found(now)

    def _replan(self) -> None:
        """The machine, what is announced, or the profile has changed: routes follow."""
        self.routing.replan()
        self.overlay.policy_changed()

    # -- Ends and answers

    def _end(self, now: Now) -> None:
        """Say goodbye to peers and Switch, and stop when they have answered, or after a second."""
        if self._end_by is None:
            self._news.tell("stopping", now)
            self._end_by = now.mono + GOODBYE_SECONDS
            self._bye_at = now.mono + GOODBYE_SECONDS / 2
            self.sessions.shutdown(now)

    def _take_leave(self, now: Now) -> None:
        """Peers first: the Switch passes their CLOSE on, and brings the answer, only while it knows where we are."""
        if self._bye_at is not None and (now.mono >= self._bye_at or not self.sessions.busy):
            self._bye_at = None
            self.client.leave(now)

    def _stop_when_done(self, now: Now) -> None:
        if self._end_by is not None and (now.mono >= self._end_by or (self._left and not self.sessions.busy)):
            self._driver.stop()

    def _on_reload_signal(self, now: Now) -> None:
        try:
            self.reload(now)
        except OvngError as error:
            log.error("reload refused, everything goes on as before: %s", error)

    def reload(self, now: Now) -> None:
        """Read the profile again. Raises ConfigError, and changes nothing then."""
        notify.reloading(now)
        try:
            profile = read_profile(self.profile.path, self.profile.settings)
            if not isinstance(profile, NodeProfile):
                raise ConfigError("is the profile of a Switch", file=str(profile.path), key="kind")
            trust = trust_of(profile)
            if trust.identity.id != self.me:
                raise ConfigError(
                    "holds another key: another node needs `ovng down` and `ovng up`", file=str(profile.path)
                )
            for key in FIXED:
                if getattr(profile, key) != getattr(self.profile, key):
                    log.warning("%s: %s changes only at the next start", profile.path, key)
            held = self.trust.crl_der
            if held is not None:
                trust.offer_crl(held)
            renewed = profile.credentials != self.profile.credentials
            self.profile = profile
            self.routing.use(profile, trust.identity)
            self.moving.use(profile, now)
            self.tunnel.set_dns(profile.dns)
            self.hooks.directory = profile.hooks
            self.switch.set_endpoints(profile.switch)
            self.switch.look_up()
            if renewed:
                self.trust = trust
                self.sessions.replace_trust(trust, now)
                self.client.start(now)
                log.info("new certificate in use, until %s", day(trust.identity.not_after))
            self._replan()
        finally:
            notify.ready()

    def _answer(self, request: Message) -> Message | Stream:
        now = read_clock()
        match request.get("verb"):
            case "status":
                return node_status(self, now)
            case "events":
                return self._stream.follow({"profile": self.profile.name, "version": __version__}, now)
            case "reload":
                self.reload(now)
                self._driver.call_soon(lambda now: None)
                return {"reloaded": True}
            case "down":
                self._driver.call_soon(self._end)
                return {"stopping": True}
            case verb:
                return {"error": f"a node has no verb {verb!r}"}

    def _traffic(self, peer: NodeID) -> int:
        figures = self.path.peer_stats(peer)
        return 0 if figures is None else int(figures["received_packets"]) + int(figures["sent_packets"])
