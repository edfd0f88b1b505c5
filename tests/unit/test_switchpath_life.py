"""The Switch's fast path: its sockets and threads, from their start to their end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable

import pytest

from ovng._fast.switch import COUNTER_NAMES, Worker
from ovng._fast.table import Table
from ovng.config.values import Endpoint
from ovng.errors import SystemProblem
from ovng.io.switchpath import SwitchDataPath
from tests.kernel_refusal import in_a_thread, needs_seccomp, refuse_timestamps
from tests.switch_fixture import CONTROL, SWITCH, TABLE_KEY, A, B, C, FakeNode, World, world


def test_stop_is_prompt_and_may_be_said_twice() -> None:
    before = set(threading.enumerate())
    w = World(workers=2)
    w.path.start()
    assert {thread.name for thread in set(threading.enumerate()) - before} == {"forward-0", "forward-1"}
    w.path.stop()
    assert set(threading.enumerate()) <= before
    w.path.stop()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as again:
        again.bind(("::", w.port))


def test_what_is_left_when_it_stops_is_not_told_to_somebody_elses_descriptor() -> None:
    with world() as w:
        a = w.node(A)
        for number in range(300):  # more than one call takes
            a.send(SWITCH, kind=CONTROL, number=number)
        w.wait_count("endpoint", 300)
        w.path.stop()
        reused = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]
        try:
            assert list(w.path.events()) == []
            for fd in reused:
                with pytest.raises(BlockingIOError):
                    os.eventfd_read(fd)
        finally:
            for fd in reused:
                os.close(fd)


@needs_seccomp
def test_a_kernel_that_does_not_say_when_datagrams_came() -> None:
    def on(prepare: Callable[[], None]) -> bool:
        prepare()
        with world(short_queue=True) as w:
            a, b = w.node(A), w.node(B)
            sent = a.send(B)
            assert b.receive() == [sent]
            return w.path.timestamps

    assert in_a_thread(lambda: on(lambda: None)) is True
    assert in_a_thread(lambda: on(refuse_timestamps)) is False


def test_stop_without_start() -> None:
    World().close()


def test_everything_is_given_back() -> None:
    def open_files() -> set[tuple[str, str]]:
        """Numbers, and what is behind them; without the directory that is read."""
        found = set()
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
            with contextlib.suppress(FileNotFoundError):
                found.add((number, os.readlink(f"/proc/self/fd/{number}")))  # noqa: PTH115
        return found

    before = open_files()
    for _ in range(3):
        with world(workers=2, listen=[Endpoint("127.0.0.1", 0), Endpoint("::1", 0)]) as w:
            a, b = w.node(A), w.node(B)
            sent = a.send(B)
            assert b.receive() == [sent]
        del w
    assert open_files() - before == set()  # an earlier test may give something back late


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_a_port_in_use_is_one_clear_line(host: str, workers: int) -> None:
    with world(listen=[Endpoint(host, 0)], workers=2) as w, pytest.raises(SystemProblem, match="is in use"):
        SwitchDataPath(SWITCH, [Endpoint(host, w.port)], w.table, workers=workers)


def test_an_address_of_another_machine_is_one_clear_line() -> None:
    with pytest.raises(SystemProblem, match="not an address of this machine"):
        SwitchDataPath(SWITCH, [Endpoint("192.0.2.1", 5140)], Table(1, TABLE_KEY))


def test_a_name_is_not_listened_on() -> None:
    with pytest.raises(SystemProblem, match="numeric"):
        SwitchDataPath(SWITCH, [Endpoint("switch.example", 5140)], Table(1, TABLE_KEY))


def test_both_wildcards_of_one_port_can_be_listened_on() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    with world(listen=[Endpoint("0.0.0.0", port), Endpoint("::", port)]) as w:
        a, b = w.node(A, "127.0.0.1"), w.node(B, "::1")
        sent = a.send(B)
        assert b.receive() == [sent]
        sent = b.send(A)
        assert a.receive() == [sent]


def test_a_lost_socket_is_reported_to_python() -> None:
    w = World()
    node = FakeNode(C, "127.0.0.1", ("127.0.0.1", w.port))
    try:
        broken = os.open("/dev/null", os.O_RDWR)
        os.dup2(broken, w.path._sockets[0][0].sock.fileno())
        os.close(broken)
        w.path.start()
        with pytest.raises(SystemProblem, match="forwarding stopped"):
            w.events()
    finally:
        w.path.stop()
        node.sock.close()


def test_counters_are_distinct_and_complete() -> None:
    assert len(set(COUNTER_NAMES)) == len(COUNTER_NAMES)
    with world() as w:
        assert set(COUNTER_NAMES) <= set(w.path.stats())
        assert set(w.path.stats().values()) == {0}


@pytest.mark.parametrize(
    ("fds", "exits", "key", "error"),
    [
        ([], (-1, -1), TABLE_KEY, ValueError),
        ([0] * 17, (0, 0), TABLE_KEY, ValueError),
        ([0], (1, 0), TABLE_KEY, ValueError),
        ([0], (0, -2), TABLE_KEY, ValueError),
        ([0], (0, 0), b"short", ValueError),
        ([999], (0, 0), TABLE_KEY, OSError),
    ],
)
def test_a_worker_refuses_what_cannot_work(
    fds: list[int], exits: tuple[int, int], key: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Worker(
            Table(1, TABLE_KEY),
            SWITCH,
            fds,
            *exits,
            -1,
            key,
            batch=16,
            segments_max=64,
            ring_bytes=4096,
            tail_bytes=4096,
        )
