"""The node table against its slow twin, under concurrent readers, and at its full size (PROTOCOL 6)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ovng._fast import table as fast
from ovng._fast.siphash import siphash24_u64
from ovng._fast.table import CREDIT_MAX, MAX_NODES, Table
from ovng.errors import TableFull
from ovng.forwarding import slowtable
from ovng.forwarding.slowtable import SlowTable
from tests.effort import examples
from tests.lacks import needs_own_memory

KEY = bytes(range(16))
TABLES: list[type[Table] | type[SlowTable]] = [Table, SlowTable]
ANSWER = 1 + 18  # bytes of one answer of resolve_many


def locator(number: int) -> bytes:
    """18 bytes that tell their number nine times over, so that a torn copy shows."""
    return number.to_bytes(2) * 9


def test_both_tables_speak_of_the_same_numbers() -> None:
    assert (fast.LIVE, fast.FALLBACK, fast.GRACE) == (slowtable.LIVE, slowtable.FALLBACK, slowtable.GRACE)
    assert fast.DROP_NAMES == {
        slowtable.UNKNOWN: "not_attached",
        slowtable.NO_LOCATOR: "no_locator",
        slowtable.NO_CREDIT: "provisional_credit",
        slowtable.STRAY: "grace_credit",
    }
    assert (MAX_NODES, CREDIT_MAX) == (slowtable.MAX_NODES, slowtable.CREDIT_MAX)


# -- Like the slow twin

ids = st.integers(1, 24).map(lambda n: n * 0x9E3779B97F4A7C15 % 2**64)
maybe_locators = st.none() | st.integers(1, 5).map(locator)
slots = st.integers(-1, 3)
lengths = st.integers(0, 3000)
credits_ = st.integers(0, 10_000) | st.sampled_from([CREDIT_MAX, CREDIT_MAX - 1])


class LikeTheSlowTwin(RuleBasedStateMachine):
    """Any history of calls gets the same answers and the same exceptions from both."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = Table(16, KEY), SlowTable(16, KEY)

    def both(self, call: Callable[[Any], Any]) -> None:
        results: list[Any] = []
        for table in (self.fast, self.slow):
            try:
                results.append(call(table))
            except (KeyError, ValueError, TableFull) as problem:
                results.append(type(problem))
        assert results[0] == results[1]

    @rule(id=ids, record=st.binary(max_size=130))
    def put(self, id: int, record: bytes) -> None:
        self.both(lambda table: table.put(id, record))

    @rule(id=ids)
    def remove(self, id: int) -> None:
        self.both(lambda table: table.remove(id))

    @rule(
        id=ids,
        four=st.lists(maybe_locators, min_size=4, max_size=4),
        active=slots,
        fallback=slots,
        mask=st.integers(0, 15),
    )
    def set_locators(self, id: int, four: list[bytes | None], active: int, fallback: int, mask: int) -> None:
        self.both(lambda table: table.set_locators(id, four, active, fallback, mask))

    @rule(id=ids, incoming=credits_, outgoing=credits_)
    def set_credit(self, id: int, incoming: int, outgoing: int) -> None:
        self.both(lambda table: table.set_credit(id, incoming, outgoing))

    @rule(id=ids, amount=credits_)
    def add_outgoing(self, id: int, amount: int) -> None:
        self.both(lambda table: table.add_outgoing(id, amount))

    @rule(id=ids, length=lengths)
    def resolve(self, id: int, length: int) -> None:
        self.both(lambda table: table.resolve(id, length))

    @rule(id=ids, number=st.integers(1, 6), length=lengths)
    def check_source(self, id: int, number: int, length: int) -> None:
        self.both(lambda table: table.check_source(id, locator(number), length))

    @rule(id=ids)
    def look(self, id: int) -> None:
        self.both(lambda table: (table.record(id), table.locators(id), table.credit(id)))

    @rule(position=st.integers(0, 20), count=st.integers(1, 20))
    def scan(self, position: int, count: int) -> None:
        self.both(lambda table: table.scan(position, count))

    @precondition(lambda self: len(self.slow) > 0)
    @rule(length=lengths)
    def resolve_in_a_batch(self, length: int) -> None:
        asked = [*self.slow.ids(), 0, 77]
        answers = self.fast.resolve_many(array("Q", asked).tobytes(), length)
        for at, id in enumerate(asked):
            verdict, where = self.slow.resolve(id, length)
            answer = answers[at * ANSWER : (at + 1) * ANSWER]
            assert answer == (verdict & 255).to_bytes() + (where or bytes(18))

    @invariant()
    def same_nodes(self) -> None:
        assert len(self.fast) == len(self.slow)
        assert list(self.fast.ids()) == list(self.slow.ids())


