"""The three hosts of the Switch alone, and what passes from one end to the other in a while."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.star import Star, star
from benchmarks.switch.cases import Case, Order
from benchmarks.switch.place import ADDRESSES, destination
from ovng.clock import now
from ovng.demo.deployment import SOURCE
from ovng.demo.net import Host, Process, wait_until
from ovng.errors import SystemProblem

SETTLE_SECONDS = 0.15
SECONDS = 0.6
_HEADERS = 14 + 20 + 8
_LATEST = 60.0


class Counters(NamedTuple):
    """Of a network device; a train that arrives whole is one message."""

    bytes: int
    messages: int


class Forwarder(NamedTuple):
    """Somebody who forwards: where to send, and how IDs are written there."""

    host: str
    port: int
    order: Order


@contextmanager
def arena() -> Iterator[Star]:
    """A star whose `b` has the nodes' addresses and drops all UDP that arrives. Raises SystemProblem."""
    with star() as here:
        here.b.add_address("hub", *(f"{destination(index)[0]}/24" for index in range(1, ADDRESSES)))
        here.b.nft(
            "table netdev sink { chain in { type filter hook ingress device hub priority 0; ip protocol udp drop; }; }"
        )
        for index in range(ADDRESSES):  # the hub learns their link addresses before anything is measured
            here.hub.run("ping", "-n", "-c", "1", "-W", "2", destination(index)[0])
        yield here


def start(host: Host, name: str, *arguments: str) -> Process:
    """A program of this package, once it has said `ready`. Raises SystemProblem."""
    process = host.start(
        name, sys.executable, "-m", f"benchmarks.switch.{name}", *arguments, env={"PYTHONPATH": SOURCE}
    )
    wait_ready(process)
    return process


def wait_ready(process: Process) -> None:
    """Raises SystemProblem."""

    def said() -> bool:
        process.check()
        return "ready" in process.output

    wait_until(said, f"{process.name} that is ready", _LATEST)


def forwarded(here: Star, case: Case, through: Forwarder) -> float:
    """Datagrams per second that reach `b` while the generator sends all it can. Raises SystemProblem."""
    duration = f"{2 * SETTLE_SECONDS + SECONDS:g}"
    generator = start(here.a, "generate", case.key, through.host, str(through.port), through.order, duration)
    threading.Event().wait(SETTLE_SECONDS)
    began, before = now().mono, _arrived(here.b)
    threading.Event().wait(SECONDS)
    took, after = now().mono - began, _arrived(here.b)
    generator.finish(_LATEST)
    return datagrams(before, after, case.size) / took


def datagrams(before: Counters, after: Counters, size: int) -> float:
    """How many of `size` bytes arrived between two readings, whatever they arrived in."""
    return (after.bytes - before.bytes - _HEADERS * (after.messages - before.messages)) / size


def _arrived(host: Host) -> Counters:
    with host.inside():
        return read_counters(Path("/proc/thread-self/net/dev").read_text(), "hub")


def read_counters(text: str, device: str) -> Counters:
    """What /proc/net/dev says of the received. Raises SystemProblem when the device is not there."""
    for line in text.splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == device:
            received = figures.split()
            return Counters(int(received[0]), int(received[1]))
    raise SystemProblem(f"no device {device}")
