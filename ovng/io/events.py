"""Events as they happen, for whoever follows them: numbered, stamped, and never waited for.

A follower that reads too slowly loses the oldest events beyond `WAITING_MAX`, and is told how many: a `dropped` line
where they would have been. All belongs to the thread of the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ovng.clock import Now, utc
from ovng.errors import SystemProblem
from ovng.io.control import Message

FOLLOWERS_MAX = 8
WAITING_MAX = 256  # events of each follower


class EventStream:
    """The events of one service."""

    def __init__(self) -> None:
        self._number = 0
        self._followers: set[Follower] = set()

    def publish(self, name: str, fields: dict[str, Any], now: Now) -> Message:
        """Hand an event to all who follow: `fields` behind its number (1, 2, …), time (ISO 8601, UTC) and name."""
        self._number += 1
        event = self._stamped(name, fields, now)
        for follower in self._followers:
            follower.put(event)
        return event

    def follow(self, fields: dict[str, Any], now: Now) -> Follower:
        """Everything from now on; first comes a line `following` with these fields. Raises SystemProblem."""
        if len(self._followers) >= FOLLOWERS_MAX:
            raise SystemProblem(f"{FOLLOWERS_MAX} follow already, which is the most")
        follower = Follower(self._followers.discard)
        self._followers.add(follower)
        follower.put(self._stamped("following", fields, now))
        return follower

    def _stamped(self, name: str, fields: dict[str, Any], now: Now) -> Message:
        seconds, thousandths = divmod(int(now.wall * 1000), 1000)
        time = f"{utc(seconds, '%Y-%m-%dT%H:%M:%S')}.{thousandths:03d}+00:00"
        return {"number": self._number, "time": time, "event": name, **fields}


class Follower:
    """One who follows; `io/control.Stream`."""

    def __init__(self, on_close: Callable[[Follower], object]) -> None:
        self._on_close = on_close
        self._waiting: deque[Message] = deque()
        self._dropped = 0
        self._something = asyncio.Event()

    def put(self, event: Message) -> None:
        """Let it wait; where there is no room, the oldest goes."""
        if len(self._waiting) == WAITING_MAX:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(event)
        self._something.set()

    async def take(self) -> list[Message]:
        """All that waits, at least one."""
        await self._something.wait()
        self._something.clear()
        taken, dropped = list(self._waiting), self._dropped
        self._waiting.clear()
        self._dropped = 0
        if dropped:
            last = {"number": taken[0]["number"] - 1, "time": taken[0]["time"]}
            taken.insert(0, {**last, "event": "dropped", "count": dropped})
        return taken

    def close(self) -> None:
        """It follows no more."""
        self._on_close(self)


class WarningsTold(logging.Handler):
    """Hands what is logged at level warning or above to `tell`, from whatever thread."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._told = tell

    def emit(self, record: logging.LogRecord) -> None:
        """As `logging.Handler`."""
        self._told(record.getMessage())

    def __enter__(self) -> WarningsTold:
        logging.getLogger("ovng").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("ovng").removeHandler(self)
