"""The Switch's question for every datagram: where is this node? In batches, as a worker asks, in tables of three sizes.

Beside it the same question to a Python dict of the same IDs. IDs are drawn at random, so that the large table is not
in the cache.
"""

from __future__ import annotations

import random
from array import array

from benchmarks.micro.timing import Batch, Contest, Stopwatch
from ovng._fast.table import Table
from ovng.forwarding.record import RECORD_SIZE
from ovng.ids import Locator

SIZES = (1, 10_000, 1_000_000)
_BATCH = 8192
_LENGTH = 1428


def contests() -> list[Contest]:
    """One for each size."""
    return [_contest(size) for size in SIZES]


def _contest(size: int) -> Contest:
    draw = random.Random(size)
    table, known = Table(size, draw.randbytes(16)), {}
    for number in range(size):
        node, locator = draw.getrandbits(63) + 1, Locator.of("192.0.2.1", number % 65_535 + 1).packed()
        table.put(node, bytes(RECORD_SIZE))
        table.set_locators(node, (locator, None, None, None), 0, -1, 0)
        known[node] = locator
    asked = draw.choices(list(known), k=_BATCH)
    return Contest(
        f"resolve_{size}", f"resolve among {size:,}", "ns", _resolve(table, asked), "dict", _get(known, asked)
    )


def _resolve(table: Table, asked: list[int]) -> Batch:
    ids = array("Q", asked).tobytes()

    def batch(watch: Stopwatch) -> int:
        with watch:
            table.resolve_many(ids, _LENGTH)
        return len(asked)

    return batch


def _get(known: dict[int, bytes], asked: list[int]) -> Batch:
    get = known.get

    def batch(watch: Stopwatch) -> int:
        with watch:
            for node in asked:
                get(node)
        return len(asked)

    return batch