TestLikeTheSlowTwin = LikeTheSlowTwin.TestCase
TestLikeTheSlowTwin.settings = settings(max_examples=examples(150), stateful_step_count=60, deadline=None)


# -- What forwarding asks, rule by rule (both tables)


@pytest.fixture(params=TABLES, ids=["fast", "slow"])
def table(request: pytest.FixtureRequest) -> Table | SlowTable:
    made: Table | SlowTable = request.param(8, KEY)
    made.put(1, b"record")
    return made


def test_a_new_node_is_attached_but_nowhere(table: Table | SlowTable) -> None:
    assert table.resolve(1, 100) == (slowtable.NO_LOCATOR, None)
    assert table.resolve(2, 100) == (slowtable.UNKNOWN, None)
    assert table.check_source(1, locator(1), 100) == slowtable.STRAY
    assert table.check_source(2, locator(1), 100) == slowtable.UNKNOWN


def test_packets_go_to_the_active_locator_whichever_slot(table: Table | SlowTable) -> None:
    four = [locator(n) for n in (1, 2, 3, 4)]
    for active in range(4):
        table.set_locators(1, four, active, -1, 0)
        assert table.resolve(1, 1400) == (slowtable.LIVE, four[active])
    assert table.credit(1) == (0, 0)


def test_a_provisional_locator_gets_its_credit_and_the_old_one_the_rest(table: Table | SlowTable) -> None:
    table.set_locators(1, [locator(1), locator(2), None, None], 1, 0, 0b0010)
    table.set_credit(1, 0, 1000)
    assert table.resolve(1, 600) == (slowtable.LIVE, locator(2))
    assert table.resolve(1, 600) == (slowtable.FALLBACK, locator(1)), "it would go below zero"
    assert table.resolve(1, 400) == (slowtable.LIVE, locator(2)), "to the byte"
    assert table.resolve(1, 1) == (slowtable.FALLBACK, locator(1))
    table.set_locators(1, [None, locator(2), None, None], 1, -1, 0b0010)
    assert table.resolve(1, 1) == (slowtable.NO_CREDIT, None)
    table.set_locators(1, [None, locator(2), None, None], 1, -1, 0)
    assert table.resolve(1, 1) == (slowtable.LIVE, locator(2)), "confirmed: no longer charged"


def test_what_comes_from_a_provisional_locator_earns_three_times_its_length(table: Table | SlowTable) -> None:
    table.set_locators(1, [locator(1), locator(2), None, None], 1, 0, 0b0010)
    assert table.check_source(1, locator(2), 100) == slowtable.LIVE
    assert table.credit(1) == (0, 300)
    assert table.check_source(1, locator(1), 100) == slowtable.LIVE
    assert table.credit(1) == (0, 300), "a confirmed one earns nothing"
    table.set_credit(1, 0, CREDIT_MAX - 5)
    table.check_source(1, locator(2), 65_507)
    assert table.credit(1) == (0, CREDIT_MAX)


def test_any_of_the_four_locators_is_a_good_source(table: Table | SlowTable) -> None:
    four = [locator(n) for n in (1, 2, 3, 4)]
    table.set_locators(1, four, 0, -1, 0)
    assert [table.check_source(1, one, 1400) for one in four] == [slowtable.LIVE] * 4
    assert table.check_source(1, locator(5), 1400) == slowtable.STRAY
    assert table.check_source(1, bytes(18), 1400) == slowtable.STRAY


def test_an_empty_slot_is_no_source(table: Table | SlowTable) -> None:
    table.set_locators(1, [locator(1), None, None, None], 0, -1, 0)
    assert table.check_source(1, bytes(18), 1) == slowtable.STRAY


