"""The asyncio shell around the sans-IO machines of one service.

A machine says when it wants to be called (`deadline`), is called with `Now`, and leaves what it wants sent to `flush`.
The driver owns the loop: it waits for file descriptors, signals and ONE timer, reads the clock once per wake-up, hands
it to the callback, lets `flush` carry out what the machines decided, and arms the timer again.

Sleep of the machine shows as CLOCK_BOOTTIME running ahead of CLOCK_MONOTONIC. Timers stand still meanwhile, so the
driver has itself woken at the resume (`io/resume`), and tells it before anything else happens at that wake-up. It never
wakes without a reason.

A callback that fails is logged once per kind and place, in one line; the service goes on (`each`: with the next item).
An OvngError ends `run` and comes out of it: that is how a callback says that there is nothing left to do.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from ovng import clock
from ovng.clock import Now
from ovng.errors import OvngError
from ovng.io import notify
from ovng.io.logs import escape
from ovng.io.resume import ClockJumps

log = logging.getLogger(__name__)

Callback = Callable[[Now], object]
Item = TypeVar("Item")

SUSPEND_MIN = 0.5  # seconds; the two clocks are not read in the same instant
MIN_DELAY = 0.001  # seconds; a deadline that stays in the past must not spin
PUT_OFF = 0.05  # seconds by which an alarm may be early
AFTER_FAULT = 2.0  # seconds until a deadline is asked for again that could not be told


class Driver:
    """Runs one service. All methods but `call_threadsafe` belong to the thread of the loop (or before it runs).

    `deadline` gives the next instant on the monotonic clock, None for never; `on_timer` is called at it; `flush` after
    every callback; `on_suspend` with the seconds slept.
    """

    def __init__(
        self,
        *,
        deadline: Callable[[Now], float | None],
        on_timer: Callback,
        flush: Callback = lambda now: None,
        on_suspend: Callable[[float, Now], object] = lambda seconds, now: None,
        read_clock: Callable[[], Now] = clock.now,
    ) -> None:
        self._deadline, self._on_timer, self._flush = deadline, on_timer, flush
        self._on_suspend, self._read_clock = on_suspend, read_clock
        self._readers: dict[int, Callback] = {}
        self._signals: dict[signal.Signals, Callback] = {
            signal.SIGTERM: lambda now: self.stop(),
            signal.SIGINT: lambda now: self.stop(),
        }
        self._waiting: list[Callback] = []  # for the loop to run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._jumps: ClockJumps | None = None
        self._slept = 0.0  # boot - mono when last looked
        self._alive_every = notify.watchdog_interval()
        self._alive_at = -math.inf  # monotonic: when systemd was told last that we live
        self._alive_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self.errors: Counter[str] = Counter()
        """Callbacks that failed, by kind and place."""

    # -- What wakes the service

    def add_reader(self, fd: int, callback: Callback) -> None:
        """Call when `fd` is readable, until removed. The callback must read, or it is called again at once."""
        self._readers[fd] = callback
        if self._loop is not None:
            self._loop.add_reader(fd, self._run, callback)

    def remove_reader(self, fd: int) -> None:
        """Forget `fd`; before it is closed."""
        self._readers.pop(fd, None)
        if self._loop is not None:
            self._loop.remove_reader(fd)

    def on_signal(self, number: signal.Signals, callback: Callback) -> None:
        """Call on a signal. SIGTERM and SIGINT stop the service unless said otherwise."""
        self._signals[number] = callback
        if self._loop is not None:
            self._loop.add_signal_handler(number, self._run, callback)

    def call_soon(self, callback: Callback) -> None:
        """Call once, at the next turn of the loop (its first one, before it runs)."""
        if self._loop is None:
            self._waiting.append(callback)
        else:
            self._loop.call_soon(self._run, callback)

    def call_threadsafe(self, callback: Callback) -> None:
        """As `call_soon`, from any thread. After the end it does nothing."""
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._run, callback)
            except RuntimeError:
                pass  # the loop was closed in between

    def each(self, items: Iterable[Item], action: Callable[[Item, Now], object], now: Now) -> None:
        """Within a callback: do this with every item. A fault with one does not lose the rest."""
        for item in items:
            self._guard(lambda at, item=item: action(item, at), now)  # type: ignore[misc]

    # -- Life

    def stop(self) -> None:
        """End `run` without error."""
        self._stopping = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def run(self) -> None:
        """Serve until `stop`, a signal, or an OvngError from a callback, which is raised."""
        self._jumps = jumps = ClockJumps()
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        first = self._read_clock()
        self._slept = first.boot - first.mono
        try:
            self._loop.add_reader(jumps.fileno(), self._run, lambda now: jumps.take())
            for fd, callback in self._readers.items():
                self._loop.add_reader(fd, self._run, callback)
            for number, callback in self._signals.items():
                self._loop.add_signal_handler(number, self._run, callback)
            self._run(lambda now: None)
            for callback in self._waiting:
                self._run(callback)
            self._waiting.clear()
            if self._stopping:
                self.stop()
            await self._ended
        finally:
            self._release()

    def _release(self) -> None:
        loop, self._loop = self._loop, None
        assert loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._alive_timer is not None:
            self._alive_timer.cancel()
        if self._jumps is not None:
            loop.remove_reader(self._jumps.fileno())
            self._jumps.close()
            self._jumps = None
        for fd in self._readers:
            loop.remove_reader(fd)
        for number in self._signals:
            loop.remove_signal_handler(number)

    # -- One wake-up

    def _run(self, callback: Callback) -> None:
        assert self._ended is not None
        if self._ended.done():
            return
        now = self._read_clock()
        slept = now.boot - now.mono
        if slept - self._slept >= SUSPEND_MIN:
            seconds = slept - self._slept
            self._guard(lambda at: self._on_suspend(seconds, at), now)
        self._slept = slept
        self._guard(callback, now)
        self._guard(self._flush, now)
        self._guard(self._arm, now)
        self._tell_alive(now)

    def _tell_alive(self, now: Now) -> None:
        """Tell systemd's watchdog at a wake-up that comes anyway, and by an alarm only when none has come for long."""
        if self._loop is None or self._alive_every is None or now.mono - self._alive_at < self._alive_every / 2:
            return
        notify.watchdog()
        self._alive_at = now.mono
        if self._alive_timer is not None:
            self._alive_timer.cancel()
        self._alive_timer = self._loop.call_later(self._alive_every, self._run, lambda now: None)

    def _arm(self, now: Now) -> None:
        """An alarm before the deadline is put off, lest it wake us for nothing; one that is overdue stays, as it would
        never come in a flood if each event put it off."""
        if self._loop is None or self._ended is None or self._ended.done():
            return
        wanted: float | None = now.mono + AFTER_FAULT
        try:
            wanted = self._deadline(now)
        finally:  # without a timer the service would sleep for ever
            if wanted is not None:
                self._alarm_at(self._loop, self._loop.time() + max(wanted - now.mono, MIN_DELAY))

    def _alarm_at(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        early = self._timer is not None and at > max(self._timer.when(), loop.time()) + PUT_OFF
        if self._timer is not None and (early or at < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = loop.call_at(at, self._on_alarm)

    def _on_alarm(self) -> None:
        self._timer = None
        self._run(self._when_due)

    def _when_due(self, now: Now) -> None:
        wanted = self._deadline(now)
        if wanted is not None and wanted <= now.mono:
            self._on_timer(now)

    def _guard(self, callback: Callback, now: Now) -> None:
        assert self._ended is not None
        try:
            callback(now)
        except OvngError as error:
            if not self._ended.done():
                self._ended.set_exception(error)
        except Exception as error:  # a fault in one callback must not end the tunnel
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {place.filename.rpartition('/')[2]}:{place.lineno}"
            self.errors[kind] += 1
            if self.errors[kind] == 1:
                log.error("internal error, going on: %s: %s", kind, escape(str(error)))
                log.debug("%s", "".join(traceback.format_exception(error)))
