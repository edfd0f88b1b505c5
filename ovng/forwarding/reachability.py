"""How long the Switch has not answered, as people are told: at 5 s, at every doubling, and when it is back.

Times are monotonic seconds.
"""

from __future__ import annotations

from ovng.forwarding.clientevents import Reachable, Unreachable

_FIRST = 5.0


class Reachability:
    """One Switch, as seen from one node."""

    def __init__(self) -> None:
        self._lost: float | None = None
        self._next = _FIRST
        self._told = False

    def trying(self, since: float) -> None:
        """An answer has been awaited since then."""
        if self._lost is None:
            self._lost = since

    def check(self, now: float) -> Unreachable | None:
        """What to tell now."""
        if self._lost is None or now < self._lost + self._next:
            return None
        return self.tell(now)

    def tell(self, now: float, detail: str = "") -> Unreachable | None:
        """What to tell now because a try has failed."""
        if self._lost is None:
            return None
        while self._lost + self._next <= now:
            self._next *= 2
        self._told = True
        return Unreachable(now - self._lost, detail)

    def answered(self, now: float) -> Reachable | None:
        """The Switch has answered. What to tell, when it was missed."""
        lost, told = self._lost, self._told
        self._lost, self._next, self._told = None, _FIRST, False
        return Reachable(now - lost) if lost is not None and told else None

    def silent(self, now: float) -> float:
        """Seconds without an answer; 0 when none is awaited."""
        return 0.0 if self._lost is None else now - self._lost

    def deadline(self) -> float | None:
        """When `check` has something to say."""
        return None if self._lost is None else self._lost + self._next
