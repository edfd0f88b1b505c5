"""A node that comes late to a long queue: senders are told by few losses, and nothing else is lost."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import threading
import time

import pytest

from ovng.demo.net import Process
from tests.kernel_refusal import needs_seccomp
from tests.netns.pair import End, pair, until
from tests.netns.rig import deployed
from tests.netns.test_datapath import SO_RCVBUFFORCE, transfer

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and TUN"),
]

TOO_LONG, INTERVAL = 0.01, 0.05  # SOJOURN_MAX_NS, SOJOURN_INTERVAL_NS


def late(a: End, b: End, count: int) -> tuple[int, int, float]:
    """Packets that waited for B's loop: how many came, how many it dropped, and for how long it went on.

    They are all in TUN's queue, which holds 500, before A's loop begins: so they go in trains.
    """
    with (
        b.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        a.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
        sink.bind((b.inner, 0))
        for number in range(count):
            out.sendto(number.to_bytes(4, "big") * 300, sink.getsockname())
        a.path.start()
        until(lambda: a.path.stats()["sent_packets"] >= count)
        sent = time.monotonic()
        until(lambda: time.monotonic() > sent + 2 * TOO_LONG)
        b.path.start()
        until(lambda: b.path.stats()["received_packets"] + b.drops.get("sojourn", 0) >= count)
        took = time.monotonic() - sent
        return b.path.stats()["received_packets"], b.drops.get("sojourn", 0), took


def test_a_long_queue_loses_one_packet_per_interval() -> None:
    with pair(start=False, short_queue=True) as (a, b):
        received, dropped, took = late(a, b, 400)
        assert 1 <= dropped <= 1 + took / INTERVAL
        assert received >= 400 - dropped
        assert not set(b.drops) - {"sojourn", "local_noise"}


@pytest.mark.parametrize(("count", "short_queue"), [(400, False), (40, True)], ids=["unlimited", "short"])
def test_what_loses_nothing(count: int, short_queue: bool) -> None:
    with pair(start=False, short_queue=short_queue) as (a, b):
        assert late(a, b, count)[1] == 0


def test_a_stream_passes_whole() -> None:
    with pair(short_queue=True) as (a, b):
        transfer(a, b, 40_000_000)
        assert not {*a.drops, *b.drops} - {"sojourn", "local_noise"}


def named(process: Process) -> int:
    return process.output.count("offload timestamps")


@needs_seccomp
def test_services_name_what_an_old_kernel_lacks() -> None:
    """Once in the log, and in `ovng status`."""
    program = "from tests.kernel_refusal import refuse_timestamps as refuse; refuse(); import sys"
    old_kernel = [sys.executable, "-c", f"{program}; from ovng.cli.main import main; sys.exit(main())"]
    with deployed(start=False) as rig:
        processes = [rig.switch.start(wrapper=old_kernel)]
        rig.switch.wait("Switch that serves", kind="switch")
        processes.append(rig.alice.start(wrapper=old_kernel))
        rig.alice.wait("attachment of alice", attached=True)
        rig.bob.start()
        rig.bob.wait("attachment of bob", attached=True)
        rig.meet()
        for process in processes:
            until(functools.partial(named, process), 30)
        stands = [each.status()["offloads"]["timestamps"] for each in (rig.switch, rig.alice, rig.bob)]
        assert stands == [False, False, True]
        assert [named(process) for process in processes] == [1, 1]


def test_a_flow_that_is_bulk_by_turns_keeps_its_order() -> None:
    """Beside a stream that fills the queues, bursts that are bulk, pauses around what makes a flow sparse."""
    with (
        pair(short_queue=True) as (a, b),
        b.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        a.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        sink.bind((b.inner, 0))
        stream = threading.Thread(target=transfer, args=(a, b, 600_000_000))
        stream.start()
        number = 0
        while stream.is_alive():
            for size in (*[1200] * 40, *[100] * 10):
                out.sendto(number.to_bytes(4, "big") + bytes(size), sink.getsockname())
                number += 1
            pause = time.monotonic() + (number // 50 % 6) * 0.06
            until(functools.partial(lambda end: time.monotonic() > end, pause))
        stream.join()
        sink.setblocking(False)
        got = []
        with contextlib.suppress(BlockingIOError):
            while True:
                got.append(int.from_bytes(sink.recv(2000)[:4], "big"))
        assert got == sorted(got)
        assert len(got) > 0.9 * number
        assert a.path.stats()["sparse"] > 0
