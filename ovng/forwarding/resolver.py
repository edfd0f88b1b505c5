"""The node's memory of who has which inner address (PROTOCOL 7): ask once, hold 300 s, ask again after use.

An answer stays good while its successor is asked for, so a Switch that is away, or has forgotten our private keys,
costs nothing already known. After a restart of the Switch what is in use is asked again, spread over 15 … 75 s.
"""

from __future__ import annotations

from collections.abc import Callable

from ovng.clock import Now
from ovng.fields import Fields
from ovng.forwarding.clientevents import Resolved
from ovng.forwarding.store import Random
from ovng.ids import IPAddress, Prefix
from ovng.limits import SILENCE_REFRESH, SILENCE_REFRESH_MAX
from ovng.session.agenda import Agenda
from ovng.session.backoff import fraction, jittered
from ovng.wire.private import Private, Resolve, ResolveStatus
from ovng.wire.private import Resolved as ResolvedMessage

HELD_MAX = 4_096
ASKING_MAX = 256
_ASKING_SECONDS = 30.0  # a question that nobody repeats is dropped
_JITTER = 0.2
SPREAD_FIRST, SPREAD_LAST = 15.0, 75.0  # after a restart of the Switch, which then has no private keys for anybody


class _Answer(Fields):
    """Times in seconds of the boot clock. `used`: wanted since it came."""

    message: ResolvedMessage
    until: float
    ask_again: float
    used: bool = False


class _Question(Fields):
    """Times in monotonic seconds."""

    request: int
    due: float
    wait: float
    wanted_until: float
    waited_for: bool
    """Somebody had no answer meanwhile, and is told also when it is the same as before."""


class Resolver:
    """`send` seals a message to the Switch and sends it; False when there are no private keys now."""

    def __init__(self, random: Random, send: Callable[[Private, Now], bool]) -> None:
        self._random, self._send = random, send
        self._answers: dict[IPAddress, _Answer] = {}
        self._looked_at: Agenda[IPAddress] = Agenda()  # boot clock: when an answer is asked again, or ends
        self._questions: dict[IPAddress, _Question] = {}
        self.events: list[Resolved] = []

    @property
    def waiting(self) -> bool:
        """True if something is asked and not answered."""
        return bool(self._questions)

    def resolve(self, address: IPAddress, now: Now) -> Resolved | None:
        """Who has `address`: the answer held, or None (then an event follows when there is one)."""
        answer = self._answers.get(address)
        if answer is not None and now.boot < answer.until:
            answer.used = True
            return _event(address, answer.message)
        self._ask(address, now, waited_for=True)
        return None

    def receive(self, message: ResolvedMessage, now: Now) -> bool:
        """An opened RESOLVED. False when it answers nothing that was asked."""
        asked = next((item for item in self._questions.items() if item[1].request == message.request), None)
        if asked is None:
            return False
        address, question = asked
        if message.prefix.version != address.version or address not in message.prefix:
            return False
        if message.status == ResolveStatus.NOT_YET:
            question.due = now.mono + jittered(1.0, _JITTER, self._random)
            question.request = self._new_request()
            return True
        del self._questions[address]
        before = self._answers.get(address)
        if before is None and len(self._answers) >= HELD_MAX:
            self._evict()
        until = now.boot + message.lifetime
        self._hold(address, _Answer(message, until, until))
        if question.waited_for or before is None or _meaning(before.message) != _meaning(message):
            self.events.append(_event(address, message))
        return True

    def changed(self, prefix: Prefix, now: Now) -> None:
        """The Switch says that `prefix` has other holders: what is held of it is asked again."""
        for address, answer in list(self._answers.items()):
            if address.version == prefix.version and address in prefix:
                answer.until = max(answer.until, now.boot + _ASKING_SECONDS)
                answer.ask_again = now.boot
                answer.used = True
                self._hold(address, answer)
        for address, question in self._questions.items():
            if address.version == prefix.version and address in prefix:
                question.due = now.mono

    def spread(self, now: Now) -> None:
        """A new boot ID: what is held stays good, and what is in use is asked again in 15 … 75 s."""
        for address, answer in self._answers.items():
            if answer.used:
                wait = SPREAD_FIRST + (SPREAD_LAST - SPREAD_FIRST) * fraction(self._random)
                answer.ask_again = now.boot + wait
                answer.until = max(answer.until, now.boot + SPREAD_LAST + _ASKING_SECONDS)
                self._hold(address, answer)

    def ask_at_once(self, now: Now) -> None:
        """There are (again) private keys: what is waiting goes out."""
        for question in self._questions.values():
            question.due, question.wait = now.mono, SILENCE_REFRESH

    def deadline(self, now: Now) -> float | None:
        """When `handle_timer` has something to do, in monotonic seconds."""
        asking = [min(question.due, question.wanted_until) for question in self._questions.values()]
        look = self._looked_at.next()
        held = [] if look is None else [now.mono + max(0.0, look - now.boot)]
        return min(asking + held, default=None)

    def handle_timer(self, now: Now) -> None:
        """Ask what is due; forget what was not used."""
        for address in self._looked_at.due(now.boot):
            answer = self._answers[address]
            if answer.used:
                answer.used = False
                answer.ask_again = answer.until = max(answer.until, now.boot + _ASKING_SECONDS)
                self._hold(address, answer)
                self._ask(address, now, waited_for=False)
            else:
                del self._answers[address]
        for address, question in list(self._questions.items()):
            if now.mono >= question.wanted_until:
                del self._questions[address]
            elif now.mono >= question.due:
                self._try(address, question, now)

    # -- Inside

    def _hold(self, address: IPAddress, answer: _Answer) -> None:
        self._answers[address] = answer
        self._looked_at.set(address, min(answer.ask_again, answer.until))

    def _ask(self, address: IPAddress, now: Now, *, waited_for: bool) -> None:
        question = self._questions.get(address)
        if question is not None:
            question.wanted_until = now.mono + _ASKING_SECONDS
            question.waited_for |= waited_for
            return
        if len(self._questions) >= ASKING_MAX:
            return
        wanted_until = now.mono + _ASKING_SECONDS
        question = _Question(self._new_request(), now.mono, SILENCE_REFRESH, wanted_until, waited_for)
        self._questions[address] = question
        self._try(address, question, now)

    def _try(self, address: IPAddress, question: _Question, now: Now) -> None:
        if not self._send(Resolve(question.request, address), now):
            question.due = question.wanted_until  # the client has asked for keys, and calls `ask_at_once` with them
            return
        question.due = now.mono + jittered(question.wait, _JITTER, self._random)
        question.wait = min(2 * question.wait, SILENCE_REFRESH_MAX)

    def _new_request(self) -> int:
        return int.from_bytes(self._random(8), "big")

    def _evict(self) -> None:
        unused = next((address for address, answer in self._answers.items() if not answer.used), None)
        evicted = unused if unused is not None else next(iter(self._answers))
        del self._answers[evicted]
        self._looked_at.set(evicted, None)


def _meaning(message: ResolvedMessage) -> tuple[object, ...]:
    return message.status, message.prefix, message.nodes


def _event(address: IPAddress, message: ResolvedMessage) -> Resolved:
    return Resolved(address, message.nodes, message.prefix, message.status)