def test_a_source_elsewhere_lives_on_the_grace_credit(table: Table | SlowTable) -> None:
    table.set_locators(1, [locator(1), None, None, None], 0, -1, 0)
    table.set_credit(1, 1000, 0)
    assert table.check_source(1, locator(9), 600) == slowtable.GRACE
    assert table.check_source(1, locator(9), 600) == slowtable.STRAY
    assert table.check_source(1, locator(8), 400) == slowtable.GRACE
    assert table.check_source(1, locator(8), 1) == slowtable.STRAY
    assert table.credit(1) == (0, 0)


def test_a_returning_node_inherits_nothing(table: Table | SlowTable) -> None:
    table.set_locators(1, [locator(1), None, None, locator(4)], 0, 3, 0b1001)
    table.set_credit(1, 5, 6)
    assert table.remove(1) is True
    assert table.remove(1) is False
    assert (table.record(1), table.locators(1), table.credit(1)) == (None, None, None)
    table.put(2, b"")  # takes the freed slot
    assert (table.record(2), table.locators(2), table.credit(2)) == (b"", ((None,) * 4, -1, -1, 0), (0, 0))
    assert table.resolve(1, 1) == (slowtable.UNKNOWN, None)


def test_replacing_the_record_keeps_locators_and_credit(table: Table | SlowTable) -> None:
    table.set_locators(1, [locator(1), None, None, None], 0, -1, 0)
    table.set_credit(1, 5, 6)
    table.put(1, b"x" * 128)
    assert (table.record(1), table.credit(1), len(table)) == (b"x" * 128, (5, 6), 1)
    assert table.resolve(1, 1) == (slowtable.LIVE, locator(1))
    table.put(1, b"")
    assert table.record(1) == b""


def test_a_full_table_says_so_and_stays_whole(table: Table | SlowTable) -> None:
    for id in range(2, 9):
        table.put(id, b"")
    with pytest.raises(TableFull, match="8 nodes already"):
        table.put(9, b"")
    table.put(8, b"a known one may still change")
    assert (len(table), table.record(9), sorted(table.ids())) == (8, None, list(range(1, 9)))
    assert table.remove(3)
    table.put(9, b"")
    assert table.record(9) == b""


def test_ids_while_the_table_changes(table: Table | SlowTable) -> None:
    for id in range(2, 9):
        table.put(id, b"")
    seen = []
    for id in table.ids():
        seen.append(id)
        table.remove(id)
    assert sorted(seen) == list(range(1, 9))
    assert len(table) == 0


def test_a_scan_is_chunked_and_ends_with_zero(table: Table | SlowTable) -> None:
    for id in range(2, 8):
        table.put(id, b"")
    table.remove(4)
    seen, position, steps = [], 0, 0
    while True:
        position, some = table.scan(position, 2)
        assert len(some) <= 2
        seen += some
        steps += 1
        if position == 0:
            break
    assert (seen, steps) == ([1, 2, 3, 5, 6, 7], 4)


