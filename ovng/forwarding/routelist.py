"""The node's copy of the Switch's route list (PROTOCOL 7): fetched page by page, of one version, kept till CHANGED.

A push may be lost, so the Switch is asked now and then without one: past the end of the list, which costs one small
datagram each way and tells the version. Who is awake anyway does that early.
"""

from __future__ import annotations

from collections.abc import Callable

from ovng.clock import Now
from ovng.forwarding.resolver import SPREAD_FIRST, SPREAD_LAST
from ovng.forwarding.store import Random
from ovng.limits import SILENCE_REFRESH, SILENCE_REFRESH_MAX
from ovng.session.backoff import fraction, jittered
from ovng.wire.private import Private, Route, RouteList, Routes

_JITTER = 0.2
_NEVER = float("inf")
_CHANGED_SPREAD = 1.0  # seconds over which nodes ask after a change that all are told of
_HOLDS, _EARLY = 600.0, 150.0  # seconds


class RouteListCopy:
    """`send` as in `Resolver`. Times in monotonic seconds."""

    def __init__(self, random: Random, send: Callable[[Private, Now], bool]) -> None:
        self._random, self._send = random, send
        self._pages: list[Route] = []
        self._version = 0
        self._request = 0
        self._again = False  # told of a change since the list was asked for
        self._due = _NEVER
        self._wait = SILENCE_REFRESH
        self._fetching = False
        self._checking = False  # whether it is still of the Switch's version
        self.routes: tuple[Route, ...] = ()
        self.version = 0
        self.changed = False
        """True when `routes` are other ones than before; taken by the client."""

    @property
    def waiting(self) -> bool:
        return self._fetching

    def fetch(self, now: Now, delay: float = 0.0) -> None:
        """Get the list (again), after `delay` seconds."""
        self._fetching, self._checking, self._pages, self._version = True, False, [], 0
        self._wait = SILENCE_REFRESH
        self._due = now.mono + delay
        if not delay:
            self.handle_timer(now)

    def told(self, version: int, now: Now) -> None:
        """CHANGED names this version. An answer that is on its way may be older."""
        if self._fetching:
            self._again = True
            self._due = min(self._due, now.mono + _CHANGED_SPREAD)
        elif version != self.version:
            self.fetch(now, _CHANGED_SPREAD * fraction(self._random))

    def spread(self, now: Now) -> None:
        """A new boot ID: a list that is good stays so and is asked again in 15 … 75 s."""
        if not self._fetching:
            self.fetch(now, SPREAD_FIRST + (SPREAD_LAST - SPREAD_FIRST) * fraction(self._random))

    def receive(self, page: RouteList, now: Now) -> bool:
        """An opened ROUTE_LIST. False when it answers nothing that was asked."""
        if not self._fetching or page.request != self._request:
            return False
        if self._checking:
            if page.version == self.version:
                self._complete(now)
            else:
                self.fetch(now)
            return True
        if page.start != len(self._pages):
            return False
        if self._pages and page.version != self._version:
            self.fetch(now)  # it changed between two pages
            return True
        self._version = page.version
        self._pages += page.routes
        if len(self._pages) < page.total and page.routes:
            self._wait, self._due = SILENCE_REFRESH, now.mono
            self.handle_timer(now)
            return True
        routes = tuple(self._pages)
        self.changed |= routes != self.routes or not self.version
        self.routes, self.version = routes, page.version
        self._complete(now)
        return True

    def deadline(self) -> float | None:
        return self._due if self._due != _NEVER else None

    def handle_timer(self, now: Now) -> None:
        """Ask for the next page, or for the whole list again, if it is due."""
        if now.mono < self._due - (0.0 if self._fetching else _EARLY):
            return
        if not self._fetching:
            self._fetching = self._checking = True
            self._wait = SILENCE_REFRESH
        self._again &= bool(self._pages)
        self._request = int.from_bytes(self._random(8), "big")
        start = len(self.routes if self._checking else self._pages)
        if not self._send(Routes(self._request, start), now):
            self._due = _NEVER  # until there are private keys: then `fetch` is called
            return
        self._due = now.mono + jittered(self._wait, _JITTER, self._random)
        self._wait = min(2 * self._wait, SILENCE_REFRESH_MAX)

    def _complete(self, now: Now) -> None:
        """The list is of the version that the Switch has told."""
        self._fetching, self._checking, self._pages = False, False, []
        self._due = now.mono + jittered(_HOLDS, _JITTER, self._random)
        if self._again:
            self.fetch(now)
