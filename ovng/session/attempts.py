"""All attempts that exist, found by who, which and whose; their timers; and where failures end up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.ids import NodeID
from ovng.limits import ATTEMPTS_PENDING, ATTEMPTS_PENDING_PER_SITE, COOKIE_ROTATION
from ovng.session.agenda import Agenda
from ovng.session.attempt import Attempt, AttemptFailed, Owner
from ovng.session.environment import Environment
from ovng.wire.inner import Close

OVER_MAX = 4_096  # IDs of past attempts remembered, so that late or replayed datagrams do not begin them again
OVER_SECONDS = 2 * COOKIE_ROTATION  # a cookie does not live longer
LINGERING_MAX = 256
EVICT_AFTER = 1.0  # a pending attempt that has stood still for so long makes room for a new one


class AttemptTable:
    """Attempts by (peer, attempt ID, initiated by us)."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._attempts: dict[tuple[NodeID, int, bool], tuple[Attempt, Owner | None]] = {}
        self._lingering: OrderedDict[tuple[NodeID, int, bool], None] = OrderedDict()
        self._over: OrderedDict[tuple[NodeID, int], float] = OrderedDict()
        self._agenda: Agenda[Attempt] = Agenda()
        self.touched: set[NodeID] = set()
        """Peers about whose attempts there was something, for the manager to look after."""
        # strangers' attempts, not proved by READY yet, and the site each began from
        self._pending: dict[tuple[NodeID, int, bool], tuple[Attempt, bytes]] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def busy(self) -> bool:
        """Last words are still under way. (What lingers only to acknowledge repetitions does not count.)"""
        return any(not self._attempts[key][0].stream.all_acked for key in self._lingering)

    def find(self, peer: NodeID, attempt_id: int, *, initiator: bool) -> Attempt | None:
        entry = self._attempts.get((peer, attempt_id, initiator))
        return entry[0] if entry else None

    def is_over(self, peer: NodeID, attempt_id: int, now: Now) -> bool:
        """The peer's attempt existed and ended not long ago."""
        ended = self._over.get((peer, attempt_id))
        return ended is not None and now.mono < ended + OVER_SECONDS

    # -- Coming and going

    def add(self, attempt: Attempt, owner: Owner, site: bytes = b"") -> None:
        self._attempts[attempt.key] = (attempt, owner)
        if not attempt.initiator:
            self._pending[attempt.key] = attempt, site

    def make_room(self, site: bytes, now: Now) -> bool:
        """Can a stranger begin another attempt? Out goes, if need be, the one that has stood still for longest.

        At the Switch (`site` not empty), a site that has its share makes room among its own.
        """
        crowd = [attempt for attempt, began_at in self._pending.values() if began_at == site]
        if not site or len(crowd) < ATTEMPTS_PENDING_PER_SITE:
            crowd = [attempt for attempt, _ in self._pending.values()]
            if len(crowd) < ATTEMPTS_PENDING:
                return True
        stalest = min(crowd, key=lambda attempt: attempt.progress_at)
        if now.mono < stalest.progress_at + EVICT_AFTER:
            return False
        self.fail(stalest, AttemptFailed("evicted"), now)
        return True

    def settle(self, attempt: Attempt) -> None:
        """It is not a stranger's any more."""
        self._pending.pop(attempt.key, None)

    def adopt(self, attempt: Attempt, peer: NodeID) -> None:
        """The Switch that was asked at dst 0 has told its ID."""
        _, owner = self._attempts.pop(attempt.key)
        attempt.rename(peer)
        self._attempts[attempt.key] = (attempt, owner)

    def forget(self, attempt: Attempt, now: Now) -> None:
        """Without another word."""
        self._attempts.pop(attempt.key, None)
        self._lingering.pop(attempt.key, None)
        self._pending.pop(attempt.key, None)
        self._agenda.set(attempt, None)
        if not attempt.initiator:
            self._over[attempt.peer, attempt.id] = now.mono
            if len(self._over) > OVER_MAX:
                self._over.popitem(last=False)

    def dismiss(self, attempt: Attempt, now: Now, *, seconds: float | None = None) -> None:
        """Nobody's any more: it delivers its last words and ends. With `seconds`, it acknowledges for so long."""
        if attempt.key not in self._attempts:
            return
        if seconds is None:
            attempt.linger(now)
        else:
            attempt.linger(now, seconds, until_acked=False)
        self._attempts[attempt.key] = (attempt, None)
        self._pending.pop(attempt.key, None)
        self._lingering[attempt.key] = None
        self.flush(attempt, now)
        if len(self._lingering) > LINGERING_MAX:
            self.forget(self._attempts[next(iter(self._lingering))][0], now)

    # -- Driving

    def run(self, attempt: Attempt, action: Callable[[], None], now: Now) -> None:
        """Do something with an attempt, tell its owner what came of it, send what that made due."""
        _, owner = self._attempts[attempt.key]
        self.touched.add(attempt.peer)
        try:
            action()
            if owner is not None:
                owner.advance(attempt, now)
        except Malformed as error:
            self._env.counters[error.reason] += 1
        except AttemptFailed as failure:
            self.fail(attempt, failure, now)
        self.flush(attempt, now)

    def flush(self, attempt: Attempt, now: Now) -> None:
        """Send what is due and arm its timer."""
        if attempt.key not in self._attempts:
            return
        attempt.flush(now)
        if attempt.lingering and attempt.expired(now):
            self.forget(attempt, now)
        else:
            self._agenda.set(attempt, attempt.deadline())

    def fail(self, attempt: Attempt, failure: AttemptFailed, now: Now) -> None:
        """It is over: the peer is told while TLS works, the owner in any case."""
        entry = self._attempts.get(attempt.key)
        if entry is None:
            return
        self._env.counters[failure.reason] += 1
        self.touched.add(attempt.peer)
        if failure.close is not None:
            try:
                attempt.send(Close(failure.close, failure.reason))
            except AttemptFailed:
                pass  # it cannot be told
        self.dismiss(attempt, now)
        if entry[1] is not None:
            entry[1].failed(attempt, failure, now)

    def hurry(self, now: Now) -> None:
        """The network is back."""
        for attempt, _ in list(self._attempts.values()):
            attempt.hurry(now)
            self.flush(attempt, now)

    def deadline(self) -> float | None:
        """On the monotonic clock."""
        return self._agenda.next()

    def handle_timer(self, now: Now) -> None:
        """Retransmissions and ends that are due."""
        for attempt in self._agenda.due(now.mono):
            if not attempt.expired(now):
                self.flush(attempt, now)
            elif attempt.lingering:
                self.forget(attempt, now)
            else:
                self.fail(attempt, AttemptFailed("timeout"), now)
