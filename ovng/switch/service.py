"""A running Switch: the forwarding workers, and beside them the small endpoint for what is meant for the Switch itself.

    workers ──ring──► reports, compiled ──► answers           what nearly all reports ask, on the registrar's terms
                          └──► events ──► session manager (CONTROL)   attachment by TLS, once a day and node
                                    └──► registrar (REPORT, PRIVATE)  all other reports, resolution, routes
                                             └──► table ◄── workers read

Nothing here sees VPN traffic, and nothing here holds an object per node.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter

from ovng import limits
from ovng.clock import Now
from ovng.clock import now as read_clock
from ovng.config.profile import SwitchProfile, make_trust
from ovng.errors import ConfigError, Malformed, OvngError
from ovng.forwarding.registrar import Registrar
from ovng.forwarding.store import Out
from ovng.ids import Locator
from ovng.io import notify
from ovng.io.control import ControlServer, Message
from ovng.io.credentials import is_handed_over, memfd_path, read_profile, trust_of, use_profile
from ovng.io.driver import Driver
from ovng.io.libcrypto import load_libcrypto, make_aead
from ovng.io.niceness import go_ahead
from ovng.io.switchpath import SwitchDataPath, SwitchEvent, make_table
from ovng.session.events import AttachRequested, AttachSettled, CrlChanged, Event
from ovng.session.manager import SessionManager
from ovng.switch.snapshots import SnapshotWriter
from ovng.switch.state import SNAPSHOT, TICKET_KEYS, SwitchState
from ovng.switch.status import switch_status
from ovng.wire.header import PacketType, parse_header

log = logging.getLogger(__name__)

FIXED = (
    "listen",
    "workers",
    "max_nodes",
    "state_dir",
    "crl_file",
    "network",
    "network_prefixes",
    "name",
    "libcrypto",
    "nice",
    "offloads",
    "log_level",
)
"""Keys of the profile that a reload does not change."""


class SwitchService:
    """One Switch from its profile. `run` serves until SIGTERM; raises OvngError when it cannot start or go on."""

    def __init__(self, profile: SwitchProfile, now: Now) -> None:
        self.profile = profile
        self.started = now
        self.libcrypto = load_libcrypto(profile.libcrypto)
        self.state = SwitchState(profile.state_dir, profile.crl_file)
        self.trust = trust_of(profile)
        me = self.trust.identity.id
        self.table = make_table(profile.max_nodes)
        self.registrar = Registrar(me, self.table, os.urandom, make_aead, now, profile.network_prefixes)
        self.sessions = SessionManager(me, "switch", self.trust, os.urandom)
        self.path = SwitchDataPath(
            me, profile.listen, self.table, workers=profile.workers, gro=profile.offloads.gro, gso=profile.offloads.gso
        )
        self.precedence: tuple[str, ...] = ()
        """What people should know of it."""
        self.counters: Counter[str] = Counter()
        self._restore(now)
        self._snapshots = SnapshotWriter(self.state, self.registrar.snapshot, now)
        self._driver = Driver(deadline=self._deadline, on_timer=self._on_timer, flush=self._flush)

    async def run(self) -> None:
        """Serve. The data path ends with it, whatever happens."""
        control = ControlServer(self.profile.name, self._answer)
        self._driver.add_reader(self.path.fileno(), self._on_datagrams)
        self._driver.on_signal(signal.SIGHUP, self._on_reload_signal)
        self.precedence = go_ahead(self.profile.nice)
        try:
            await control.start()
            self.path.start()
            self._driver.call_soon(self._announce)
            await self._driver.run()
        finally:
            notify.stopping()
            self.path.stop()
            await control.close()
            self._snapshots.close()
            self._store_ticket_keys()

    def _announce(self, now: Now) -> None:
        """Say that we serve: only now, for whoever hears it may signal us at once."""
        addresses = ", ".join(map(str, self.path.addresses))
        log.info("Switch %s of network %s listens on %s", self.trust.identity.id, self.profile.network, addresses)
        if not self.path.timestamps:
            log.warning("offload timestamps refused by the kernel: nothing is dropped for having waited too long")
        for line in (*self.precedence, *self.trust.warnings(now.wall)):
            log.warning("%s", line)
        notify.ready(f"listening on {addresses}")

    # -- What happens

    def _on_datagrams(self, now: Now) -> None:
        self._driver.each(self.path.events(lambda: self.registrar.terms(now)), self._on_path_event, now)

    def _on_path_event(self, event: SwitchEvent, now: Now) -> None:
        if event[0] == "endpoint":
            self._for_us(event[3], event[2], now)
        else:
            _, _, source, header, attached, length = event
            self._send(self.registrar.handle_unmatched(header, source, attached, length, now))

    def _for_us(self, datagram: bytes, source: Locator, now: Now) -> None:
        try:
            header = parse_header(datagram)
        except Malformed as error:
            self.counters[f"endpoint_{error.reason}"] += 1
            return
        match header.type:
            case PacketType.CONTROL:
                self.sessions.receive(header, datagram[limits.HEADER_SIZE :], source.packed(), now)
                self._flush(now)  # a settled attachment counts for the very next datagram
            case PacketType.REPORT:
                self._send(self.registrar.handle_report(datagram, source, now))
                for replay in self.registrar.replays():
                    self.path.replay(replay)
            case PacketType.PRIVATE:
                self._send(self.registrar.handle_private(datagram, source, now))
            case PacketType.DATA:
                self.counters["endpoint_data"] += 1

    def _on_timer(self, now: Now) -> None:
        self.sessions.handle_timer(now)
        entries = self.registrar.start_hints(now)
        if entries:
            self.path.send_start_hints(entries, self.registrar.terms(now))
        self.path.send_all(self.registrar.tick(now))
        self._snapshots.handle_timer(now)
        self._store_ticket_keys()

    def _deadline(self, now: Now) -> float | None:
        wanted = [self.sessions.deadline(now), self.registrar.deadline(now), self._snapshots.deadline()]
        return min(at for at in wanted if at is not None)

    def _flush(self, now: Now) -> None:
        """Carry out what the machines decided, until nothing is left to do."""
        while events := self.sessions.events():
            self._driver.each(events, self._on_session_event, now)
        for datagram, context in self.sessions.datagrams():
            self.path.send(datagram, Locator.unpack(context))

    def _on_session_event(self, event: Event, now: Now) -> None:
        match event:
            case AttachRequested():
                self._grant(event, now)
            case AttachSettled():
                self._send(self.registrar.settle(event.node_id, event.report_master, now))
            case CrlChanged():
                self._use_crl(now)
            case _:
                self.counters[f"event_{type(event).__name__}"] += 1

    def _grant(self, event: AttachRequested, now: Now) -> None:
        masters = event.report_master, event.private_master
        grant = self.registrar.attach(event.identity, event.request, event.context, *masters, now)
        self._store_ticket_keys()  # or a crash would make the ticket in this grant worthless
        self.sessions.grant(event.ref, grant, now)

    def _send(self, answers: list[Out]) -> None:
        for datagram, locator in answers:
            self.path.send(datagram, locator)

    # -- Revocation, reload, disk

    def _use_crl(self, now: Now) -> None:
        der = self.trust.crl_der
        if der is not None:
            self.registrar.set_crl(self.trust.crl_number, der, self.trust.revoked_serials)
            log.info("revocation list %d in force: %d serials", self.trust.crl_number, len(self.trust.revoked_serials))

    def _on_reload_signal(self, now: Now) -> None:
        try:
            self.reload(now)
        except OvngError as error:
            log.error("reload refused, everything goes on as before: %s", error)

    def reload(self, now: Now, given: bytes | None = None) -> None:
        """Read profile and CRL again; `given` is the profile where we may not read it. What cannot be changed while
        running is told.

        Raises ConfigError; a wrong profile changes nothing, a wrong CRL leaves the list held in force.
        """
        notify.reloading(now)
        try:
            path = self.profile.path
            profile = read_profile(path) if given is None else use_profile(given, path)
            if not isinstance(profile, SwitchProfile):
                raise ConfigError("is the profile of a node", file=str(self.profile.path), key="kind")
            trust = make_trust(profile, memfd_path, self.trust.crl_der)
            if trust.identity.id != self.trust.identity.id:
                raise ConfigError("holds another key: another Switch needs a new start", file=str(profile.path))
            changed = [key for key in FIXED if getattr(profile, key) != getattr(self.profile, key)]
            if changed:
                log.warning("%s: %s changes only at the next start", profile.path, ", ".join(changed))
            if profile.credentials != self.profile.credentials:
                self.sessions.replace_trust(trust, now)
                self.trust = trust
                log.info("new certificate in use")
            self.profile = profile
            self._read_crl(profile, now)
        finally:
            notify.ready()

    def _read_crl(self, profile: SwitchProfile, now: Now) -> None:
        """What the CA's machine has put into our file, if that is news. Raises ConfigError."""
        crl, refused = self.state.read_crl(), self.trust.refused.copy()
        if crl is None:
            return
        if self.trust.offer_crl(crl):
            self.sessions.revocation_changed(now)
            self._use_crl(now)
            return
        refused = self.trust.refused - refused
        if "crl_not_newer" not in refused:
            reason = next(iter(refused))
            raise ConfigError(f"is no revocation list of this network's CA ({reason})", file=str(profile.crl_file))

    def _restore(self, now: Now) -> None:
        keys, snapshot = self.state.read(TICKET_KEYS), self.state.read(SNAPSHOT)
        try:
            if keys is not None:
                self.registrar.load_ticket_keys(keys, now)
            if snapshot is not None:
                self.registrar.restore(snapshot, now)
        except Malformed as error:
            log.warning("%s: state not usable (%s); nodes attach anew", self.profile.state_dir, error.reason)
        self._use_crl(now)

    def _store_ticket_keys(self) -> None:
        if self.registrar.ticket_keys_changed:
            self.state.write(TICKET_KEYS, self.registrar.ticket_keys())

    # -- The control socket

    def _answer(self, request: Message) -> Message:
        now = read_clock()
        match request.get("verb"):
            case "status":
                return switch_status(self, now)
            case "reload":
                given = request.get("profile")
                self.reload(now, given.encode() if isinstance(given, str) else None)
                self._flush(now)
                old = given is None and is_handed_over(self.profile.path)
                notes = ["the profile is as it was at the start: `systemctl reload ovng-switch` reads it again"]
                return {"reloaded": True, "crl_number": self.trust.crl_number, "notes": notes if old else []}
            case "down":
                self._driver.stop()
                return {"stopping": True}
            case verb:
                return {"error": f"a Switch has no verb {verb!r}"}
