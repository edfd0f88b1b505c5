"""Attachment by TLS: a node asks the Switch for a grant, once at start and once a day (PROTOCOL 3, 4).

    node: … READY, ATTACH ──────────►   Switch: identity checked, asks its owner (AttachRequested)
                          ◄──────────   READY, GRANT
    Attached                            acknowledged: AttachSettled, and the TLS object is gone

The node does not know the Switch's ID before it answers, only its locator: the first datagrams go to ID 0, and whoever
answers must prove the ID it answers with by a switch certificate. The handshake is the one of sessions, with another
purpose in READY; what it yields are the two masters instead of data keys.
"""

from __future__ import annotations

from ovng.clock import Now
from ovng.ids import NodeID
from ovng.limits import ATTEMPT_DEADLINE, INNER_MESSAGE_MAX, RECONNECT_BACKOFF_MAX, RECONNECT_BACKOFF_MIN
from ovng.session.attempt import Attempt, AttemptFailed, Terms
from ovng.session.attempts import AttemptTable
from ovng.session.backoff import Backoff
from ovng.session.environment import Environment
from ovng.session.events import Attached, AttachFailed, AttachRequested, AttachSettled, AttemptRef
from ovng.session.tls import REVOKED_ALERT
from ovng.wire.inner import (
    Attach,
    Close,
    CloseReason,
    Crl,
    Grant,
    GrantStatus,
    Inner,
    Ping,
    Pong,
    Purpose,
    Reach,
    Ready,
)

ANY_SWITCH = NodeID(0)


def _send_newer_crl(env: Environment, attempt: Attempt) -> None:
    """Neither end may keep a revocation from the other."""
    der = env.trust.crl_der
    assert attempt.peer_crl is not None
    if der is not None and env.trust.crl_number > attempt.peer_crl and len(der) <= INNER_MESSAGE_MAX:
        attempt.send(Crl(der))


class AttachClient:
    """The node's side: tries until granted, one attempt at a time."""

    def __init__(self, env: Environment, table: AttemptTable) -> None:
        self._env, self._table = env, table
        self._request: Attach | None = None  # while wanted
        self._attempt: Attempt | None = None
        self._asked = False
        self._backoff = Backoff(RECONNECT_BACKOFF_MIN, RECONNECT_BACKOFF_MAX, env.random)
        self._not_before = 0.0  # monotonic

    def attach(self, request: Attach, now: Now) -> None:
        """Ask until granted. The same request again while asking changes nothing."""
        if request == self._request and self._attempt is not None:
            return
        self._request = request
        self._drop(now)
        self._try_start(now)

    def stop(self, now: Now) -> None:
        """Not wanted any more."""
        self._request = None
        self._drop(now)

    def restart(self, now: Now) -> None:
        """The certificate or the network is another: begin again at once, if still asking."""
        self._backoff.reset()
        self._not_before = now.mono
        self._drop(now)
        self._try_start(now)

    def hurry(self, now: Now) -> None:
        """The network is back: no backoff. An attempt under way goes on."""
        self._backoff.reset()
        self._not_before = now.mono
        self._try_start(now)

    def advance(self, attempt: Attempt, now: Now) -> None:
        """See `Owner`."""
        if attempt.identity is not None and not self._asked and self._request is not None:
            self._asked = True
            attempt.send(self._request)  # behind our READY: the Switch is proved, saves a round trip
        for message in attempt.messages():
            self._take(attempt, message, now)
            if attempt.lingering:
                break

    def failed(self, attempt: Attempt, failure: AttemptFailed, now: Now) -> None:
        """See `Owner`."""
        if attempt is not self._attempt:
            return
        self._attempt = None
        told_revoked = failure.reason == "peer_revoked" or failure.detail == REVOKED_ALERT
        if told_revoked and attempt.identity is not None:  # by the proved Switch, inside TLS: no other try will help
            self._request = None
            self._env.emit(AttachFailed("refused_revoked", failure.detail, final=True))
            return
        wait = self._backoff.next()
        self._not_before = now.mono + wait
        self._env.emit(AttachFailed(failure.reason, failure.detail, wait))

    def deadline(self) -> float | None:
        """When to try again, on the monotonic clock."""
        return self._not_before if self._request is not None and self._attempt is None else None

    def handle_timer(self, now: Now) -> None:
        """Try again if it is time."""
        self._try_start(now)

    # -- Inside

    def _try_start(self, now: Now) -> None:
        if self._request is None or self._attempt is not None or now.mono < self._not_before:
            return
        attempt_id = self._env.new_id()
        terms = Terms(attempt_id, 0, 0)
        self._attempt = Attempt(self._env, ANY_SWITCH, attempt_id, Purpose.ATTACHMENT, now, terms=terms)
        self._asked = False
        self._table.add(self._attempt, self)
        self._table.flush(self._attempt, now)

    def _drop(self, now: Now) -> None:
        if self._attempt is not None:
            self._table.forget(self._attempt, now)
            self._attempt = None

    def _take(self, attempt: Attempt, message: Inner, now: Now) -> None:
        match message:
            case Ready():
                attempt.agreement()
                _send_newer_crl(self._env, attempt)
            case Grant():
                self._granted(attempt, message, now)
            case Crl():
                attempt.take_crl(message, now)
            case Ping():
                attempt.answer_ping(message)
            case Close():
                reason = f"peer_{message.reason.name.lower()}"
                raise AttemptFailed(reason, message.text, lasting=True)
            case Attach() | Pong() | Reach():
                raise AttemptFailed("not_a_grant", close=CloseReason.PROTOCOL_ERROR)

    def _granted(self, attempt: Attempt, grant: Grant, now: Now) -> None:
        secrets, _ = attempt.agreement()
        group = attempt.channel.group
        attempt.stream.acknowledge_now(now.mono)  # ahead of the first report, which needs the Switch to have settled
        self._table.dismiss(attempt, now, seconds=ATTEMPT_DEADLINE)  # acknowledges again if that is lost
        self._attempt = None
        if grant.status == GrantStatus.GRANTED:
            self._request = None
            self._backoff.reset()
            self._not_before = 0.0
            seconds = now.mono - attempt.started
            self._env.emit(Attached(attempt.peer, grant, secrets.report_master, secrets.private_master, group, seconds))
            return
        wait = self._backoff.next()
        self._not_before = now.mono + wait
        final = grant.status in (GrantStatus.SUPERSEDED, GrantStatus.REVOKED)
        if final:
            self._request = None
        reason = f"refused_{GrantStatus(grant.status).name.lower()}"
        self._env.emit(AttachFailed(reason, "", 0.0 if final else wait, final))


