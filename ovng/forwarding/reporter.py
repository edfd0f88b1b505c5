"""Reports of one path: one exchange at a time, until the Switch has answered (PROTOCOL 6).

    MOVE ── ACK with proof ──► CONFIRM ── ACK ──► done          REFRESH ── ACK ──► done
      ▲                                                            │
      └── MISMATCH (where, and a cookie) ◄─────────────────────────┤
    REFRESH or MOVE with cookie and ticket ◄── CHALLENGE ◄─────────┘

The active path moves by MOVE. Another path only makes itself known: a REFRESH that a MISMATCH answers is sent again
with its cookie, and changes nothing about where data goes.

What was on its way here is asked for by one report at a time: a hint and an answer often come together, and each makes
us prove the same place. When the other one is answered and this one is not, it is asked for again.

Every try has a number of its own, so that no copy of an earlier one can come before it, and its answer's echo tells
which try it was. Hints are not authenticated: they are acted upon at most once a second, by one report that proves
itself at the Switch; one that names none of our own reports starts nothing that would be repeated.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ovng.clock import Now
from ovng.fields import Fields
from ovng.forwarding.grantheld import GrantHeld
from ovng.forwarding.history import LossEstimate
from ovng.forwarding.store import Random
from ovng.ids import UNKNOWN_LOCATOR, Locator, NodeID
from ovng.limits import COOKIE_SIZE, MAX_CONTROL_DATAGRAM, SILENCE_REFRESH, SILENCE_REFRESH_MAX
from ovng.session.backoff import jittered
from ovng.wire.report import NO_COOKIE, Ack, Challenge, Common, Mismatch, ReportFlags, ReportKind, Update, echo_of

_REMEMBERED = 32  # numbers whose answers are awaited
_HINT_INTERVAL = 1.0
_JITTER = 0.2
_TICKETED_TRIES = 3
_NO_ECHO = bytes(8)
_RANK = {ReportKind.REFRESH: 0, ReportKind.CONFIRM: 1, ReportKind.MOVE: 2, ReportKind.BYE: 3}


class Sent(NamedTuple):
    """One report on its way. `era` counts changes of the network; `proved`: it carried a cookie."""

    kind: ReportKind
    at: float
    echo: bytes
    era: int
    proved: bool


class Exchange(Fields):
    """What the Switch is to answer. Times in monotonic seconds."""

    kind: ReportKind
    began: float
    once: bool = False
    """A hint's doing: not repeated."""
    observed: Locator = UNKNOWN_LOCATOR
    cookie: bytes = NO_COOKIE
    """For the next try only, unless `ticketed`."""
    ticketed: bool = False
    ticketed_tries: int = 0
    tries: int = 0
    wait: float = SILENCE_REFRESH
    due: float = 0.0


