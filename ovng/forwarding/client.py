"""The node's side of attachment: keeps the Switch knowing where we are, and asks it who is where.

    start ──► NeedTls ──► granted ──► attached ──┬── idle: REFRESH as seldom as the NAT bears (`keepalive`)
                 ▲                               ├── network_changed: MOVE at once, CONFIRM after its answer
                 │                               ├── silence while there is traffic: REFRESH after 300 ms, then slower
                 └── grant near its end, no      └── CHALLENGE (the Switch restarted): the ticket, no TLS
                     ticket, private keys lost

A node has up to four paths, each known to the Switch by reports of its own; one of them is active, and data goes there.
Which one is not decided here: the owner adds, removes and activates paths, and is told which ones answer.

The owner calls a verb, then drains `outgoing()` (a path and a datagram) and `events()`, and arms one timer with
`deadline()`. It says what passed by `heard_from_switch` and `sent_traffic`, at the latest before `handle_timer`.
Nothing that arrives raises; what is wrong with it is in `counters`.
"""

from __future__ import annotations

from collections import Counter

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.forwarding.clientconfig import ClientConfig
from ovng.forwarding.clientevents import (
    AttachedNow,
    ClientEvent,
    CrlArrived,
    CrlNumber,
    Left,
    LocatorChanged,
    NeedTls,
    PathAnswered,
    PathSilent,
    Reachable,
    Resolved,
    Revoked,
    RoutesChanged,
    SupersededEvent,
    SwitchRestarted,
    Unreachable,
)
from ovng.forwarding.clientpath import ClientPath
from ovng.forwarding.clientpaths import ClientPaths
from ovng.forwarding.crlfetch import CrlFetch
from ovng.forwarding.grantheld import GrantHeld
from ovng.forwarding.history import LocatorHistory, RttEstimate
from ovng.forwarding.privatelink import PrivateLink
from ovng.forwarding.prober import Verdict
from ovng.forwarding.reachability import Reachability
from ovng.forwarding.reporter import Reporter
from ovng.forwarding.routelist import RouteListCopy
from ovng.forwarding.silence import Silence
from ovng.forwarding.store import AeadFactory, Random
from ovng.ids import IPAddress, Locator, NodeID
from ovng.limits import ATTACH_AGAIN_BEFORE, RECONNECT_BACKOFF_MAX, RECONNECT_BACKOFF_MIN, SIZE_CHECK_SECONDS
from ovng.session.backoff import Backoff, fraction
from ovng.wire.inner import Attach, AttachMode, Grant
from ovng.wire.report import (
    SEQUENCE_MAX,
    Ack,
    Challenge,
    CrlPiece,
    Mismatch,
    Nak,
    NakReason,
    Probed,
    ReportKind,
    Update,
    parse_report,
    verify,
)

_RENEW_FROM, _RENEW_SPAN = 0.75, 0.15  # share of a grant's life after which it is renewed: 18 … 21.6 h
_LEAVE_SECONDS = 2.0
_MOVE_LIMIT_WAIT = 1.0
_OWN_REPORT = 0.05  # what counts as sent so soon after a report of ours is that report
_TLS_AFTER_SILENCE = 300.0  # it may be another Switch by now, which does not answer what is not for it


