"""Where everybody was: {ID, locator}, written now and then, so that a Switch that starts again can call its nodes.

    "ovng nodes 1\\n", then per node: ID 8, active locator 18

Nothing in a snapshot is believed. Each node gets one CHALLENGE at its old locator, spread over a second, or as fast as
they come back: a report that finds the ring full comes again with a keepalive only. A node answers with its ticket,
and that is what the Switch believes. Nodes without traffic would else wait for their next keepalive.
"""

from __future__ import annotations

from collections.abc import Iterator

from ovng.errors import Malformed
from ovng.forwarding.store import NodeTable
from ovng.ids import LOCATOR_SIZE, NODE_ID_SIZE, Locator, NodeID

_MAGIC = b"ovng nodes 1\n"
_ENTRY = NODE_ID_SIZE + LOCATOR_SIZE
_CHUNK = 4_096
_SPREAD = 1.0
_STEP = 0.01  # seconds between calls: many at once would find short queues full
_PER_SECOND = 40_000  # two reports come of each
_OPEN_MAX = 2_500  # calls without an answer: a longer queue would make their nodes ask again
_FORGOTTEN = 1.0  # seconds; then a node is taken to be gone


def pack_snapshot(table: NodeTable) -> Iterator[bytes]:
    """The snapshot in pieces of at most some 100 KiB; the table may change between them."""
    yield _MAGIC
    position = 0
    while True:
        position, nodes = table.scan(position, _CHUNK)
        yield b"".join(_entry(table, node) for node in nodes)
        if not position:
            return


def _entry(table: NodeTable, node: int) -> bytes:
    state = table.locators(node)
    if state is None:
        return b""
    slots, active, _, _ = state
    locator = slots[active] if active != -1 else None
    return b"" if locator is None else node.to_bytes(NODE_ID_SIZE, "big") + locator


def parse_entries(entries: bytes) -> Iterator[tuple[NodeID, Locator]]:
    """Who and where, of whole entries; those that name nobody or nowhere are left out."""
    for at in range(0, len(entries), _ENTRY):
        node = int.from_bytes(entries[at : at + NODE_ID_SIZE], "big")
        locator = Locator.unpack(entries[at + NODE_ID_SIZE : at + _ENTRY])
        if node and locator.port:
            yield NodeID(node), locator


class StartHints:
    """Whom to call after a start, one after the other within a second. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._data = b""
        self._done = 0
        self._last = 0.0
        self._earned = 0.0
        self._open = 0.0  # calls that are perhaps still to be answered
        self._returned = 0

    def load(self, data: bytes, now: float) -> int:
        """Take up a snapshot; the number of nodes in it. Raises Malformed: snapshot."""
        if not data.startswith(_MAGIC) or (len(data) - len(_MAGIC)) % _ENTRY:
            raise Malformed("snapshot")
        self._data, self._done, self._last, self._earned = data[len(_MAGIC) :], 0, now, 1.0
        return len(self._data) // _ENTRY

    @property
    def active(self) -> bool:
        return bool(self._data)

    def deadline(self) -> float | None:
        """When somebody's turn has come."""
        return self._last + _STEP if self.active else None

    def due(self, now: float, returned: int) -> bytes:
        """The entries of those whose turn it is. `returned`: nodes that are back by their tickets since the start."""
        total = len(self._data) // _ENTRY
        elapsed, self._last = max(0.0, now - self._last), now
        self._open = max(0.0, self._open * (1 - min(1.0, elapsed / _FORGOTTEN)) - (returned - self._returned))
        self._returned = returned
        self._earned = min(_OPEN_MAX - self._open, self._earned + min(total / _SPREAD, _PER_SECOND) * elapsed)
        count = max(0, min(total - self._done, int(self._earned)))
        self._earned -= count
        self._open += count
        entries = self._data[self._done * _ENTRY : (self._done + count) * _ENTRY]
        self._done += count
        if self._done == total:
            self._data = b""
        return entries