# -- Bad input (both tables)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    ("capacity", "key", "message"),
    [(0, KEY, "not 0"), (MAX_NODES + 1, KEY, "nodes, not"), (8, bytes(15), "16 bytes"), (8, bytes(17), "16 bytes")],
)
def test_impossible_tables_are_refused(
    kind: type[Table] | type[SlowTable], capacity: int, key: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(capacity, key)


@pytest.mark.parametrize(
    "call",
    [
        lambda table: table.put(0, b""),
        lambda table: table.put(2, bytes(129)),
        lambda table: table.set_locators(1, [None] * 3, -1, -1, 0),
        lambda table: table.set_locators(1, [None] * 5, -1, -1, 0),
        lambda table: table.set_locators(1, [bytes(17), None, None, None], -1, -1, 0),
        lambda table: table.set_locators(1, [bytes(19), None, None, None], -1, -1, 0),
        lambda table: table.set_locators(1, [None] * 4, 0, -1, 0),
        lambda table: table.set_locators(1, [locator(1)] * 4, 4, -1, 0),
        lambda table: table.set_locators(1, [locator(1)] * 4, -2, -1, 0),
        lambda table: table.set_locators(1, [locator(1), None, None, None], 0, 1, 0),
        lambda table: table.set_locators(1, [locator(1)] * 4, 0, 7, 0),
        lambda table: table.set_locators(1, [locator(1)] * 4, 0, -1, 16),
        lambda table: table.set_locators(1, [locator(1)] * 4, 0, -1, -1),
        lambda table: table.set_credit(1, -1, 0),
        lambda table: table.set_credit(1, 0, CREDIT_MAX + 1),
        lambda table: table.add_outgoing(1, -1),
        lambda table: table.check_source(1, bytes(17), 1),
    ],
)
def test_bad_values_are_refused_and_change_nothing(table: Table | SlowTable, call: Callable[[Any], None]) -> None:
    before = (table.record(1), table.locators(1), table.credit(1), len(table))
    with pytest.raises(ValueError):
        call(table)
    assert (table.record(1), table.locators(1), table.credit(1), len(table)) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda table: table.set_locators(5, [None] * 4, -1, -1, 0),
        lambda table: table.set_credit(5, 0, 0),
        lambda table: table.add_outgoing(5, 1),
        lambda table: table.set_credit(0, 0, 0),
    ],
)
def test_an_unknown_node_is_a_key_error(table: Table | SlowTable, call: Callable[[Any], None]) -> None:
    with pytest.raises(KeyError):
        call(table)


def test_id_zero_is_nobody(table: Table | SlowTable) -> None:
    table.remove(1)  # a freed slot carries ID 0 inside
    assert (table.record(0), table.locators(0), table.credit(0), table.remove(0)) == (None, None, None, False)
    assert table.resolve(0, 1) == (slowtable.UNKNOWN, None)
    assert table.check_source(0, locator(1), 1) == slowtable.UNKNOWN


# -- The fast table alone


def test_the_capacity_can_be_filled_whatever_the_key() -> None:
    for seed in range(20):
        source = random.Random(seed)
        capacity = source.randrange(1, 70)
        table = Table(capacity, source.randbytes(16))
        chosen = [source.getrandbits(64) | 1 for _ in range(capacity)]
        for id in chosen:
            table.put(id, id.to_bytes(8))
        assert [table.record(id) for id in chosen] == [id.to_bytes(8) for id in chosen]
        assert all(table.remove(id) for id in chosen)
        assert all(table.record(id) is None for id in chosen)


def test_churn_does_not_slow_the_table_down() -> None:
    """Removal leaves nothing in the index: after 40 full replacements a miss costs about what it did at first.

    (Tombstones, tried before, made it a thousand times slower.)
    """
    source = random.Random(7)
    capacity = 1 << 12
    table = Table(capacity, source.randbytes(16))
    present = [source.getrandbits(64) for _ in range(capacity)]
    strangers = array("Q", [source.getrandbits(64) for _ in range(1 << 16)]).tobytes()

    def misses() -> float:
        best = float("inf")
        for _ in range(5):
            begun = time.thread_time()
            answers = table.resolve_many(strangers, 1)
            best = min(best, time.thread_time() - begun)
            assert answers.count(b"\xff" + bytes(18)) == 1 << 16
        return best

    for id in present:
        table.put(id, b"")
    at_first = misses()
    for _ in range(40 * capacity):
        at = source.randrange(capacity)
        table.remove(present[at])
        present[at] = source.getrandbits(64)
        table.put(present[at], b"")
    assert len(table) == capacity
    assert misses() < 10 * at_first


