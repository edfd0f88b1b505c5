"""A cable that takes its time: packets between two TUN devices in two namespaces, late, lost, doubled, out of order.

This kernel has no netem. `Line` is one direction: what it does to a packet comes from a seeded generator, so that a run
can be repeated. As a program it makes both devices, says `ready`, and carries packets until it is stopped:

    python -m benchmarks.mobility.relay NAMESPACE DEVICE NAMESPACE DEVICE [--delay 0.02 …]
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import select
import sys
from contextlib import ExitStack
from dataclasses import dataclass, fields

from ovng.clock import now
from ovng.demo.net import inside
from ovng.io.tun import Tun, open_tun

DELAY = 0.020
LATER = 0.005
"""Seconds by which a packet that leaves the row is later than it should be."""
_PACKET = 65_536
_IP_HEADER = 20


@dataclass(frozen=True)
class Quality:
    """Of one direction. Seconds, and probabilities 0 … 1."""

    delay: float = DELAY
    jitter: float = 0.0
    """At most, on top of `delay`; the order is kept."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Chance that a packet comes `LATER` while others do not wait for it."""
    corrupt: float = 0.0
    """Chance that one bit behind the IP header is another."""


class Line:
    """One direction: packets in with the time, packets out when they are due."""

    def __init__(self, quality: Quality, seed: int) -> None:
        self._quality, self._random = quality, random.Random(seed)
        self._waiting: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._last = 0.0

    def put(self, packet: bytes, at: float) -> None:
        """Take a packet at an instant."""
        quality, chance = self._quality, self._random.random
        if quality.loss and chance() < quality.loss:
            return
        if quality.corrupt and chance() < quality.corrupt and len(packet) > _IP_HEADER:
            packet = self._damaged(packet)
        due = at + quality.delay
        if quality.jitter:
            due += chance() * quality.jitter
        if quality.reorder and chance() < quality.reorder:
            due += LATER
        else:
            due = self._last = max(due, self._last)
        self._push(packet, due)
        if quality.duplicate and chance() < quality.duplicate:
            self._push(packet, due)

    def due(self, at: float) -> list[bytes]:
        """What leaves by an instant."""
        left = []
        while self._waiting and self._waiting[0][0] <= at:
            left.append(heapq.heappop(self._waiting)[2])
        return left

    @property
    def deadline(self) -> float | None:
        """When the next packet leaves; None when none waits."""
        return self._waiting[0][0] if self._waiting else None

    def _push(self, packet: bytes, due: float) -> None:
        heapq.heappush(self._waiting, (due, self._count, packet))
        self._count += 1

    def _damaged(self, packet: bytes) -> bytes:
        changed = bytearray(packet)
        changed[self._random.randrange(_IP_HEADER, len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)


def carry(near: Tun, far: Tun, quality: Quality, seed: int) -> None:
    """Carry packets both ways until the process ends."""
    ways = ((near.fileno(), far.fileno(), Line(quality, seed)), (far.fileno(), near.fileno(), Line(quality, ~seed)))
    sources = [source for source, _, _ in ways]
    while True:
        at = now().mono
        deadlines = []
        for _, target, line in ways:
            for packet in line.due(at):
                _write(target, packet)
            if line.deadline is not None:
                deadlines.append(line.deadline)
        pause = max(0.0, min(deadlines) - now().mono) if deadlines else None
        ready = select.select(sources, [], [], pause)[0]
        for source, _, line in ways:
            if source in ready:
                _take(source, line)


def _take(source: int, line: Line) -> None:
    while True:
        try:
            line.put(os.read(source, _PACKET), now().mono)
        except BlockingIOError:
            return


def _write(target: int, packet: bytes) -> None:
    try:
        os.write(target, packet)
    except OSError:  # the kernel refuses what was damaged too much to be a packet
        return


def main() -> int:
    """The program; it ends by a signal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mobility.relay")
    parser.add_argument("ends", nargs=4, metavar="NAMESPACE DEVICE")
    parser.add_argument("--seed", type=int, default=1)
    for one in fields(Quality):
        parser.add_argument(f"--{one.name}", type=float, default=one.default)
    options = vars(parser.parse_args())
    ends, seed = options.pop("ends"), options.pop("seed")
    with ExitStack() as stack:
        tuns: list[Tun] = []
        for namespace, device in (ends[:2], ends[2:]):
            with inside(namespace):
                tuns.append(stack.enter_context(open_tun(device, {"vnet_hdr": False})))
        print("ready", flush=True)
        near, far = tuns
        carry(near, far, Quality(**options), seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
