"""The driver on a real event loop; the clock is ours where time matters."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovng import clock
from ovng.clock import Now
from ovng.errors import OvngError, SystemProblem
from ovng.io import driver as driver_module
from ovng.io.driver import SUSPEND_MIN, Driver
from ovng.io.resume import ClockJumps


class Machine:
    """Writes down what happens to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.due: float | None = None
        self.driver = Driver(
            deadline=lambda now: self.due,
            on_timer=self.on_timer,
            flush=lambda now: self.seen.append("flush"),
            on_suspend=lambda seconds, now: self.seen.append(f"slept {seconds:.0f}"),
        )

    def on_timer(self, now: Now) -> None:
        assert self.due is not None
        assert now.mono >= self.due
        self.seen.append("timer")
        self.driver.stop()

    def run(self) -> None:
        asyncio.run(asyncio.wait_for(self.driver.run(), 10))


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def kill_myself(fd: int, number: signal.Signals) -> None:
    os.read(fd, 1)
    os.kill(os.getpid(), number)


def test_timer_comes_at_the_deadline(machine: Machine) -> None:
    start = clock.now().mono
    machine.due = start + 0.05
    machine.run()
    assert machine.seen == ["flush", "timer", "flush"]
    assert 0.05 <= clock.now().mono - start < 1.0


def test_timer_is_armed_again_after_a_callback(machine: Machine, pipe: tuple[int, int]) -> None:
    def readable(now: Now) -> None:
        assert os.read(pipe[0], 10) == b"x"
        machine.seen.append("read")
        machine.due = now.mono + 0.01

    machine.driver.add_reader(pipe[0], readable)
    os.write(pipe[1], b"x")
    machine.run()
    assert machine.seen == ["flush", "read", "flush", "timer", "flush"]


def test_a_deadline_in_the_past_does_not_spin(machine: Machine) -> None:
    calls = []

    def on_timer(now: Now) -> None:
        calls.append(now.mono)
        if now.mono - calls[0] > 0.1:
            machine.driver.stop()

    machine.driver._on_timer = on_timer
    machine.due = 0.0
    machine.run()
    assert 2 <= len(calls) <= 150  # at least a millisecond between two


def test_readers_that_never_rest_do_not_hold_up_the_timer(machine: Machine, pipe: tuple[int, int]) -> None:
    """A flood: there is always something to read when a timer is due."""
    machine.driver.add_reader(pipe[0], lambda now: None)
    os.write(pipe[1], b"x")
    machine.due = clock.now().mono + 0.05
    machine.run()
    assert machine.seen[-2:] == ["timer", "flush"]