class AttachServer:
    """The Switch's side. Holds nothing of a node before its attempt and nothing after."""

    def __init__(self, env: Environment, table: AttemptTable) -> None:
        self._env, self._table = env, table
        self._attempts: dict[AttemptRef, Attempt] = {}
        self._proved: dict[NodeID, Attempt] = {}  # one of a node
        self._requested: dict[AttemptRef, AttachRequested] = {}  # until granted and settled, or refused
        self._answered: set[AttemptRef] = set()  # GRANT is on its way

    def accept(self, attempt: Attempt, now: Now) -> None:
        """A new attempt, whose cookie was good. Whoever it is only claims to be this node: others of it go on."""
        self._attempts[attempt.peer, attempt.id] = attempt

    def grant(self, ref: AttemptRef, grant: Grant, now: Now) -> None:
        """The owner's answer to `AttachRequested`."""
        attempt = self._attempts.get(ref)
        if attempt is None or ref not in self._requested or ref in self._answered:
            return
        self._answered.add(ref)
        if grant.status != GrantStatus.GRANTED:
            del self._requested[ref]
        self._table.run(attempt, lambda: attempt.send(grant), now)

    def advance(self, attempt: Attempt, now: Now) -> None:
        """See `Owner`."""
        for message in attempt.messages():
            self._take(attempt, message, now)
        ref = (attempt.peer, attempt.id)
        if ref in self._answered and attempt.stream.all_acked:
            granted = self._requested.pop(ref, None)
            if granted is not None:
                self._env.emit(AttachSettled(ref, attempt.peer, granted.report_master, granted.private_master))
            if not self._awaits_crl(attempt):
                self._remove(attempt)
                self._table.forget(attempt, now)

    def failed(self, attempt: Attempt, failure: AttemptFailed, now: Now) -> None:
        """See `Owner`."""
        self._remove(attempt)

    def revocation_changed(self, now: Now) -> None:
        """Attempts of revoked certificates end."""
        for attempt in list(self._attempts.values()):
            if attempt.identity is not None and self._env.trust.is_revoked(attempt.identity.serial):
                self._table.fail(attempt, AttemptFailed("revoked", close=CloseReason.REVOKED, lasting=True), now)

    # -- Inside

    def _remove(self, attempt: Attempt) -> None:
        ref = (attempt.peer, attempt.id)
        self._attempts.pop(ref, None)
        if self._proved.get(attempt.peer) is attempt:
            del self._proved[attempt.peer]
        self._requested.pop(ref, None)
        self._answered.discard(ref)

    def _replace_proved(self, attempt: Attempt, now: Now) -> None:
        """It is the node: its earlier attempt is of no use any more."""
        old = self._proved.get(attempt.peer)
        if old is not None:
            self._remove(old)
            self._table.forget(old, now)
        self._proved[attempt.peer] = attempt

    def _awaits_crl(self, attempt: Attempt) -> bool:
        """The node told of a newer CRL than ours and is about to send it."""
        return attempt.peer_crl is not None and attempt.peer_crl > self._env.trust.crl_number

    def _take(self, attempt: Attempt, message: Inner, now: Now) -> None:
        match message:
            case Ready():
                self._table.settle(attempt)
                self._replace_proved(attempt, now)
                attempt.send_ready(Terms(attempt.id, 0, 0))
                attempt.agreement()
                _send_newer_crl(self._env, attempt)
            case Attach():
                ref = (attempt.peer, attempt.id)
                if ref in self._requested or ref in self._answered:
                    raise AttemptFailed("attach_twice", close=CloseReason.PROTOCOL_ERROR)
                assert attempt.identity is not None
                secrets, _ = attempt.agreement()
                attempt.forget_secrets()
                masters = secrets.report_master, secrets.private_master
                request = AttachRequested(ref, attempt.identity, message, attempt.context, *masters)
                self._requested[ref] = request
                self._env.emit(request)
            case Crl():
                attempt.take_crl(message, now)
            case Ping():
                attempt.answer_ping(message)
            case Close():
                raise AttemptFailed(f"peer_{message.reason.name.lower()}", message.text)
            case Grant() | Pong() | Reach():
                raise AttemptFailed("not_a_request", close=CloseReason.PROTOCOL_ERROR)