class AttachmentClient:
    """One node's attachment to its Switch. Not thread-safe."""

    def __init__(self, me: NodeID, random: Random, seal: AeadFactory, config: ClientConfig | None = None) -> None:
        self._me, self._random, self._factory = me, random, seal
        self._config = config or ClientConfig()
        self._instance = int.from_bytes(random(8), "big")
        self._held: GrantHeld | None = None
        self._events: list[ClientEvent] = []
        self.counters: Counter[str] = Counter()
        self._paths = ClientPaths(me, random, self._config)
        self._private = PrivateLink(me, random, self._send_active, self._need_tls, self.counters)
        self._crl = CrlFetch(random, lambda offset, now: self._reporter.get_crl(offset, now))  # noqa: PLW0108  the one active then
        self._silence = Silence()
        self._reachability = Reachability()
        self._backoff = Backoff(RECONNECT_BACKOFF_MIN, RECONNECT_BACKOFF_MAX, random)
        self._tls: NeedTls | None = None
        self._tls_again = 0.0  # monotonic, as the next ones
        self._moved_at: float | None = None
        self._looked_at = float("-inf")
        self._leave_by: float | None = None
        self._stopped = False
        self.history = LocatorHistory()

    # -- Paths

    @property
    def active(self) -> int:
        """The path that data takes."""
        return self._paths.active

    @property
    def _here(self) -> ClientPath:
        return self._paths.here

    @property
    def _reporter(self) -> Reporter:
        return self._here.reporter

    @property
    def rtt(self) -> RttEstimate:
        """Of the active path."""
        return self._here.rtt

    @property
    def observed(self) -> Locator | None:
        """Where the Switch sees the active path; None before the first attachment."""
        return self._here.observed

    def path(self, index: int) -> ClientPath | None:
        """What is known of a path, for status."""
        return self._paths.get(index)

    @property
    def reach(self) -> int:
        """Bytes of the largest datagram that comes to us, and leaves from us, in one piece by every path in use."""
        return self._paths.reach

    def add_path(self, index: int, priority: int, now: Now, *, metered: bool = False, network: str = "") -> None:
        """There is a path `index` (0 … 3); as `set_uplink`, and the Switch is told."""
        self._paths.open(index, self._held)
        self.set_uplink(index, priority, metered=metered, network=network)
        self.network_changed(now, index)

    def set_uplink(self, index: int, priority: int, *, metered: bool = False, network: str = "") -> None:
        """`priority` 0 … 255 (0 = best), told by the path's next report; `network` names what stands behind its NAT."""
        self._paths.set_uplink(index, priority, metered=metered, network=network)

    def remove_path(self, index: int) -> None:
        """The path is gone. The active one stays until another is activated."""
        if index != self.active:
            self._paths.pop(index, None)

    def activate(self, index: int, now: Now, *, lost: bool) -> None:
        """Data goes by this path from now on: the Switch is told by one MOVE. The path was added before.

        `lost`: the one before is gone, and with it what was on its way here.
        """
        if index == self.active or self._stopped:
            return
        self._paths.activate(index)
        if self._tells_moves():
            self._moved_at = now.mono
            self._reporter.moved(now, replay=lost)

    # -- What the owner wants

    def start(self, now: Now) -> None:
        """Attach; takes over from any other process of this identity."""
        self._reachability.trying(now.mono)
        self._need_tls("start", now)

    def leave(self, now: Now) -> None:
        """Tell the Switch to send nothing more. `Left` follows."""
        if self._held is None or self._stopped:
            self._left()
            return
        self._leave_by = now.mono + _LEAVE_SECONDS
        self._reporter.begin(ReportKind.BYE, now)

    def resolve(self, address: IPAddress, now: Now) -> Resolved | None:
        """Who has this inner address: what is known, or None and a `Resolved` event once the Switch has answered."""
        return self._private.resolver.resolve(address, now)

    @property
    def routes(self) -> RouteListCopy:
        """The route list as last told (`.routes`, `.version`)."""
        return self._private.routes

    @property
    def attached(self) -> bool:
        return self._held is not None and not self._stopped

    @property
    def grant(self) -> GrantHeld | None:
        """What we hold, for status."""
        return self._held

    def crl_held(self, number: int) -> None:
        """This revocation list is in force here."""
        self._crl.hold(number)

    # -- What happened

    def granted(self, switch_id: NodeID, grant: Grant, report_master: bytes, private_master: bytes, now: Now) -> None:
        """TLS has brought an attachment (`session.events.Attached`)."""
        if self._stopped:
            return
        share = _RENEW_FROM + _RENEW_SPAN * fraction(self._random)
        moving = self._moved_at is not None  # since the grant was asked for, perhaps
        restarted = self._held is not None and self._held.boot_id != grant.boot_id
        self._held = GrantHeld.of(switch_id, grant, report_master, private_master, self._factory, now.boot, share)
        for path in self._paths.values():
            path.reporter.use(self._held)
            path.keepalive.abandon()
        self._tls = None
        self._backoff.reset()
        self._answered(now)
        if not moving:
            self._seen_at(self.active, grant.observed, now)
        for index, path in self._paths.items():  # TLS has made path 0 known, from wherever it came
            if moving or index > 0 or index != self.active:
                path.reporter.moved(now)
        self._events.append(AttachedNow(switch_id, grant.observed))
        self._private.use(self._held, now, restarted=restarted)
        self._told_crl(grant.crl_number, now)

    def tls_failed(self, reason: str, final: bool, now: Now) -> None:
        """TLS has failed (`session.events.AttachFailed`). Unless `final`, it is asked for again: 1 … 60 s."""
        if self._stopped or self._tls is None:
            return
        if final:
            self._stop(SupersededEvent() if "superseded" in reason else Revoked())
            return
        self._tls_again = now.mono + self._backoff.next()
        if self._held is None:
            self._tell(self._reachability.tell(now.mono, reason))

    def network_changed(self, now: Now, index: int | None = None, *, lost: bool = True) -> None:
        """Our address may be another, on this path or (None) on all: tell the Switch at once."""
        if not self._tells_moves():
            return
        for each, path in self._paths.items():
            if index in (None, each):
                if each == self.active:
                    self._moved_at = now.mono
                path.moved(now, lost=lost)

    def _tells_moves(self) -> bool:
        return not self._stopped and self._leave_by is None and (self._held is not None or self._tls is not None)

    def heard_from_switch(self, mono: float, index: int | None = None) -> None:
        """When anything last came from the Switch, by this path (None: the active one), in monotonic seconds."""
        self._silence.heard(mono)
        path = self._paths.get(self.active if index is None else index)
        if path is not None:
            path.heard(mono)

    def sent_by(self, mono: float, index: int) -> None:
        """When anything last left by this path, in monotonic seconds: it keeps the mapping of a NAT."""
        path = self._paths.get(index)
        if path is not None:
            path.keepalive.sent(mono)

    def idle(self, now: Now) -> bool:
        """Nothing passes: whoever counts packets need not tell until something does."""
        return not self._silence.traffic(now.mono)

    def passed_bulk(self, total: int, mono: float) -> None:
        """Bytes that were sent and received in large packets since the start."""
        self._here.size.bulk(total, mono)

    def sent_traffic(self, mono: float) -> None:
        """When traffic was last sent, in monotonic seconds."""
        if mono > self._reporter.last_sent + _OWN_REPORT:
            self._silence.sent(mono)

    def receive_report(self, datagram: bytes, now: Now, index: int | None = None) -> bool:
        """A datagram of type REPORT that came by this path (None: the active one). Untrusted.

        True if it proves that the Switch is there where it came from.
        """
        try:
            report = parse_report(datagram)
        except Malformed as error:
            self.counters[error.reason] += 1
            return False
        held = self._held
        if held is None or self._stopped or isinstance(report, Update):
            self.counters["report_unexpected"] += 1
            return False
        dst, src = (report.dst, report.src) if isinstance(report, Mismatch) else report.common[:2]
        if dst != self._me or src != held.switch_id:
            self.counters["not_for_me"] += 1
            return False
        proved = False
        if isinstance(report, Mismatch | Challenge):
            path = self._paths.get(self.active if index is None else index)
            if path is None:
                self.counters["report_unexpected"] += 1
            elif isinstance(report, Mismatch):
                self.counters["mismatch"] += path.reporter.mismatch(report, now)
            else:
                self.counters["challenge"] += path.reporter.challenge(report, now)
        else:
            proved = self._authenticated(report, datagram, held, now)
        self._follow(now)
        return proved

    def receive_private(self, datagram: bytes, now: Now) -> bool:
        """A datagram of type PRIVATE. As `receive_report`."""
        asked = self._private.receive_untrusted(datagram, now)
        if asked:
            self._silence.answered(now.mono)
        self._follow(now)
        return asked

    # -- Out

    def outgoing(self) -> list[tuple[int, bytes]]:
        """To be sent to the Switch, and by which path, drained."""
        out, self._paths.outgoing = self._paths.outgoing, []
        return out

    def asides(self) -> list[tuple[int, bytes]]:
        """To be sent to the Switch by the uplink of a path, but not by its socket; drained."""
        out, self._paths.asides = self._paths.asides, []
        return out

    def datagrams(self) -> list[bytes]:
        """As `outgoing`, for who has one path."""
        return [datagram for _, datagram in self.outgoing()]

    def events(self) -> list[ClientEvent]:
        """What happened, drained."""
        self._events += self._private.resolver.events
        self._private.resolver.events.clear()
        out, self._events = self._events, []
        return out

    def deadline(self, now: Now) -> float | None:
        """When `handle_timer` must be called at the latest, in monotonic seconds."""
        if self._stopped:
            return None
        times = [self._leave_by, self._reachability.deadline(), self._private.deadline(now)]
        if self._tls is not None:
            times.append(self._tls_again)
        if self._held is not None:
            for index, path in self._paths.items():
                times.append(path.deadline(now))
                if self._probes_sizes(index, path):
                    times.append(path.size.deadline(path.rtt.srtt))
            if self._here.size.checked and self._silence.traffic(now.mono):
                times.append(self._looked_at + SIZE_CHECK_SECONDS)  # how much is large is asked then
            if self._probes(now):
                times.append(self._here.prober.deadline(self.rtt.srtt))
            times += [now.mono + (self._held.renew_at - now.boot), self._crl.deadline()]
            times.append(self._silence.deadline(now.mono, self.rtt.srtt))
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: Now) -> None:
        """Do what is due; harmless when nothing is."""
        if self._stopped:
            return
        self._looked_at = now.mono
        if self._leave_by is not None and now.mono >= self._leave_by:
            self._left()
            return
        if self._tls is not None and now.mono >= self._tls_again:
            self._tls_again = now.mono + RECONNECT_BACKOFF_MAX
            self._events.append(self._tls)
        if self._held is not None:
            self._timers_attached(self._held, now)
        self._tell(self._reachability.check(now.mono))
        self._private.handle_timer(now)
        self._follow(now)

    def _timers_attached(self, held: GrantHeld, now: Now) -> None:
        if now.boot >= held.renew_at:
            held.renew_at = now.boot + RECONNECT_BACKOFF_MAX
            self._need_tls("grant_ends", now)
        for index, path in self._paths.items():
            self._timers_of_path(index, path, now)
        if self._silence.due(now.mono, self.rtt.srtt):
            self._silence.probed(now.mono)
            self._reporter.begin(ReportKind.REFRESH, now)
        self._crl.handle_timer(now)
        exchange = self._reporter.exchange
        if exchange is not None and not exchange.once:
            self._reachability.trying(exchange.began)
        if self._reachability.silent(now.mono) >= _TLS_AFTER_SILENCE:
            self._need_tls("silence", now)

    def _timers_of_path(self, index: int, path: ClientPath, now: Now) -> None:
        wanted, traffic = index == self.active or self._here.silent, self._silence.traffic(now.mono)
        path.reporter.handle_timer(now, 0.0 if wanted and traffic else path.keepalive.patience(traffic=traffic))
        path.keep_alive(now, quiet=not traffic)
        if index != self.active or not self._probes(now):
            path.prober.rest()
        else:
            verdict = path.prober.check(now.mono, path.rtt.srtt)
            if verdict == Verdict.PROBE:
                path.reporter.probe(now)
            elif verdict == Verdict.DEAD:
                self._tell_silent(index, now)
        if path.unanswered():
            self._tell_silent(index, now)
        if self._probes_sizes(index, path):
            path.probe_sizes(now)

    def _probes_sizes(self, index: int, path: ClientPath) -> bool:
        return path.knows_where() and (index == self.active or not path.metered) and self._leave_by is None

    def _tell_silent(self, index: int, now: Now) -> None:
        """What was dead before may live again: without the active path, all others are asked at once."""
        path = self._paths[index]
        if path.silent:
            return
        path.silent = True
        path.keepalive.abandon()
        self._events.append(PathSilent(index))
        for other, known in self._paths.items():
            if index == self.active and other != index:
                known.reporter.moved(now)

    def _probes(self, now: Now) -> bool:
        """An early look is worth its datagrams while there is traffic to lose, and another path to go to."""
        return len(self._paths) > 1 and self._silence.traffic(now.mono)

    def _send_active(self, datagram: bytes) -> None:
        self._paths.outgoing.append((self.active, datagram))

    # -- Inside: reports

    def _authenticated(self, report: Ack | Nak | CrlPiece | Probed, datagram: bytes, held: GrantHeld, now: Now) -> bool:
        """True if it answers what we sent: a copy of an answer does not, nor what is pushed."""
        if report.common.boot_id not in (held.boot_id, held.candidate):
            self.counters["boot_id"] += 1
        elif report.common.grant != held.grant or not verify(datagram, held.down):
            self.counters["report_tag"] += 1
        elif isinstance(report, Ack):
            return self._ack(report, held, now)
        elif isinstance(report, Nak):
            return self._nak(report, held, now)
        elif isinstance(report, Probed):
            return self._probed(report, now)
        else:
            asked = self._reporter.answered(report.common.number)  # the active path has asked
            self._silence.answered(now.mono)
            der = self._crl.receive(report, now)
            if der is not None:
                self._events.append(CrlArrived(report.number, der))
            return asked is not None
        return False

    def _ack(self, ack: Ack, held: GrantHeld, now: Now) -> bool:
        index = ack.common.path
        path = self._paths.get(index)
        sent = None if path is None else path.reporter.answered(ack.common.number)
        if path is None or sent is None:
            self.counters["echo"] += 1
            return False
        if sent.kind == ReportKind.KNOCK:
            path.heard(now.mono)
            path.keepalive.knock_answered(now.mono)
            return True
        path.answered(now.mono - sent.at, now)
        path.size.answered(ack.common.number, 0, now.mono)
        self._events.append(PathAnswered(index))
        self._adopt(held, ack.common.boot_id, index, now)
        exchange = path.reporter.exchange
        leaving = exchange is not None and exchange.kind == ReportKind.BYE and sent.kind == ReportKind.BYE
        done = path.reporter.accept(ack, sent, now)
        if leaving:
            self._left()
            return True
        if done or any(ack.proof):
            self._seen_at(index, ack.observed, now)
        self._answered(now, index)
        self._told_crl(ack.crl_number, now)
        return True

    def _probed(self, probed: Probed, now: Now) -> bool:
        path = self._paths.get(probed.common.path)
        if path is None or not path.probed(probed, now):
            self.counters["echo"] += 1
            return False
        self._silence.answered(now.mono)
        return True

    def _nak(self, nak: Nak, held: GrantHeld, now: Now) -> bool:
        number = nak.common.number
        pushed = number == 0 and nak.reason in (NakReason.REVOKED, NakReason.SUPERSEDED)
        if nak.reason == NakReason.NO_PRIVATE_KEYS:
            asked = self._private.keys_lost(number, now)
            self.counters["nak_no_private_keys"] += asked
            return asked
        path = self._paths.get(nak.common.path)
        sent = None if pushed or path is None else path.reporter.answered(number)
        if sent is None and not pushed:
            self.counters["echo"] += 1
            return False
        self.counters[f"nak_{nak.reason.name.lower()}"] += 1
        self._silence.answered(now.mono)
        reporter = self._reporter if path is None else path.reporter
        if nak.reason == NakReason.SUPERSEDED:
            self._stop(SupersededEvent())
        elif nak.reason == NakReason.REVOKED:
            self._stop(Revoked())
        elif nak.reason == NakReason.SEQUENCE:
            held.sequence = max(held.sequence, min(nak.last, SEQUENCE_MAX))
            reporter.resend(now)
        elif nak.reason == NakReason.MOVE_LIMIT:
            reporter.postpone(_MOVE_LIMIT_WAIT, now)
        elif nak.reason == NakReason.GRANT:
            self._need_tls("grant_refused", now)
        elif nak.reason == NakReason.ATTACH_AGAIN:
            self._adopt(held, nak.common.boot_id, nak.common.path, now)
            reporter.finish()
            self._answered(now)
            if held.lifetime > ATTACH_AGAIN_BEFORE:  # else the certificate ends, and gives no longer grant
                self._need_tls("attach_again", now)
        return not pushed

    def _adopt(self, held: GrantHeld, boot_id: int, index: int, now: Now) -> None:
        """An answer under the keys, to our own packet by this path, carries this boot ID."""
        if boot_id != held.boot_id:
            held.boot_id, held.private_keys = boot_id, False
            held.candidate = None
            self._events.append(SwitchRestarted(boot_id))
            self._private.restarted(now)
            for other, path in self._paths.items():  # it knows but the one that has shown the ticket
                path.keepalive.abandon()
                if other != index:
                    path.reporter.moved(now)
        held.candidate = None

    def _seen_at(self, index: int, observed: Locator, now: Now) -> None:
        """The Switch sees this path there."""
        path = self._paths[index]
        if path.observed not in (None, observed):
            path.keepalive.rebound(now.mono)
        if index != self.active:
            path.observed = observed
            return
        gap = 0.0 if self._moved_at is None else now.mono - self._moved_at
        if self._moved_at is not None or (self.observed is not None and observed != self.observed):
            self._events.append(LocatorChanged(observed, gap))
        self._moved_at = None
        self._here.observed = observed
        self.history.add(observed, now.wall, gap)

    def _answered(self, now: Now, index: int | None = None) -> None:
        """The Switch has answered under the keys."""
        self._silence.answered(now.mono)
        path = self._here if index is None else self._paths[index]
        path.keepalive.renewed(now.mono)
        self._tell(self._reachability.answered(now.mono))

    def _tell(self, event: Reachable | Unreachable | None) -> None:
        if event is not None:
            self._events.append(event)

    def _told_crl(self, number: int, now: Now) -> None:
        if self._crl.told(number, now):
            self._events.append(CrlNumber(number))

    # -- Inside: TLS, the end

    def _need_tls(self, reason: str, now: Now) -> None:
        if self._tls is not None or self._stopped:
            return
        held = self._held
        mode, grant = (AttachMode.START, 0) if held is None else (AttachMode.CONTINUE, held.grant)
        request = Attach(mode, grant, self._instance, self._here.keepalive.seconds)
        self._tls = NeedTls(request, held is not None, reason)
        self._tls_again = now.mono + RECONNECT_BACKOFF_MAX
        self._events.append(self._tls)

    def _follow(self, now: Now) -> None:
        """What the parts have to say after anything happened."""
        for path in self._paths.values():
            if path.reporter.tls_reason is not None:
                reason, path.reporter.tls_reason = path.reporter.tls_reason, None
                self._need_tls(reason, now)
        if self.routes.changed:
            self.routes.changed = False
            self._events.append(RoutesChanged(self.routes.routes))

    def _left(self) -> None:
        self._stop(Left())

    def _stop(self, event: ClientEvent) -> None:
        if not self._stopped:
            self._stopped = True
            for path in self._paths.values():
                path.reporter.finish()
            self._tls = None
            self._events.append(event)