def test_readers_may_come_and_go_while_it_runs(machine: Machine, pipe: tuple[int, int]) -> None:
    def second(now: Now) -> None:
        machine.seen.append("second")
        machine.driver.stop()

    def first(now: Now) -> None:
        machine.seen.append("first")
        machine.driver.remove_reader(pipe[0])
        machine.driver.add_reader(pipe[0], second)

    machine.driver.add_reader(pipe[0], first)
    os.write(pipe[1], b"x")
    machine.run()
    assert [word for word in machine.seen if word != "flush"] == ["first", "second"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it(machine: Machine, number: signal.Signals, pipe: tuple[int, int]) -> None:
    machine.driver.add_reader(pipe[0], lambda now: kill_myself(pipe[0], number))
    os.write(pipe[1], b"x")
    machine.run()
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_hangup_reloads(machine: Machine, pipe: tuple[int, int]) -> None:
    def reload(now: Now) -> None:
        machine.seen.append("reload")
        machine.driver.stop()

    machine.driver.on_signal(signal.SIGHUP, reload)
    machine.driver.add_reader(pipe[0], lambda now: kill_myself(pipe[0], signal.SIGHUP))
    os.write(pipe[1], b"x")
    machine.run()
    assert "reload" in machine.seen


def test_a_fault_is_logged_once_and_survived(
    machine: Machine, pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    def fault(now: Now) -> None:
        if os.read(pipe[0], 1) == b".":
            machine.driver.stop()
        raise ValueError("line one\nline two")

    machine.driver.add_reader(pipe[0], fault)
    os.write(pipe[1], b"xxx.")
    with caplog.at_level(logging.INFO, "ovng"):
        machine.run()
    assert len(caplog.records) == 1
    assert "ValueError at test_driver.py:" in caplog.text
    assert "line one\\nline two" in caplog.text
    assert list(machine.driver.errors.values()) == [4]


def test_a_failing_deadline_does_not_stop_the_clock(machine: Machine) -> None:
    calls = []

    def deadline(now: Now) -> float:
        calls.append(now)
        if len(calls) == 1:
            raise ValueError
        return now.mono

    machine.driver._deadline = deadline
    machine.due = 0.0
    machine.run()
    assert "timer" in machine.seen


@pytest.mark.parametrize("error", [SystemProblem("no more TUN"), OvngError("end")])
def test_our_errors_end_it(machine: Machine, pipe: tuple[int, int], error: OvngError) -> None:
    def end(now: Now) -> None:
        raise error

    machine.driver.add_reader(pipe[0], end)
    os.write(pipe[1], b"x")
    with pytest.raises(type(error), match=str(error)):
        machine.run()


def test_sleep_is_told_before_anything_else(pipe: tuple[int, int]) -> None:
    boot, seen = 1000.0, []

    def deadline(now: Now) -> float | None:
        return None

    driver = Driver(
        deadline=deadline,
        on_timer=lambda now: None,
        on_suspend=lambda seconds, now: seen.append(f"slept {seconds:.0f}"),
        read_clock=lambda: Now(clock.now().mono, clock.now().mono + boot, 0.0),
    )

    def readable(now: Now) -> None:
        nonlocal boot
        byte = os.read(pipe[0], 1)
        seen.append(byte.decode())
        if byte == b"a":
            boot += 3600
        if byte == b"c":
            driver.stop()

    driver.add_reader(pipe[0], readable)
    os.write(pipe[1], b"abc")
    asyncio.run(asyncio.wait_for(driver.run(), 10))
    assert seen == ["a", "slept 3600", "b", "c"]


def test_sleep_is_noticed_when_nothing_else_happens(monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]) -> None:
    """The machine resumes; the driver has nothing to do, and no timer."""
    boot = 0.0

    class Resumed(ClockJumps):
        def fileno(self) -> int:
            return pipe[0]

        def take(self) -> None:
            os.read(pipe[0], 1)

    def resume() -> None:
        nonlocal boot
        boot += 3600
        os.write(pipe[1], b"x")

    monkeypatch.setattr(driver_module, "ClockJumps", Resumed)
    driver = Driver(
        deadline=lambda now: None,
        on_timer=lambda now: None,
        on_suspend=lambda seconds, now: driver.stop(),
        read_clock=lambda: Now(clock.now().mono, clock.now().mono + boot, 0.0),
    )
    timer = threading.Timer(0.1, resume)
    timer.start()
    asyncio.run(asyncio.wait_for(driver.run(), 5))
    timer.join()


def test_without_anything_to_do_it_never_wakes(machine: Machine) -> None:
    machine.driver.call_soon(lambda now: machine.driver.call_soon(ask))

    def ask(now: Now) -> None:
        machine.seen.append("armed" if machine.driver._timer else "not armed")
        machine.driver.stop()

    machine.run()
    assert [word for word in machine.seen if word != "flush"] == ["not armed"]


def test_clocks_that_drift_apart_are_no_sleep(pipe: tuple[int, int]) -> None:
    """Read a little apart each time, they come to more than a sleep in the end, but never at once."""
    apart, slept = 0.0, []

    def read_clock() -> Now:
        nonlocal apart
        apart += SUSPEND_MIN * 0.9
        return Now(clock.now().mono, clock.now().mono + apart, 0.0)

    driver = Driver(
        deadline=lambda now: None,
        on_timer=lambda now: None,
        on_suspend=lambda seconds, now: slept.append(seconds),
        read_clock=read_clock,
    )

    def readable(now: Now) -> None:
        if os.read(pipe[0], 1) == b"z":
            driver.stop()

    driver.add_reader(pipe[0], readable)
    os.write(pipe[1], b"abcz")
    asyncio.run(asyncio.wait_for(driver.run(), 10))
    assert apart > 3 * SUSPEND_MIN and not slept


def test_calls_from_another_thread(machine: Machine) -> None:
    def found(now: Now) -> None:
        machine.seen.append(threading.current_thread().name)
        machine.driver.stop()

    async def main() -> None:
        running = asyncio.ensure_future(machine.driver.run())
        await asyncio.sleep(0)
        threading.Thread(target=lambda: machine.driver.call_threadsafe(found)).start()
        await asyncio.wait_for(running, 10)

    asyncio.run(main())
    assert "MainThread" in machine.seen
    machine.driver.call_threadsafe(found)  # too late: nothing happens


def test_stopped_before_it_ran(machine: Machine) -> None:
    machine.driver.stop()
    machine.run()


def test_what_was_asked_before_it_ran_comes_first(machine: Machine) -> None:
    machine.driver.call_soon(lambda now: machine.seen.append("first"))
    machine.driver.call_soon(lambda now: machine.driver.call_soon(lambda now: machine.driver.stop()))
    machine.run()
    assert [word for word in machine.seen if word != "flush"] == ["first"]


def test_a_fault_with_one_of_many_loses_no_other(machine: Machine, pipe: tuple[int, int]) -> None:
    done = []

    def take(letter: str, now: Now) -> None:
        if letter == "b":
            raise LookupError(letter)
        done.append(letter)

    def take_all(now: Now) -> None:
        machine.driver.each("abc", take, now)
        machine.driver.stop()

    machine.driver.add_reader(pipe[0], take_all)
    os.write(pipe[1], b"x")
    machine.run()
    assert done == ["a", "c"]
    assert [kind.split()[0] for kind in machine.driver.errors] == ["LookupError"]


def test_our_errors_end_it_also_among_many(machine: Machine, pipe: tuple[int, int]) -> None:
    def end(letter: str, now: Now) -> None:
        raise SystemProblem(letter)

    machine.driver.add_reader(pipe[0], lambda now: machine.driver.each("ab", end, now))
    os.write(pipe[1], b"x")
    with pytest.raises(SystemProblem, match="a"):
        machine.run()


def test_an_alarm_for_what_is_no_longer_due_wakes_nobody(machine: Machine, pipe: tuple[int, int]) -> None:
    """A report is answered: the alarm for its next try is not let come."""
    now = clock.now().mono
    machine.due = now + 0.2

    def answered(at: Now) -> None:
        os.read(pipe[0], 1)
        machine.due = now + 0.5

    machine.driver.add_reader(pipe[0], answered)
    os.write(pipe[1], b"x")
    machine.run()
    assert machine.seen == ["flush", "flush", "timer", "flush"]


def test_systemd_s_watchdog_hears_of_us_while_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "40000")  # to be told each 20 ms
    driver = Driver(deadline=lambda now: None, on_timer=lambda now: None)
    heard: list[bytes] = []

    def on_word(now: Now) -> None:
        heard.append(listener.recv(100))
        if len(heard) == 3:
            driver.stop()

    driver.add_reader(listener.fileno(), on_word)
    with listener:
        asyncio.run(asyncio.wait_for(driver.run(), 10))
    assert heard == [b"WATCHDOG=1"] * 3
