"""The node table in plain Python: what `_fast.table.Table` must do, in the fewest words.

Tests compare the two operation by operation, and it serves forwarding's own tests, which may not import `_fast`.
Slots are numbered and reused as there (the last freed first), so that even `scan` answers alike. It is an oracle,
not a second implementation for use: no reader but the writer's own thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ovng.errors import TableFull
from ovng.ids import LOCATOR_SIZE
from ovng.limits import MAX_PATHS, PROVISIONAL_FACTOR

MAX_NODES = (1 << 24) - 1
RECORD_SIZE = 128
CREDIT_MAX = 1 << 30

# Verdicts; negative ones drop the packet.
LIVE = 0
FALLBACK = 1
GRACE = 2
UNKNOWN = -1
NO_LOCATOR = -2
NO_CREDIT = -3
STRAY = -4

Slots = tuple[bytes | None, ...]


@dataclass
class _Node:
    slot: int
    record: bytes
    locators: Slots = (None,) * MAX_PATHS
    active: int = -1
    fallback: int = -1
    provisional: int = 0
    incoming: int = 0
    outgoing: int = 0
    wishes: tuple[bool, int] = (False, 0)


class SlowTable:
    """As `_fast.table.Table`: at most `capacity` nodes. The key is checked and not needed."""

    def __init__(self, capacity: int, key: bytes) -> None:
        if not 1 <= capacity <= MAX_NODES:
            raise ValueError(f"a table holds 1 … {MAX_NODES} nodes, not {capacity}")
        if len(key) != 16:
            raise ValueError(f"the key has 16 bytes, not {len(key)}")
        self.capacity = capacity
        self._nodes: dict[int, _Node] = {}
        self._slots: list[int | None] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._nodes)

    def put(self, id: int, record: bytes) -> None:
        """Create a node, or replace the record (at most 128 bytes) of a known one. Raises TableFull, ValueError."""
        if id == 0:
            raise ValueError("node ID 0")
        if len(record) > RECORD_SIZE:
            raise ValueError(f"a record has at most {RECORD_SIZE} bytes, not {len(record)}")
        node = self._nodes.get(id)
        if node is not None:
            node.record = record
            return
        if len(self._nodes) == self.capacity:
            raise TableFull(f"the table holds its {len(self._nodes)} nodes already")
        if self._free:
            slot = self._free.pop()
            self._slots[slot] = id
        else:
            slot = len(self._slots)
            self._slots.append(id)
        self._nodes[id] = _Node(slot, record)

    def record(self, id: int) -> bytes | None:
        """The record as it was put, or None for an unknown node."""
        node = self._nodes.get(id)
        return None if node is None else node.record

    def remove(self, id: int) -> bool:
        """Forget a node; False when it is unknown."""
        node = self._nodes.pop(id, None)
        if node is None:
            return False
        self._slots[node.slot] = None
        self._free.append(node.slot)
        return True

    def scan(self, position: int, count: int) -> tuple[int, list[int]]:
        """(next position, IDs) of at most `count` slots; 0 begins, and as next position ends."""
        last = min(position + count, len(self._slots))
        found = [id for id in self._slots[position:last] if id is not None]
        return (last if last < len(self._slots) else 0), found

    def ids(self) -> Iterator[int]:
        """Every node's ID; the table may change meanwhile."""
        position = 0
        while True:
            position, found = self.scan(position, 1024)
            yield from found
            if not position:
                return

    def set_locators(
        self, id: int, locators: Sequence[bytes | None], active: int, fallback: int, provisional_mask: int
    ) -> None:
        """Replace a node's four slots; −1 is no slot. Raises KeyError, ValueError."""
        if len(locators) != MAX_PATHS:
            raise ValueError(f"a node has {MAX_PATHS} slots, not {len(locators)}")
        for locator in locators:
            if locator is not None and len(locator) != LOCATOR_SIZE:
                raise ValueError(f"a locator has {LOCATOR_SIZE} bytes, not {len(locator)}")
        if not 0 <= provisional_mask < 1 << MAX_PATHS:
            raise ValueError(f"provisional mask {provisional_mask}")
        node = self._nodes[id]
        for slot in (active, fallback):
            if slot != -1 and not (0 <= slot < MAX_PATHS and locators[slot] is not None):
                raise ValueError(f"slot {slot} is empty")
        node.locators = tuple(locators)
        node.active, node.fallback, node.provisional = active, fallback, provisional_mask

    def locators(self, id: int) -> tuple[Slots, int, int, int] | None:
        """(four slots, active, fallback, provisional mask) as set, or None for an unknown node."""
        node = self._nodes.get(id)
        return None if node is None else (node.locators, node.active, node.fallback, node.provisional)

    def set_wishes(self, id: int, tail: bool, copies: int) -> None:
        """Whether what is sent to this node is kept; which paths take copies (mask). Raises KeyError, ValueError."""
        if copies >> MAX_PATHS:
            raise ValueError(f"copies {copies}")
        self._nodes[id].wishes = tail, copies

    def wishes(self, id: int) -> tuple[bool, int]:
        """(tail, copies) as set; (False, 0) for an unknown node."""
        node = self._nodes.get(id)
        return (False, 0) if node is None else node.wishes

    def set_credit(self, id: int, incoming: int, outgoing: int) -> None:
        """Bytes left for unknown sources and for a provisional locator. Raises KeyError, ValueError."""
        node = self._nodes[id]
        if not 0 <= incoming <= CREDIT_MAX or not 0 <= outgoing <= CREDIT_MAX:
            raise ValueError(f"credits {incoming}, {outgoing}")
        node.incoming, node.outgoing = incoming, outgoing

    def add_outgoing(self, id: int, amount: int) -> None:
        """More bytes for a provisional locator; stops at CREDIT_MAX. Raises KeyError, ValueError."""
        node = self._nodes[id]
        if not 0 <= amount <= CREDIT_MAX:
            raise ValueError(f"credit {amount}")
        node.outgoing = min(node.outgoing + amount, CREDIT_MAX)

    def credit(self, id: int) -> tuple[int, int] | None:
        """(incoming, outgoing) bytes left, or None for an unknown node."""
        node = self._nodes.get(id)
        return None if node is None else (node.incoming, node.outgoing)

    def resolve(self, id: int, length: int) -> tuple[int, bytes | None]:
        """Where `length` bytes for a node go: (verdict, locator). A provisional locator is charged (PROTOCOL 6)."""
        node = self._nodes.get(id)
        if node is None:
            return UNKNOWN, None
        if node.active == -1:
            return NO_LOCATOR, None
        if not node.provisional >> node.active & 1:
            return LIVE, node.locators[node.active]
        if node.outgoing >= length:
            node.outgoing -= length
            return LIVE, node.locators[node.active]
        return (NO_CREDIT, None) if node.fallback == -1 else (FALLBACK, node.locators[node.fallback])

    def check_source(self, id: int, locator: bytes, length: int) -> int:
        """May `length` bytes from `locator` be of this node? Charges the grace credit (PROTOCOL 6.1)."""
        node = self._nodes.get(id)
        if len(locator) != LOCATOR_SIZE:
            raise ValueError(f"a locator has {LOCATOR_SIZE} bytes, not {len(locator)}")
        if node is None:
            return UNKNOWN
        if locator in node.locators:
            if node.provisional >> node.locators.index(locator) & 1:
                node.outgoing = min(node.outgoing + PROVISIONAL_FACTOR * length, CREDIT_MAX)
            return LIVE
        if node.incoming < length:
            return STRAY
        node.incoming -= length
        return GRACE
