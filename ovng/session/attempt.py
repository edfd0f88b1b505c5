"""One handshake between two IDs, and the TLS conversation that it leaves behind (PROTOCOL 3 and 4).

    initiator                                     responder
    HELLO            ──────────────────────►      (keeps nothing)
                     ◄──────────────────────      COOKIE
    ClientHello      ── reliable stream ────►     TLS object made, cookie good
                     ◄──────────────────────      ServerHello … Finished
    certificate, Finished, READY ───────────►     identity checked
    identity checked ◄──────────────────────      READY
    PING (confirms)  ──────────────────────►      acknowledgement of its READY: settled

An attempt knows the other end's certificate before READY passes, and hands nothing up before. What session or
attachment comes of it is for its owner (`Owner`) to decide: the attempt says who is there and moves messages. After
READY the same object goes on as the session's channel for CLOSE, CRL and PING.

A lost attempt is not cut off: its last words (an alert, a CLOSE) stay in the stream until they are acknowledged or
a few seconds have passed (`linger`), without a TLS object.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ovng.clock import Now
from ovng.errors import IdentityError, Malformed
from ovng.fields import replace
from ovng.ids import NodeID
from ovng.limits import (
    ATTEMPT_DEADLINE,
    ATTEMPT_STALL,
    INNER_MESSAGE_MAX,
    RTO_INITIAL,
    RTO_JITTER,
    RTO_MAX,
    SIZE_BASE,
    STREAM_BUFFER,
)
from ovng.pki.identity import Identity, Kind
from ovng.session.admission import TokenBucket
from ovng.session.backoff import jittered
from ovng.session.environment import Environment
from ovng.session.keys import KeyContext, Secrets, agree_cipher
from ovng.session.reliable import ReliableStream
from ovng.session.tls import ChannelBroken, TlsChannel
from ovng.wire.control import Hello, Stream, StreamPart
from ovng.wire.inner import RANDOM_SIZE, Close, CloseReason, Crl, Inner, Ping, Pong, Purpose, Ready, parse_inner

LINGER_SECONDS = 5.0
PONG_BACKLOG = 8_192  # a peer that takes no answers gets none
BACKLOG_MAX = STREAM_BUFFER + 4 * INNER_MESSAGE_MAX
CRLS_BURST, CRLS_PER_SECOND = 3, 0.1  # each is put to the proof, which costs a handshake
COOKIE_CHANGE_INTERVAL = 1.0  # a forged COOKIE must not make us resend the window at will


class AttemptFailed(Exception):
    """This attempt is over. `reason` is a counter's name, `detail` for people.

    `close` is told to the peer, where TLS still works. `lasting`: another try will end the same.
    """

    def __init__(
        self, reason: str, detail: str = "", *, close: CloseReason | None = None, lasting: bool = False
    ) -> None:
        self.reason, self.detail, self.close, self.lasting = reason, detail, close, lasting
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Terms(NamedTuple):
    """What a READY proposes or answers: the session and generation, and the key ID under which we shall receive."""

    session_id: int
    generation: int
    key_id: int


class Owner(Protocol):
    """What an attempt belongs to."""

    def advance(self, attempt: Attempt, now: Now) -> None:
        """Something has arrived on `attempt`, or was acknowledged. May raise AttemptFailed."""

    def failed(self, attempt: Attempt, failure: AttemptFailed, now: Now) -> None:
        """`attempt` is over and forgotten."""


class Attempt:
    """See the module. Times are monotonic seconds."""

    def __init__(
        self,
        env: Environment,
        peer: NodeID,
        attempt_id: int,
        purpose: Purpose,
        now: Now,
        *,
        terms: Terms | None = None,
        cookie: bytes = b"",
        context: bytes = b"",
        patience: float = ATTEMPT_DEADLINE,
    ) -> None:
        """With `terms` (of our READY) we initiate; with a `cookie` we respond to the peer that has shown it."""
        self.peer, self.id, self.purpose = peer, attempt_id, purpose
        self.initiator = terms is not None
        self.terms = terms
        self.cookie, self.context = cookie, context
        self.started = now.mono
        self.identity: Identity | None = None
        self.told_reach = self.peer_reach = SIZE_BASE
        """What READY, or a later message, said of how large datagrams may be that reach us, and the peer."""
        self.my_ready: Ready | None = None
        self.peer_ready: Ready | None = None
        self.stream = ReliableStream(env.random)
        self.established = False
        """Set by the owner when this is a session's channel: from then on only a stall ends it."""
        self._env = env
        self._agreed: tuple[Secrets, int] | None = None
        self._channel = None if self.initiator else TlsChannel(env.trust.server_context(), server_side=True)
        self._ready_end: int | None = None  # stream offset behind our READY
        self._hello_due: float | None = now.mono if self.initiator else None
        self._hello_sent, self._hello_wait, self._hello_tries = 0.0, RTO_INITIAL, 0
        self._progress = now.mono
        self._cookie_changed = now.mono
        self._patience = patience
        self._crls = TokenBucket(CRLS_PER_SECOND, CRLS_BURST, now.mono)
        self._until: float | None = None  # of lingering
        self._until_acked = False

    # -- What has become of it

    @property
    def key(self) -> tuple[NodeID, int, bool]:
        """How datagrams find it."""
        return self.peer, self.id, self.initiator

    @property
    def channel(self) -> TlsChannel:
        """The TLS connection; only where there is one."""
        if self._channel is None:
            raise AttemptFailed("no_channel")
        return self._channel

    @property
    def lingering(self) -> bool:
        """Only last words are being delivered."""
        return self._until is not None

    def alive(self, now: Now) -> bool:
        """Something was acknowledged within the last 10 s, or it is younger than that."""
        return now.mono < self.alive_until

    @property
    def alive_until(self) -> float:
        return self.progress_at + ATTEMPT_STALL

    @property
    def progress_at(self) -> float:
        """When it began, got its cookie, or was acknowledged last."""
        return max(self._progress, self.stream.progress_at or self._progress)

    @property
    def ready_acked(self) -> bool:
        """The peer has our READY."""
        return self._ready_end is not None and self.stream.acked >= self._ready_end

    # -- Datagrams in

    def receive_cookie(self, cookie: bytes, now: Now) -> None:
        """The responder's cookie, first or renewed (our locator or its secret has changed). Raises AttemptFailed."""
        if self._hello_due is None:
            if cookie != self.cookie and now.mono >= self._cookie_changed + COOKIE_CHANGE_INTERVAL:
                self.cookie, self._cookie_changed = cookie, now.mono
                self.stream.send_soon(now.mono)
            return
        if self._hello_tries == 1:
            self.stream.rtt.sample(now.mono - self._hello_sent)
        self.cookie, self._hello_due, self._progress = cookie, None, now.mono
        self._patience = ATTEMPT_DEADLINE
        self._channel = TlsChannel(self._env.trust.client_context(), server_side=False)
        try:
            self._channel.start()
        except ChannelBroken as broken:
            raise _failure(broken) from None

    def receive_stream(self, part: StreamPart, now: Now) -> None:
        """A piece or acknowledgement of the stream. Raises Malformed (without effect) and AttemptFailed."""
        self.stream.receive(part, now.mono)
        data = self.stream.read()
        if self._channel is None or not data:
            return
        try:
            self._channel.feed(data)
        except ChannelBroken as broken:
            raise _failure(broken) from None
        self._prove(now)
        self._check_backlog()

    # -- Messages

    def messages(self) -> list[Inner]:
        """What has arrived inside TLS, drained; READY comes first and is checked here. Raises AttemptFailed."""
        if self._channel is None:
            return []
        found: list[Inner] = []
        for kind, body in self._channel.messages():
            try:
                message = parse_inner(kind, body)
            except Malformed as error:
                raise AttemptFailed(error.reason, close=CloseReason.PROTOCOL_ERROR) from None
            if message is None:
                self._env.counters["inner_unknown"] += 1
                continue
            if isinstance(message, Ready):
                self._take_ready(message)
            elif self.peer_ready is None and not isinstance(message, Close):
                raise AttemptFailed("not_ready", close=CloseReason.PROTOCOL_ERROR)
            found.append(message)
        return found

    def send(self, message: Inner) -> None:
        """Put a message into the stream. Raises AttemptFailed."""
        try:
            self.channel.send(message.pack())
        except ChannelBroken as broken:
            raise _failure(broken) from None
        self._collect()
        self._check_backlog()

    def answer_ping(self, ping: Ping) -> None:
        """PONG, unless the peer does not take its answers. Raises AttemptFailed."""
        if self.stream.backlog < PONG_BACKLOG:
            self.send(Pong(ping.token))
        else:
            self._env.counters["ping_dropped"] += 1

    def take_crl(self, crl: Crl, now: Now) -> bool:
        """A CRL that the peer passes on; it may do so now and then. True if it was news, and is held now."""
        if self._crls.take(now.mono):
            return self._env.take_crl(crl.der)
        self._env.counters["crl_too_often"] += 1
        return False

    def send_ready(self, terms: Terms) -> None:
        """Our READY: the initiator's goes by itself, the responder's owner calls this. Raises AttemptFailed."""
        config, trust = self._env.config, self._env.trust
        self.terms = terms
        self.my_ready = Ready(
            purpose=self.purpose,
            sender=self._env.me,
            receiver=self.peer,
            session_id=terms.session_id,
            generation=terms.generation,
            key_id=terms.key_id,
            ciphers=config.cipher_mask,
            random=self._env.random(RANDOM_SIZE),
            crl_number=trust.crl_number,
            preferred=config.ciphers[0],
            wish=config.wish,
            reach=self._env.reach,
        )
        self.told_reach = self._env.reach
        self.send(self.my_ready)
        self._ready_end = self.stream.written

    def agreement(self) -> tuple[Secrets, int]:
        """Secrets and cipher, once both READYs are here. Raises AttemptFailed when no cipher suits both."""
        if self._agreed is not None:
            return self._agreed
        mine, theirs = self.my_ready, self.peer_ready
        assert mine is not None and theirs is not None
        client, server = (mine, theirs) if self.initiator else (theirs, mine)
        cipher = agree_cipher(client.ciphers, client.preferred, server.ciphers, server.preferred)
        if cipher is None:
            raise AttemptFailed("no_common_cipher", close=CloseReason.PROTOCOL_ERROR, lasting=True)
        context = KeyContext(client.sender, server.sender, server.session_id, server.generation, self.purpose)
        self._agreed = Secrets.of(client.random, server.random, context), cipher
        return self._agreed

    def forget_secrets(self) -> None:
        """Keys are derived: what would give them again is not kept beside the channel."""
        self._agreed = None
        if self.my_ready is not None:
            self.my_ready = replace(self.my_ready, random=b"")
        if self.peer_ready is not None:
            self.peer_ready = replace(self.peer_ready, random=b"")

    # -- Datagrams out, time

    def flush(self, now: Now) -> None:
        """Send what is due."""
        if self._hello_due is not None:
            if self._hello_due <= now.mono:
                self._send_hello(now.mono)
            return
        self._collect()
        for part in self.stream.parts_to_send(now.mono):
            message = Stream(self.id, part, self.cookie if self.initiator else None)
            self._env.send(self.peer, message, self.context)

    def deadline(self) -> float | None:
        """When `flush` or `expired` has something to say."""
        sending = self._hello_due if self._hello_due is not None else self.stream.deadline()
        return min((time for time in (sending, self._ends) if time is not None), default=None)

    def expired(self, now: Now) -> bool:
        """Its time is up, or its last words have arrived."""
        if self._until_acked and self.stream.all_acked:
            return True
        return self._ends is not None and now.mono >= self._ends

    def hurry(self, now: Now) -> None:
        """The network is back: do not wait for timers."""
        if self._hello_due is not None:
            self._hello_due, self._hello_wait = now.mono, RTO_INITIAL
        self.stream.send_soon(now.mono)

    def linger(self, now: Now, seconds: float = LINGER_SECONDS, *, until_acked: bool = True) -> None:
        """Keep the stream for a while, without TLS: deliver last words, acknowledge repeated ones."""
        self._collect()
        self._channel = None
        self.forget_secrets()
        self._until, self._until_acked = now.mono + seconds, until_acked
        if self._hello_due is not None:
            self._hello_due, self._until = None, now.mono

    # -- Inside

    @property
    def _ends(self) -> float | None:
        if self._until is not None:
            return self._until
        if not self.established:
            return self.started + self._patience
        waiting = self.stream.waiting_since
        return None if waiting is None else waiting + ATTEMPT_DEADLINE

    def _send_hello(self, now: float) -> None:
        self._env.send(self.peer, Hello(self.id), self.context)
        if self._hello_tries:
            self._hello_wait = min(self._hello_wait * 2, RTO_MAX)
        self._hello_tries += 1
        self._hello_sent = now
        self._hello_due = now + jittered(self._hello_wait, RTO_JITTER, self._env.random)

    def _collect(self) -> None:
        if self._channel is not None:
            self.stream.write(self._channel.take())

    def _check_backlog(self) -> None:
        if self.stream.backlog > BACKLOG_MAX:
            raise AttemptFailed("backlog")

    def _prove(self, now: Now) -> None:
        """As soon as TLS is done: who is there? The initiator then sends its READY."""
        if self._channel is None or not self._channel.handshake_done or self.identity is not None:
            return
        wanted: Kind = "switch" if self.initiator and self.purpose is Purpose.ATTACHMENT else "node"
        try:
            self.identity = self._env.trust.check_peer(self._channel.sslobj, self.peer, wanted, now.wall)
        except IdentityError as error:
            told = CloseReason.REVOKED if error.reason == "revoked" else CloseReason.UNKNOWN_IDENTITY
            raise AttemptFailed(error.reason, error.detail, close=told, lasting=True) from None
        if self.initiator:
            assert self.terms is not None
            self.send_ready(self.terms)

    def _take_ready(self, ready: Ready) -> None:
        wrong = None
        if self.peer_ready is not None:
            wrong = "ready_twice"
        elif ready.purpose is not self.purpose:
            wrong = "ready_purpose"
        elif (ready.sender, ready.receiver) != (self.peer, self._env.me):
            wrong = "ready_ids"
        elif self.initiator and not self._answers_our_terms(ready):
            wrong = "ready_terms"
        if wrong is not None:
            raise AttemptFailed(wrong, close=CloseReason.PROTOCOL_ERROR)
        self.peer_ready, self.peer_reach = ready, ready.reach

    def _answers_our_terms(self, ready: Ready) -> bool:
        """The server takes the session and generation we named, or says that this is a new session."""
        assert self.terms is not None
        return (ready.session_id, ready.generation) in (self.terms[:2], (self.id, 0))


def _failure(broken: ChannelBroken) -> AttemptFailed:
    close = CloseReason.PROTOCOL_ERROR if broken.misuse else None
    return AttemptFailed(broken.reason, broken.detail, close=close, lasting=broken.lasting)