def test_readers_never_see_a_torn_or_foreign_locator() -> None:
    """Readers resolve without the GIL while one writer moves, removes and adds nodes in the same few slots.

    Every locator says its own number nine times, and the number says whose it is: its low four bits are the ID's.
    """
    nodes = 16
    table = Table(nodes, KEY)
    asked = array("Q", [1 + n % nodes for n in range(4096)])
    packed = asked.tobytes()
    stop = threading.Event()
    seen: set[bytes] = set()
    problems: list[str] = []

    def read() -> None:
        mine: set[bytes] = set()
        while not stop.is_set():
            answers = table.resolve_many(packed, 1)
            for at, id in enumerate(asked):
                verdict, where = answers[at * ANSWER], answers[at * ANSWER + 1 : (at + 1) * ANSWER]
                if verdict == slowtable.LIVE:
                    if where != where[:2] * 9 or where[1] & 15 != id & 15:
                        problems.append(f"node {id}: {where.hex()}")
                        return
                    mine.add(where)
                elif verdict not in (slowtable.NO_LOCATOR & 255, slowtable.UNKNOWN & 255):
                    problems.append(f"node {id}: verdict {verdict}")
                    return
        seen.update(mine)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    source = random.Random(11)
    deadline = time.monotonic() + 2.0
    moves = 0
    while time.monotonic() < deadline and not problems:
        for _ in range(200):
            id = source.randrange(1, nodes + 1)
            if source.random() < 0.3:
                table.remove(id)
                continue
            table.put(id, b"")
            four = [locator(source.randrange(1, 4096) << 4 | id & 15) for _ in range(4)]
            table.set_locators(id, four, source.randrange(4), -1, 0)
            moves += 1
    stop.set()
    for reader in readers:
        reader.join(30)
    assert not problems
    assert moves > 1000
    assert len(seen) > 20, "the readers must have met moving nodes"


def test_readers_never_miss_a_node_that_stays_while_others_leave() -> None:
    """Each removal moves index entries of other nodes towards their home, under the readers' eyes.

    The IDs are chosen, with the key in hand, to have one home: every reader walks where the writer moves. A node that
    stays moves only until it is home, so every round begins anew.
    """
    table = Table(256, KEY)
    crowd = [id for id in range(1, 1 << 16) if siphash24_u64(KEY, id) & 511 == 0][:96]
    assert len(crowd) == 96
    leaving, staying = crowd[:32], crowd[32:]
    packed = array("Q", staying * 256).tobytes()
    started = threading.Event()

    def read() -> int:
        started.set()
        return table.resolve_many(packed, 1).count((slowtable.NO_LOCATOR & 255).to_bytes() + bytes(18))

    deadline = time.monotonic() + 2.0
    rounds = 0
    with ThreadPoolExecutor(1) as pool:
        while rounds <= 50 or time.monotonic() < deadline:
            for id in crowd:
                table.put(id, b"")
            started.clear()
            found = pool.submit(read)
            started.wait(30)  # comes back when the reader is at work, without the GIL
            for id in leaving:
                table.remove(id)
            assert found.result(30) == 256 * len(staying)
            for id in crowd:
                table.remove(id)
            rounds += 1


def test_credits_are_never_spent_twice() -> None:
    """Two threads that spend one credit forward exactly what it allows."""
    table = Table(1, KEY)
    table.put(1, b"")
    table.set_locators(1, [locator(1), locator(2), None, None], 1, 0, 0b0010)
    table.set_credit(1, 0, 100_000)
    packed = array("Q", [1] * 80_000).tobytes()
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda: answers.append(table.resolve_many(packed, 1))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(answer.count(b"\x00" + locator(2)) for answer in answers) == 100_000
    assert sum(answer.count(b"\x01" + locator(1)) for answer in answers) == 60_000
    assert table.credit(1) == (0, 0)


MILLION = """
import json, os, random
from ovng._fast.table import Table

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

source = random.Random(3)
before = resident()
table = Table(1 << 20, source.randbytes(16))
table.put(1, b"")
empty = resident() - before
where = source.randbytes(18)
for n in range(1_000_000 - 1):
    id = n * 0x9E3779B97F4A7C15 + 2 & 0xFFFFFFFFFFFFFFFF
    table.put(id, where)
    table.set_locators(id, (where, None, None, where), 0, -1, 0)
print(json.dumps({"nodes": len(table), "empty": empty, "full": resident() - before}))
"""


@needs_own_memory
def test_a_million_nodes_fit_in_300_megabytes_and_none_cost_nothing() -> None:
    result = subprocess.run([sys.executable, "-c", MILLION], capture_output=True, text=True, timeout=120, check=True)
    measured = json.loads(result.stdout)
    assert measured["nodes"] == 1_000_000
    assert measured["empty"] < 1_000_000
    assert 200_000_000 < measured["full"] <= 300_000_000
