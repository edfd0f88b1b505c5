"""What is sent through the Switch: which datagrams, in what company, to how many of how many nodes."""

from __future__ import annotations

import random
from typing import Literal, NamedTuple

from benchmarks.metrics import Metric
from ovng.limits import HEADER_SIZE, TAG_SIZE

SOURCES = 8
FIRST_SOURCE, FIRST_DESTINATION = 1, 1000
TRAIN_BYTES = 65_000
Order = Literal["little", "big"]
"""Of the bytes of an ID: big for ovng, little for the prototype."""

_DATA = 0x11  # version and type of the header
_RING = 65_536
_TRAINS = 8


class Case(NamedTuple):
    """One row."""

    key: str
    title: str
    payload: int
    """Bytes inside; header and tag are added."""
    train: bool
    """Datagrams leave together by one UDP_SEGMENT send."""
    destinations: int
    """Drawn at random among so many: for each datagram, or for each train when it is not `mixed`."""
    entries: int
    """Nodes in the table."""
    mixed: bool = False
    kernel: bool = False
    """The kernel forwards the same to one host."""

    @property
    def size(self) -> int:
        """Bytes of a datagram."""
        return HEADER_SIZE + self.payload + TAG_SIZE

    @property
    def segments(self) -> int:
        """Datagrams of a message."""
        return TRAIN_BYTES // self.size if self.train else 1

    def metric(self) -> Metric:
        """Its row in a table."""
        return Metric(self.key, self.title, "kpps")


TABLES = (1, 10_000, 1_000_000)

CASES = (
    Case("switch_single_1", "single 64 B, 1 entry", 64, False, 1, 1, kernel=True),
    Case("switch_single_64", "single 64 B, mixed, 10^4 entries", 64, False, 10_000, 10_000),
    Case("switch_single_1m", "single 64 B, mixed, 10^6 entries", 64, False, 1_000_000, 1_000_000),
    Case("switch_single_1400", "single 1400 B, mixed, 10^4 entries", 1400, False, 10_000, 10_000),
    Case("switch_train_1400", "trains 1400 B, one destination", 1400, True, 1, 1, kernel=True),
    Case("switch_train_1m", "trains 1400 B, each to another, 10^6 entries", 1400, True, 1_000_000, 1_000_000),
    Case("switch_mixed_16", "trains 1400 B, mixed over 16, 10^4 entries", 1400, True, 16, 10_000, mixed=True),
    Case("switch_mixed_10k", "trains 1400 B, mixed over 10^4", 1400, True, 10_000, 10_000, mixed=True),
)


def messages(case: Case, source: int, order: Order, seed: int = 1) -> list[bytes]:
    """What one source sends, over and over."""
    draw = random.Random(seed + source)
    count = _TRAINS if case.train else max(64, min(_RING, case.destinations) // SOURCES)
    made = []
    for _ in range(count):
        ids = [FIRST_DESTINATION + draw.randrange(case.destinations) for _ in range(case.segments)]
        if not case.mixed:
            ids = ids[:1] * case.segments
        made.append(b"".join(datagram(case.size, to, FIRST_SOURCE + source, order) for to in ids))
    return made


def datagram(size: int, destination: int, source: int, order: Order) -> bytes:
    """A header as a node makes it, with zeros behind it."""
    ids = destination.to_bytes(8, order) + source.to_bytes(8, order)
    return (bytes([_DATA, 0, 0, 0]) + ids).ljust(size, b"\0")
