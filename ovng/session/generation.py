"""The life of a session: generations of keys that follow each other, each with its ages (PROTOCOL 4).

A generation is a candidate until both ends are known to hold it, then the session's current one. It is replaced after
the rekey time, and dies at three times that, whatever happens. Ages count on the boot clock: sleep wears keys too.
"""

from __future__ import annotations

from ovng.fields import Fields
from ovng.limits import KEY_MAX_AGE_FACTOR, REKEY_JITTER
from ovng.pki.identity import Identity
from ovng.session.attempt import Attempt
from ovng.session.backoff import Random, fraction
from ovng.session.events import InstallReceive, InstallSend, SessionInfo
from ovng.session.keys import DataKey
from ovng.wire.inner import Doubling

IDLE_CHECK = 30.0  # how often an idle session whose rekey is due looks for traffic


class Generation(Fields):
    """What one handshake yields: keys both ways, and who was there. A key is handed over once, and not kept."""

    session_id: int
    number: int
    cipher: int
    receive_id: int
    send_id: int
    receive: DataKey | None
    send: DataKey | None
    attempt: Attempt
    identity: Identity
    group: str
    tls_cipher: str
    peer_crl: int
    wish: Doubling
    """What the peer wants to be sent doubled."""
    handshake_seconds: float

    @classmethod
    def of(cls, attempt: Attempt, now_mono: float) -> Generation:
        """From an attempt in which both READYs have passed. Raises AttemptFailed when no cipher suits both."""
        secrets, cipher = attempt.agreement()
        mine, theirs, identity = attempt.my_ready, attempt.peer_ready, attempt.identity
        assert mine is not None and theirs is not None and identity is not None
        decided = theirs if attempt.initiator else mine  # the server's READY holds
        attempt.forget_secrets()
        return cls(
            decided.session_id,
            decided.generation,
            cipher,
            mine.key_id,
            theirs.key_id,
            receive=secrets.data(from_client=not attempt.initiator),
            send=secrets.data(from_client=attempt.initiator),
            attempt=attempt,
            identity=identity,
            group=attempt.channel.group,
            tls_cipher=attempt.channel.cipher,
            peer_crl=theirs.crl_number,
            wish=theirs.wish,
            handshake_seconds=now_mono - attempt.started,
        )

    def install_receive(self) -> InstallReceive:
        """Once."""
        assert self.receive is not None
        held, self.receive = self.receive, None
        return InstallReceive(self.identity.id, self.receive_id, self.cipher, held.key, held.iv, self.identity)

    def install_send(self) -> InstallSend:
        """Once."""
        assert self.send is not None
        held, self.send = self.send, None
        return InstallSend(self.identity.id, self.send_id, self.cipher, held.key, held.iv, self.wish)


class Session(Fields):
    """A session that is up. Ages count on the boot clock, round trips on the monotonic one."""

    generation: Generation
    channel: Attempt | None
    """TLS with the peer, for CLOSE, CRL and PING; None after it broke, until the next generation."""
    created: float
    keyed: float
    rekey_at: float
    dies_at: float
    traffic_mark: int | None
    """Packets counted when rekeying was considered last."""
    peer_crl: int
    has_keys: bool = True
    sends: bool = True
    """False once the sending key is worn out or too old."""
    ping_token: int | None = None
    ping_sent: float = 0.0
    ping_rtt: float | None = None

    @property
    def id(self) -> int:
        return self.generation.session_id

    @property
    def identity(self) -> Identity:
        return self.generation.identity

    def info(self, now_boot: float) -> SessionInfo:
        """For status."""
        generation = self.generation
        return SessionInfo(
            peer=generation.identity.id,
            session_id=generation.session_id,
            generation=generation.number,
            age=now_boot - self.created,
            key_age=now_boot - self.keyed,
            cipher=generation.cipher,
            tls_cipher=generation.tls_cipher,
            group=generation.group,
            initiator=generation.attempt.initiator,
            handshake_seconds=generation.handshake_seconds,
            srtt=generation.attempt.stream.srtt,
            ping_rtt=self.ping_rtt,
            has_keys=self.has_keys,
            identity=generation.identity,
        )


def key_ages(now_boot: float, rekey_seconds: float, random: Random) -> tuple[float, float]:
    """(when to rekey, when to die) for keys installed now."""
    rekey = rekey_seconds * (1 - REKEY_JITTER * fraction(random))
    return now_boot + rekey, now_boot + KEY_MAX_AGE_FACTOR * rekey_seconds
