"""Everything between this node and one other: the session, and the handshakes that make or renew it.

Slots
-----
* `session`: what is up; its current generation sends.
* `own`: an attempt that we started. `incoming`: one that the peer started. At most one each.
* `candidate`: the generation of an incoming attempt after our READY, receiving already, not sending yet.

Rules (PROTOCOL 4)
------------------
* Both started: the lower ID's attempt wins while it is alive; the higher drops its own and answers.
* A rekey is an attempt that names session and generation; a peer that does not know them makes a new session of it.
* Whatever settles last is the session; what it replaces goes on receiving for 60 s. Those begin, at the client, when
  the server is known to have settled too (PONG, or a packet under the new keys): were the link to fail in between, each
  end would otherwise seal under keys that the other has forgotten.
* Silence ends nothing. Handshakes that fail are tried again after a backoff as long as the session has keys; without,
  until 60 s are over, and again when somebody has packets. `ConnectFailed` says so where there is no session.
"""

from __future__ import annotations

from ovng.clock import Now
from ovng.hashes import compare_digest
from ovng.ids import NodeID
from ovng.limits import (
    ATTEMPT_DEADLINE,
    ATTEMPT_STALL,
    GENERATION_MAX,
    INNER_MESSAGE_MAX,
    OLD_KEY_RECEIVES,
    RECONNECT_BACKOFF_MAX,
    RECONNECT_BACKOFF_MIN,
)
from ovng.session.attempt import LINGER_SECONDS, Attempt, AttemptFailed, Terms
from ovng.session.attempts import AttemptTable
from ovng.session.backoff import Backoff
from ovng.session.environment import Environment
from ovng.session.events import (
    ConnectFailed,
    ReachTold,
    RetireReceive,
    RetireSend,
    SessionDown,
    SessionUp,
)
from ovng.session.generation import IDLE_CHECK, Generation, Session, key_ages
from ovng.session.receivekeys import ReceiveKeys
from ovng.wire.inner import Attach, Close, CloseReason, Crl, Grant, Inner, Ping, Pong, Purpose, Reach, Ready


