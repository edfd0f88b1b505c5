"""All TLS conversations of one node or Switch. Sans-IO: bytes, `Now`, random in; datagrams, events, deadlines out.

The owner calls one of the verbs, then drains `events()` and `datagrams()` and arms one timer with `deadline()`. What
the verbs decide is elsewhere: `peer` (sessions), `attachment`, `attempt` (one handshake). Here, datagrams find their
attempt, and strangers are made to pay first: a cookie, then limits, then a TLS object.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.hashes import compare_digest
from ovng.ids import NodeID, site_of
from ovng.limits import STREAM_WINDOW
from ovng.pki.identity import Kind
from ovng.pki.trust import Trust
from ovng.session.admission import AttemptAdmission, UnknownDataAdmission
from ovng.session.agenda import Agenda
from ovng.session.attachment import ANY_SWITCH, AttachClient, AttachServer
from ovng.session.attempt import Attempt, Owner
from ovng.session.attempts import AttemptTable
from ovng.session.config import SessionConfig
from ovng.session.cookie import CookieJar
from ovng.session.environment import Environment
from ovng.session.events import AttemptRef, Event, SessionInfo
from ovng.session.peer import Peer
from ovng.wire.control import Cookie, Hello, Stream, parse_control
from ovng.wire.header import Header, PacketType
from ovng.wire.inner import Attach, CloseReason, Grant, Purpose

COOKIE_LABEL = b"ovng cookie"
_ASKER = struct.Struct(">QQ")  # source ID, attempt ID: what a cookie is for, with the context behind it


class SessionManager:
    """Sessions of a node with its peers and its attachment, or the Switch's endpoint. Not thread-safe."""

    def __init__(
        self,
        me: NodeID,
        kind: Kind,
        trust: Trust,
        random: Callable[[int], bytes],
        config: SessionConfig | None = None,
        traffic: Callable[[NodeID], int] | None = None,
    ) -> None:
        """`random(n)` gives n secret bytes. `traffic(peer)` = data packets so far, both ways: sessions without new
        traffic are not rekeyed until they have some; None = all have."""
        self._env = Environment(me, kind, trust, random, config or SessionConfig(), traffic)
        self._table = AttemptTable(self._env)
        self._cookies = CookieJar(random)
        self._admission, self._unknown_data = AttemptAdmission(), UnknownDataAdmission()
        self._peers: dict[NodeID, Peer] = {}
        self._mono: Agenda[NodeID] = Agenda()
        self._boot: Agenda[NodeID] = Agenda()
        self._attach_client = AttachClient(self._env, self._table)
        self._attach_server = AttachServer(self._env, self._table)
        self._now_boot = 0.0
        self._closed = False

    @property
    def counters(self) -> Counter[str]:
        """Drops and oddities by reason."""
        return self._env.counters

    @property
    def busy(self) -> bool:
        """Last words (CLOSE) wait for their acknowledgement."""
        return self._table.busy

    # -- From the network

    def receive(self, header: Header, payload: bytes, context: bytes, now: Now) -> None:
        """A CONTROL datagram for us (dst = our ID, or 0 at the Switch). Untrusted; what is wrong with it is counted.

        `context` is where it came from (packed locator) at the Switch, b"" at a node.
        """
        try:
            self._receive_untrusted(header, payload, context, now)
        except Malformed as error:
            self.counters[error.reason] += 1
        self._finish(now)

    def _receive_untrusted(self, header: Header, payload: bytes, context: bytes, now: Now) -> None:
        if header.type is not PacketType.CONTROL or header.key_id or header.flags or header.number:
            raise Malformed("control_header")
        if header.dst != self._env.me and not (header.dst == 0 and self._env.kind == "switch"):
            raise Malformed("not_for_me")
        if header.src == self._env.me:
            raise Malformed("from_me")
        match parse_control(payload):
            case Hello() as hello:
                self._give_cookie(header.src, hello.attempt, context, now)
            case Cookie() as answer:
                self._take_cookie(header.src, answer, now)
            case Stream(cookie=None) as stream:
                attempt = self._table.find(header.src, stream.attempt, initiator=True)
                if attempt is None:
                    raise Malformed("unknown_attempt")
                self._table.run(attempt, lambda: attempt.receive_stream(stream.part, now), now)
            case Stream() as stream:
                self._take_stream(header.src, stream, context, now)

    def _give_cookie(self, src: NodeID, attempt_id: int, context: bytes, now: Now) -> None:
        cookie = self._cookies.make(COOKIE_LABEL, _cookie_parts(src, attempt_id, context), now.boot)
        self._env.send(src, Cookie(attempt_id, cookie), context)

    def _take_cookie(self, src: NodeID, answer: Cookie, now: Now) -> None:
        attempt = self._table.find(src, answer.attempt, initiator=True)
        if attempt is None:
            attempt = self._table.find(ANY_SWITCH, answer.attempt, initiator=True)
            if attempt is None:
                raise Malformed("unknown_attempt")
            self._table.adopt(attempt, src)
        self._table.run(attempt, lambda: attempt.receive_cookie(answer.cookie, now), now)

    def _take_stream(self, src: NodeID, stream: Stream, context: bytes, now: Now) -> None:
        """A part from an initiator. One that shows no good cookie gets one, which is smaller than what it sent."""
        assert stream.cookie is not None
        attempt = self._table.find(src, stream.attempt, initiator=False)
        if attempt is None:
            attempt = self._begin_untrusted(src, stream, context, now)
        elif context != attempt.context or not compare_digest(stream.cookie, attempt.cookie):
            if not self._check_cookie(src, stream, context, now):
                return
            attempt.cookie, attempt.context = stream.cookie, context
        if attempt is not None:
            self._table.run(attempt, lambda: attempt.receive_stream(stream.part, now), now)

    def _begin_untrusted(self, src: NodeID, stream: Stream, context: bytes, now: Now) -> Attempt | None:
        part = stream.part
        if self._closed or self._table.is_over(src, stream.attempt, now):
            raise Malformed("attempt_over")
        if part.cumulative or part.selective or not 1 <= part.number <= STREAM_WINDOW:
            raise Malformed("unknown_attempt")  # the middle of something that we have never been part of
        if not self._check_cookie(src, stream, context, now):
            return None
        at_switch = self._env.kind == "switch"
        site = site_of(context) if at_switch else b""
        if not self._admission.admit(src, site, now.mono):
            raise Malformed("attempts_limit")
        if not self._table.make_room(site, now):
            raise Malformed("attempts_pending")
        assert stream.cookie is not None
        if not at_switch and not self._peer(src).accept(now):
            return None
        purpose = Purpose.ATTACHMENT if at_switch else Purpose.SESSION
        attempt = Attempt(self._env, src, stream.attempt, purpose, now, cookie=stream.cookie, context=context)
        owner: Owner
        if at_switch:
            owner = self._attach_server
            self._attach_server.accept(attempt, now)
        else:
            owner = peer = self._peer(src)
            peer.incoming = attempt
        self._table.add(attempt, owner, site)
        return attempt

    def _check_cookie(self, src: NodeID, stream: Stream, context: bytes, now: Now) -> bool:
        assert stream.cookie is not None
        parts = _cookie_parts(src, stream.attempt, context)
        if self._cookies.check(stream.cookie, COOKIE_LABEL, parts, now.boot):
            return True
        self.counters["cookie_not_good"] += 1
        self._give_cookie(src, stream.attempt, context, now)
        return False

    # -- From the owner

    def connect(self, peer: NodeID, now: Now) -> None:
        """A session with `peer` is wanted: start unless there is one, or a try under way or in backoff."""
        if not self._closed and peer != self._env.me:
            self._peer(peer).connect(now)
        self._finish(now)

    def attach(self, now: Now, request: Attach) -> None:
        """At a node: (again) ask the Switch at the locator in use for an attachment, until granted."""
        if not self._closed:
            self._attach_client.attach(request, now)
        self._finish(now)

    def grant(self, ref: AttemptRef, grant: Grant, now: Now) -> None:
        """At the Switch: answer `AttachRequested`. Unknown refs (the node went away) are ignored."""
        self._attach_server.grant(ref, grant, now)
        self._finish(now)

    def on_unknown_data(self, src: NodeID, now: Now) -> None:
        """DATA came from an ID without session: start one, once per 5 s and ID, 20 per second in all."""
        known = self._peers.get(src)
        has_session = known is not None and known.session is not None and known.session.has_keys
        if not self._closed and src not in (0, self._env.me) and not has_session:
            if self._unknown_data.admit(src, now.mono):
                self._peer(src).probe(now)
            else:
                self.counters["unknown_data_limit"] += 1
        self._finish(now)

    def on_first_receive(self, peer: NodeID, key_id: int, now: Now) -> None:
        """The first packet opened under this receive key."""
        if peer in self._peers:
            self._peer(peer).first_receive(key_id, now)
        self._finish(now)

    def on_limit(self, peer: NodeID, key_id: int, now: Now, *, hard: bool = False) -> None:
        """A limit of packets or blocks was reached under this key: rekey. `hard`: our sending key seals no more."""
        if peer in self._peers:
            self._peer(peer).limit(key_id, now, hard=hard)
        self._finish(now)

    def rekey_all(self, now: Now) -> None:
        """Rekey every session at once."""
        self._each_peer(lambda peer: peer.rekey(now), now)

    def ping(self, peer: NodeID, now: Now) -> bool:
        """Measure the RTT to `peer` inside TLS; False if there is no session. The result is in `sessions()`."""
        sent = peer in self._peers and self._peer(peer).ping(now)
        self._finish(now)
        return sent

    def set_reach(self, size: int, now: Now) -> None:
        """Datagrams of at most `size` bytes come to us in one piece from now on: peers are told."""
        if size != self._env.reach:
            self._env.reach = size
            self._each_peer(lambda peer: peer.pass_reach(now), now)

    def retry_now(self, now: Now) -> None:
        """The network is back: what waits in a backoff or for a retransmission goes out now."""
        self._table.hurry(now)
        self._attach_client.hurry(now)
        self._each_peer(lambda peer: peer.hurry(now), now)

    def end(self, peer: NodeID, reason: CloseReason, text: str, now: Now) -> None:
        """End the session with `peer` and tell it why (CLOSE); any try under way ends too."""
        if peer in self._peers:
            self._peer(peer).end(reason, text, now)
        self._finish(now)

    def shutdown(self, now: Now) -> None:
        """End everything. Send what `datagrams()` then holds; going on until not `busy` makes sure of CLOSE."""
        self._closed = True
        self._attach_client.stop(now)
        self._each_peer(lambda peer: peer.end(CloseReason.SHUTDOWN, "", now), now)

    def revocation_changed(self, now: Now) -> None:
        """`trust` holds a newer CRL: end sessions of revoked certificates and pass the list on."""
        self._attach_server.revocation_changed(now)
        self._each_peer(lambda peer: peer.revocation_changed(now), now)
        self._each_peer(lambda peer: peer.pass_crl(now), now)

    def replace_trust(self, trust: Trust, now: Now) -> None:
        """A new certificate of the same key (same ID) or CA: rekey everything under it. Raises ValueError."""
        if trust.identity.id != self._env.me:
            raise ValueError("the new certificate is that of another ID")
        trust.signed_date = max(trust.signed_date, self._env.trust.signed_date)
        self._env.trust = trust
        self._attach_client.restart(now)
        self._each_peer(lambda peer: peer.restart(now), now)
        self.revocation_changed(now)

    # -- Out

    def datagrams(self) -> list[tuple[bytes, bytes]]:
        """(datagram, context) to send, drained. A node sends them to its Switch; the Switch to `context`."""
        outbox, self._env.outbox = self._env.outbox, []
        return outbox

    def events(self) -> list[Event]:
        """What happened, drained."""
        events, self._env.events = self._env.events, []
        return events

    def deadline(self, now: Now) -> float | None:
        """When `handle_timer` must be called at the latest, on the monotonic clock."""
        boot = self._boot.next()
        times = (
            self._table.deadline(),
            self._mono.next(),
            self._attach_client.deadline(),
            None if boot is None else now.mono + boot - now.boot,
        )
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: Now) -> None:
        """Do what is due; harmless when nothing is."""
        self._table.handle_timer(now)
        self._attach_client.handle_timer(now)
        for peer_id in {**dict.fromkeys(self._mono.due(now.mono)), **dict.fromkeys(self._boot.due(now.boot))}:
            self._peer(peer_id).handle_timer(now)
        self._finish(now)

    def sessions(self, now: Now | None = None) -> list[SessionInfo]:
        """All sessions, for status; ages as of `now`, or of the last call of any other verb."""
        boot = self._now_boot if now is None else now.boot
        return [peer.session.info(boot) for peer in self._peers.values() if peer.session is not None]

    # -- Inside

    def _peer(self, peer_id: NodeID) -> Peer:
        """Its slots, made when they are not there; `_finish` forgets empty ones."""
        self._table.touched.add(peer_id)
        peer = self._peers.get(peer_id)
        if peer is None:
            peer = self._peers[peer_id] = Peer(self._env, self._table, peer_id)
        return peer

    def _each_peer(self, action: Callable[[Peer], None], now: Now) -> None:
        for peer_id in list(self._peers):
            action(self._peer(peer_id))
        self._finish(now)

    def _finish(self, now: Now) -> None:
        """After every verb: a CRL that came in takes effect, timers of the peers concerned are set anew."""
        self._now_boot = now.boot
        if self._env.crl_changed:
            self._env.crl_changed = False
            self.revocation_changed(now)
        while self._table.touched:
            peer = self._peers.get(self._table.touched.pop())
            if peer is None:
                continue
            if peer.is_empty(now):
                del self._peers[peer.id]
                mono = boot = None
            else:
                mono, boot = peer.deadline(now)
            self._mono.set(peer.id, mono)
            self._boot.set(peer.id, boot)


def _cookie_parts(src: NodeID, attempt_id: int, context: bytes) -> bytes:
    return _ASKER.pack(src, attempt_id) + context