class Reporter:
    """Sends reports under one grant after the other.

    `queue` takes datagrams for the Switch by this path, `aside` those that must come from elsewhere; `keepalive` says
    how many seconds, 5 … 600, the Switch is told.
    """

    def __init__(
        self,
        me: NodeID,
        random: Random,
        keepalive: Callable[[], int],
        queue: Callable[[bytes], None],
        aside: Callable[[bytes], None],
        path: int = 0,
        priority: int = 0,
    ) -> None:
        self._me, self._random, self._keepalive = me, random, keepalive
        self._queue, self._aside = queue, aside
        self._path, self.priority = path, priority
        self._replay = True  # what was on its way here may be lost
        self._asked: int | None = None  # the report that has asked for it and proves its place: its number, unanswered
        self.copies = False
        """Whether this path takes copies of what others send twice."""
        self.active = True
        """Whether data goes this way."""
        self._held: GrantHeld | None = None
        self._sent: OrderedDict[int, Sent] = OrderedDict()
        self._era = 0
        self._last_mismatch = self._last_challenge = self._last_call = self.last_sent = float("-inf")
        self.exchange: Exchange | None = None
        self.loss = LossEstimate()
        self.tls_reason: str | None = None
        """Set when reports cannot go on without TLS; taken by the client."""

    def use(self, held: GrantHeld | None) -> None:
        """Report under this grant from now on; numbers begin anew."""
        self._held = held
        self._sent.clear()
        self.finish()

    # -- What to say

    def begin(self, kind: ReportKind, now: Now, *, once: bool = False) -> None:
        """Start an exchange, unless a weightier one is under way."""
        if self._held is None:
            return
        current = self.exchange
        if current is not None and not current.once and _RANK[kind] <= _RANK[current.kind] and kind != ReportKind.MOVE:
            return
        self.exchange = Exchange(kind, now.mono, once)
        self._send(self.exchange, now)

    def moved(self, now: Now, *, replay: bool = True) -> None:
        """The network has changed: answers to what was sent before say nothing about now.

        Unless told otherwise, what was on its way here may be lost and is asked for again.
        """
        self._era += 1
        self._replay, self._asked = replay, None
        if self.exchange is None or self.exchange.kind != ReportKind.BYE:
            self.exchange = None
            self.begin(ReportKind.MOVE if self.active else ReportKind.REFRESH, now)

    def probe(self, now: Now) -> int:
        """One REFRESH, whatever is under way; its owner counts the answers. Its number; 0: none was sent."""
        return self._emit(ReportKind.REFRESH, UNKNOWN_LOCATOR, NO_COOKIE, False, 0, now)

    def probe_size(self, size: int, now: Now) -> int:
        """One PROBE of `size` bytes, likewise."""
        return self._emit(ReportKind.PROBE, UNKNOWN_LOCATOR, NO_COOKIE, False, 0, now, size)

    def knock(self, now: Now) -> None:
        """One KNOCK, which leaves by another socket and is answered on this path."""
        self._emit(ReportKind.KNOCK, UNKNOWN_LOCATOR, NO_COOKIE, False, 0, now)

    def get_crl(self, offset: int, now: Now) -> None:
        """Ask for a piece of the revocation list, once."""
        self._emit(ReportKind.GET_CRL, UNKNOWN_LOCATOR, NO_COOKIE, False, offset, now)

    # -- What came back

    def answered(self, number: int) -> Sent | None:
        """An authenticated answer echoes `number`: the try it answers, once."""
        self.loss.answered(number)
        return self._sent.pop(number, None)

    def accept(self, ack: Ack, sent: Sent, now: Now) -> bool:
        """An ACK of ours. True when it ends the exchange (then `exchange` is what it was for, until `finish`)."""
        if sent.era != self._era or sent.kind not in _RANK:
            return False
        if ack.common.number == self._asked:
            self._replay, self._asked = False, None
        exchange = self.exchange or Exchange(sent.kind, sent.at)  # late, but true
        if _RANK[sent.kind] < _RANK[exchange.kind] and not sent.proved:
            return False
        if any(ack.proof) and exchange.kind != ReportKind.BYE:
            cookie = ack.proof + bytes(COOKIE_SIZE - len(ack.proof))
            kind = ReportKind.CONFIRM if self.active else ReportKind.REFRESH  # which brings no data here
            if exchange.kind != kind or exchange.cookie != cookie:
                self.exchange = Exchange(kind, exchange.began, observed=ack.observed, cookie=cookie)
                self._send(self.exchange, now)
            return False
        self.exchange = None
        if self._asked is not None and sent.proved and ack.common.number > self._asked:
            self._asked = None  # lost, or its answer
            self.begin(ReportKind.MOVE, now)
        return True

    def says_now(self, sent: Sent) -> bool:
        """Whether an answer to it tells of the network as it is."""
        return sent.era == self._era

    def finish(self) -> None:
        """Whatever was under way is over."""
        self.exchange = self._asked = None

    def postpone(self, seconds: float, now: Now) -> None:
        """The next try of the exchange not before `seconds` from now."""
        if self.exchange is not None:
            self.exchange.due = now.mono + seconds

    def resend(self, now: Now) -> None:
        """Another try at once, as the last was refused."""
        self._asked = None
        if self.exchange is not None:
            self._send(self.exchange, now)

    def mismatch(self, hint: Mismatch, now: Now) -> bool:
        """We were seen elsewhere: one report proves where we are. False if it came too soon after the last hint."""
        if self._held is None or now.mono < self._last_mismatch + _HINT_INTERVAL:
            return False
        self._last_mismatch = now.mono
        current = self.exchange
        if current is not None and current.kind == ReportKind.BYE:
            return False
        planned = float("inf") if current is None else current.due
        self._replay = True
        kind = ReportKind.MOVE if self.active else ReportKind.REFRESH
        if current is None:
            self.exchange = current = Exchange(kind, now.mono, once=True)
        current.kind = kind
        current.observed, current.cookie = hint.observed, hint.cookie
        self._send(current, now)
        current.due = min(planned, current.due)  # hints hurry a try, they put none off
        return True

    def challenge(self, hint: Challenge, now: Now) -> bool:
        """The Switch does not know us (any more). False if the hint was not acted upon."""
        held = self._held
        if held is None:
            return False
        sent = self._sent.get(hint.common.number)
        if hint.echo == _NO_ECHO or sent is None or sent.echo != hint.echo:
            return hint.echo == _NO_ECHO and self._called(now)
        if now.mono < self._last_challenge + _HINT_INTERVAL:
            return False
        self._last_challenge = now.mono
        del self._sent[hint.common.number]
        held.candidate = hint.common.boot_id
        if self.exchange is not None and self.exchange.kind == ReportKind.BYE:
            self.exchange.due = float("-inf")  # whom it does not know it need not forget
            self.exchange.once = True
            return True
        if not held.ticket:
            self.tls_reason = "no_ticket"
            return True
        self._asked = None
        current = self.exchange or Exchange(ReportKind.REFRESH, now.mono)
        if current.kind == ReportKind.CONFIRM:
            current.kind = ReportKind.MOVE
        current.once, current.ticketed, current.observed, current.cookie = False, True, UNKNOWN_LOCATOR, hint.cookie
        self.exchange = current
        self._send(current, now)
        return True

    # -- Time

    def deadline(self) -> float | None:
        return None if self.exchange is None else self.exchange.due

    def handle_timer(self, now: Now, patience: float) -> None:
        """The next try, when it is due. A REFRESH waits at most `patience` seconds between tries, 2 at least."""
        exchange = self.exchange
        if exchange is None or now.mono < exchange.due:
            return
        if exchange.once:
            self.finish()
            return
        cap = max(patience, SILENCE_REFRESH_MAX) if exchange.kind == ReportKind.REFRESH else SILENCE_REFRESH_MAX
        exchange.wait = min(2 * exchange.wait, cap)
        self._asked = None
        self._send(exchange, now)

    # -- Inside

    def _called(self, now: Now) -> bool:
        """DATA of ours, or a restart, made the Switch call: let it see one report."""
        if now.mono < self._last_call + _HINT_INTERVAL:
            return False
        self._last_call = now.mono
        if self.exchange is None:
            self.begin(ReportKind.REFRESH, now, once=True)
        else:
            due = self.exchange.due
            self._send(self.exchange, now)
            self.exchange.due = min(due, self.exchange.due)  # hints hurry a try, they put none off
        return True

    def _send(self, exchange: Exchange, now: Now) -> None:
        ticketed = exchange.ticketed
        if ticketed and exchange.ticketed_tries >= _TICKETED_TRIES:
            self.tls_reason = "ticket_unanswered"
            exchange.ticketed_tries = 0
        self._emit(exchange.kind, exchange.observed, exchange.cookie, ticketed, 0, now)
        exchange.tries += 1
        exchange.ticketed_tries += ticketed
        exchange.due = now.mono + jittered(exchange.wait, _JITTER, self._random)
        if (
            exchange.kind != ReportKind.CONFIRM and not ticketed
        ):  # a hint's cookie is for one try; then we say it plainly
            exchange.observed, exchange.cookie = UNKNOWN_LOCATOR, NO_COOKIE

    def _emit(
        self,
        kind: ReportKind,
        observed: Locator,
        cookie: bytes,
        ticketed: bool,
        offset: int,
        now: Now,
        size: int = MAX_CONTROL_DATAGRAM,
    ) -> int:
        held = self._held
        if held is None:
            return 0
        number = held.next_sequence()
        if number is None:
            self.tls_reason = "sequence_used_up"
            return 0
        boot_id = held.boot_id if held.candidate is None else held.candidate
        flags = ReportFlags.TAIL | (ReportFlags.COPY if self.copies else ReportFlags.NONE)
        if self._replay and self._asked is None and kind in (ReportKind.MOVE, ReportKind.CONFIRM):
            flags |= ReportFlags.REPLAY
            self._asked = number if any(cookie) and not ticketed else None
        common = Common(held.switch_id, self._me, number, boot_id, held.grant, self._path, self.priority, flags)
        ticket = held.ticket if ticketed else b""
        datagram = Update(kind, common, observed, self._keepalive(), cookie, ticket, offset, size).pack(held.up)
        assert len(datagram) <= size
        self._sent[number] = Sent(kind, now.mono, echo_of(datagram), self._era, any(cookie))
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        if kind == ReportKind.KNOCK:
            self._aside(datagram)
            return number
        if kind != ReportKind.PROBE:  # that a large one is lost says nothing about others
            self.loss.sent(number, now.mono)
        self.last_sent = now.mono
        self._queue(datagram)
        return number