class Peer:
    """See the module. Methods may raise nothing but what `Owner` says."""

    def __init__(self, env: Environment, table: AttemptTable, peer: NodeID) -> None:
        self.id = peer
        self.session: Session | None = None
        self.own: Attempt | None = None
        self.incoming: Attempt | None = None
        self._env, self._table = env, table
        self._candidate: Generation | None = None
        self._keys = ReceiveKeys(env.random)
        self._backoff = Backoff(RECONNECT_BACKOFF_MIN, RECONNECT_BACKOFF_MAX, env.random)
        self._not_before = 0.0  # monotonic: end of the backoff
        self._wanted_since: float | None = None  # monotonic; None = no attempt is wanted
        self._probing = False  # wanted only because of data from an ID without session

    # -- Wishes

    def connect(self, now: Now) -> None:
        """Somebody has packets for this peer."""
        if self.session is None or not self.session.has_keys:
            self._probing = False
            self._want(now)

    def probe(self, now: Now) -> None:
        """The peer believes in a session that we do not have (any more)."""
        if (self.session is None or not self.session.has_keys) and self._wanted_since is None:
            self._probing = True
            self._want(now)

    def rekey(self, now: Now) -> None:
        """Replace the keys now."""
        if self.session is not None:
            self.session.rekey_at = min(self.session.rekey_at, now.boot)
            self._want(now)

    def restart(self, now: Now) -> None:
        """Our certificate has changed: attempts that show the old one begin again, the session is rekeyed."""
        wanted = self._wanted_since is not None
        self._drop_own(now)
        self._drop_incoming(now)
        self._not_before = now.mono
        if wanted:
            self._try_start(now)
        self.rekey(now)

    def hurry(self, now: Now) -> None:
        """The network is back: no backoff."""
        self._backoff.reset()
        self._not_before = now.mono
        self._try_start(now)

    def accept(self, now: Now) -> bool:
        """May the peer's new attempt, whose cookie was good, have the incoming slot? It is empty afterwards, then."""
        if self.own is not None and self.own.alive(now) and self._env.me < self.id:
            self._env.counters["simultaneous_ignored"] += 1
            return False
        if self.own is not None:
            self._env.counters["simultaneous_yielded"] += 1
            self._drop_own(now)
        self._drop_incoming(now)
        return True

    def ping(self, now: Now) -> bool:
        """Measure the round trip inside TLS."""
        session = self.session
        if session is None or session.channel is None:
            return False
        session.ping_token, session.ping_sent = self._env.new_id(), now.mono
        return self._tell(session.channel, Ping(session.ping_token), now)

    def pass_crl(self, now: Now) -> None:
        """Give the peer our CRL if it has an older one."""
        session, trust = self.session, self._env.trust
        if session is None or session.channel is None or session.peer_crl >= trust.crl_number:
            return
        der = trust.crl_der
        if der is not None and len(der) <= INNER_MESSAGE_MAX:
            session.peer_crl = trust.crl_number
            self._tell(session.channel, Crl(der), now)

    def pass_reach(self, now: Now) -> None:
        """Tell the peer how large datagrams may be that reach us, if it was told otherwise."""
        channel, reach = None if self.session is None else self.session.channel, self._env.reach
        if channel is not None and channel.told_reach != reach:
            channel.told_reach = reach
            self._tell(channel, Reach(reach), now)

    def end(self, reason: CloseReason, text: str, now: Now) -> None:
        """End the session and any attempt, telling the peer why."""
        self._drop_own(now)
        self._drop_incoming(now)
        self._wanted_since = None
        session = self.session
        if session is not None:
            if session.channel is not None:
                self._tell(session.channel, Close(reason, text), now)
            self._end_session(reason.name.lower(), text, now)

    def revocation_changed(self, now: Now) -> None:
        """Nobody whose certificate is revoked keeps a session or comes to one."""
        for attempt in (self.own, self.incoming):
            if attempt is not None and attempt.identity and self._env.trust.is_revoked(attempt.identity.serial):
                self._table.fail(attempt, AttemptFailed("revoked", close=CloseReason.REVOKED, lasting=True), now)
        if self.session is not None and self._env.trust.is_revoked(self.session.identity.serial):
            self.end(CloseReason.REVOKED, "this certificate is revoked", now)

    # -- What the data path saw

    def first_receive(self, key_id: int, now: Now) -> None:
        """A packet opened under this key: the peer has it."""
        if self._candidate is not None and key_id == self._candidate.receive_id:
            self._settle(self._candidate, now)
        if self.session is not None and key_id == self.session.generation.receive_id:
            self._confirmed(now)

    def limit(self, key_id: int, now: Now, *, hard: bool) -> None:
        """A key of the current generation is worn, or (`hard`, the sending one) worn out."""
        if self.session is not None:
            generation = self.session.generation
            if hard and key_id == generation.send_id:
                self._retire_send(self.session)
            if key_id in (generation.receive_id, generation.send_id):
                self.rekey(now)

    # -- Owner of attempts

    def advance(self, attempt: Attempt, now: Now) -> None:
        """See `Owner`."""
        if attempt is self.incoming and self._candidate is not None and attempt.ready_acked:
            self._settle(self._candidate, now)
        for message in attempt.messages():
            self._take(attempt, message, now)
            if attempt.lingering:
                break

    def failed(self, attempt: Attempt, failure: AttemptFailed, now: Now) -> None:
        """See `Owner`."""
        if self.session is not None and attempt is self.session.channel:
            self.session.channel = None
            if failure.close is not None:
                self._end_session(failure.reason, failure.detail, now)
            else:
                self._env.counters["channel_lost"] += 1
                self._not_before = now.mono + self._backoff.next()
                self.rekey(now)
        elif attempt is self.incoming:
            self.incoming = None
            if self.session is None or failure.reason != "timeout":
                self._drop_candidate()  # else the client may have settled, and be cut off for now
            self._try_start(now)
        elif attempt is self.own:
            self._own_failed(attempt, failure, now)

    # -- Time

    def deadline(self, now: Now) -> tuple[float | None, float | None]:
        """When `handle_timer` has something to do, on (the monotonic, the boot) clock."""
        mono = None
        if self._wanted_since is not None and self.own is None:
            mono = max(self._not_before, self.incoming.alive_until if self.incoming else 0.0)
        elif self._not_before > now.mono:
            mono = self._not_before  # only to be forgotten
        boot = self._keys.next()
        if self.session is not None and self.session.has_keys:
            ends = self.session.dies_at
            if self._wanted_since is None:
                ends = min(ends, self.session.rekey_at)
            boot = ends if boot is None else min(boot, ends)
        return mono, boot

    def handle_timer(self, now: Now) -> None:
        """What is due."""
        for key_id in self._keys.due(now.boot):
            self._env.emit(RetireReceive(self.id, key_id))
        session = self.session
        if session is not None and session.has_keys:
            if now.boot >= session.rekey_at and self._wanted_since is None:
                if self._in_use(session):
                    self._want(now)
                else:
                    session.rekey_at = now.boot + min(IDLE_CHECK, self._env.config.rekey_seconds)
            if now.boot >= session.dies_at:
                self._keys_die(session, now)
        self._try_start(now)

    def is_empty(self, now: Now) -> bool:
        """Nothing is lost if it is forgotten."""
        busy = self.session or self.own or self.incoming or self._keys.installed or self._wanted_since is not None
        return not busy and now.mono >= self._not_before

    # -- Attempts of our own

    def _want(self, now: Now) -> None:
        if self._wanted_since is None:
            self._wanted_since = max(now.mono, self._not_before)
        self._try_start(now)

    def _try_start(self, now: Now) -> None:
        """Start if one is wanted and nothing stands against it: an attempt under way, a backoff."""
        if self._wanted_since is None or self.own is not None or now.mono < self._not_before:
            return
        if self.incoming is not None and self.incoming.alive(now):
            return
        key_id = self._keys.reserve()
        attempt_id = self._env.new_id()
        session = self.session
        if session is not None and session.generation.number < GENERATION_MAX:
            terms = Terms(session.id, session.generation.number + 1, key_id)
        else:
            terms = Terms(attempt_id, 0, key_id)
        patience = ATTEMPT_STALL if self._probing else ATTEMPT_DEADLINE
        self.own = Attempt(self._env, self.id, attempt_id, Purpose.SESSION, now, terms=terms, patience=patience)
        self._table.add(self.own, self)
        self._table.flush(self.own, now)

    def _own_failed(self, attempt: Attempt, failure: AttemptFailed, now: Now) -> None:
        self.own = None
        self._release(attempt)
        self._not_before = now.mono + self._backoff.next()
        if self._wanted_since is None or (self.session is not None and self.session.has_keys):
            return
        if failure.lasting or now.mono >= self._wanted_since + ATTEMPT_DEADLINE or self._probing:
            self._wanted_since = None
            if not self._probing and self.session is None:
                self._env.emit(ConnectFailed(self.id, failure.reason, failure.detail))

    def _drop_own(self, now: Now) -> None:
        if self.own is not None:
            self._table.forget(self.own, now)
            self._release(self.own)
            self.own = None

    def _release(self, attempt: Attempt) -> None:
        if attempt.terms is not None:
            self._keys.release(attempt.terms.key_id)

    # -- Attempts of the peer

    def _drop_incoming(self, now: Now) -> None:
        if self.incoming is not None:
            self._table.forget(self.incoming, now)
            self.incoming = None
        self._drop_candidate()

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            self._remove_key(self._candidate.receive_id)
            self._candidate = None

    def _answer(self, attempt: Attempt, ready: Ready, now: Now) -> None:
        """The client's READY is here: ours decides on session and generation."""
        key_id = self._keys.reserve()
        session = self.session
        if session is not None and ready.session_id == session.id and ready.generation > session.generation.number:
            terms = Terms(session.id, ready.generation, key_id)
        else:
            terms = Terms(attempt.id, 0, key_id)
        try:
            attempt.send_ready(terms)
            candidate = Generation.of(attempt, now.mono)
        except AttemptFailed:
            self._keys.release(key_id)
            raise
        self._table.settle(attempt)
        self._install(candidate)
        self._candidate = candidate

    # -- Messages

    def _take(self, attempt: Attempt, message: Inner, now: Now) -> None:
        match message:
            case Ready() if attempt.initiator:
                generation = Generation.of(attempt, now.mono)
                self._install(generation)
                self._settle(generation, now)
                self.ping(now)
            case Ready():
                self._answer(attempt, message, now)
            case Close():
                self._closed(attempt, message, now)
            case Crl():
                if attempt.take_crl(message, now) and self.session is not None:
                    self.session.peer_crl = self._env.trust.crl_number
            case Ping():
                attempt.answer_ping(message)
            case Pong():
                self._take_pong(attempt, message, now)
            case Reach(size):
                attempt.peer_reach = size
                if self.session is not None and attempt is self.session.channel:
                    self._env.emit(ReachTold(self.id, size))
            case Attach() | Grant():
                raise AttemptFailed("not_an_attachment", close=CloseReason.PROTOCOL_ERROR)

    def _closed(self, attempt: Attempt, message: Close, now: Now) -> None:
        reason = f"peer_{message.reason.name.lower()}"
        if self.session is not None and attempt is self.session.channel:
            self._end_session(reason, message.text, now)
        else:
            raise AttemptFailed(reason, message.text, lasting=True)

    def _take_pong(self, attempt: Attempt, message: Pong, now: Now) -> None:
        session = self.session
        if session is None or attempt is not session.channel or session.ping_token is None:
            return
        token, expected = message.token.to_bytes(8, "big"), session.ping_token.to_bytes(8, "big")
        if compare_digest(token, expected):
            session.ping_rtt, session.ping_token = now.mono - session.ping_sent, None
            self._confirmed(now)

    def _tell(self, channel: Attempt, message: Inner, now: Now) -> bool:
        try:
            channel.send(message)
        except AttemptFailed as failure:
            self._table.fail(channel, failure, now)
            return False
        self._table.flush(channel, now)
        return True

    # -- The session

    def _settle(self, generation: Generation, now: Now) -> None:
        """Both ends hold this generation (at the client: the server does): it is what sends from now on."""
        env, attempt, old = self._env, generation.attempt, self.session
        channel = self._take_channel(attempt, now)
        if old is not None:
            until = old.dies_at if attempt.initiator else now.boot + OLD_KEY_RECEIVES
            self._keys.retire(old.generation.receive_id, until)
            if old.channel is not None:
                self._table.forget(old.channel, now)
        rekey_at, dies_at = key_ages(now.boot, env.config.rekey_seconds, env.random)
        self.session = Session(
            generation=generation,
            channel=channel,
            created=old.created if old is not None and old.id == generation.session_id else now.boot,
            keyed=now.boot,
            rekey_at=rekey_at,
            dies_at=dies_at,
            traffic_mark=env.traffic(self.id) if env.traffic else None,
            peer_crl=generation.peer_crl,
        )
        self._wanted_since, self._not_before, self._probing = None, 0.0, False
        self._backoff.reset()
        env.emit(
            SessionUp(
                peer=self.id,
                session_id=generation.session_id,
                generation=generation.number,
                identity=generation.identity,
                cipher=generation.cipher,
                group=generation.group,
                initiator=attempt.initiator,
                handshake_seconds=generation.handshake_seconds,
            )
        )
        env.emit(ReachTold(self.id, attempt.peer_reach))
        env.emit(generation.install_send())
        self.pass_crl(now)
        self.pass_reach(now)
        if channel is None:
            self.rekey(now)

    def _in_use(self, session: Session) -> bool:
        """There was traffic since its keys were made, as far as we are told."""
        return self._env.traffic is None or self._env.traffic(self.id) != session.traffic_mark

    def _take_channel(self, attempt: Attempt, now: Now) -> Attempt | None:
        """Empty the slots: `attempt` goes on as the session's channel unless it timed out after its READY."""
        channel = None
        if attempt is self.own:
            channel, self.own = attempt, None
        elif attempt is self.incoming:
            channel, self.incoming = attempt, None
            self._candidate = None
        else:
            self._candidate = None
        self._drop_own(now)
        self._drop_incoming(now)
        if channel is not None:
            channel.established = True
        return channel

    def _confirmed(self, now: Now) -> None:
        """The peer seals and opens under the current generation: older ones need not receive for long."""
        self._keys.hasten(now.boot + OLD_KEY_RECEIVES)

    def _keys_die(self, session: Session, now: Now) -> None:
        """They are as old as keys may get. The session stays, and is rekeyed when somebody has packets again."""
        session.has_keys = False
        self._wanted_since = None  # an attempt under way goes on
        self._remove_key(session.generation.receive_id)
        self._retire_send(session)
        self._env.counters["keys_died"] += 1
        if session.channel is not None:
            self._table.forget(session.channel, now)
            session.channel = None

    def _retire_send(self, session: Session) -> None:
        """Traffic waits, from now on."""
        if session.sends:
            session.sends = False
            self._env.emit(RetireSend(self.id))

    def _end_session(self, reason: str, text: str, now: Now) -> None:
        session, self.session = self.session, None
        if session is None:
            return
        if session.channel is not None:
            self._table.dismiss(session.channel, now, seconds=LINGER_SECONDS)
        self._drop_own(now)
        self._drop_incoming(now)
        self._wanted_since = None
        for key_id in self._keys.installed:
            self._remove_key(key_id)
        self._retire_send(session)
        self._env.emit(SessionDown(self.id, reason, text))

    def _install(self, generation: Generation) -> None:
        """Open packets under it, from now on. Old generations that must make room are the ones nearest their end."""
        for key_id in self._keys.install(generation.receive_id):
            self._env.emit(RetireReceive(self.id, key_id))
        self._env.emit(generation.install_receive())

    def _remove_key(self, key_id: int) -> None:
        if self._keys.remove(key_id):
            self._env.emit(RetireReceive(self.id, key_id))
