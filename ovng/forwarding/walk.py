"""A slow walk over all nodes of the table, a few at a time, so that a million of them stall nothing."""

from __future__ import annotations

from ovng.forwarding.store import NodeTable


class TableWalk:
    """One walk; `begin` starts it over, also while it is under way."""

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self._position = 0
        self.active = False

    def begin(self) -> None:
        self._position, self.active = 0, True

    def step(self, count: int) -> list[int]:
        """The next `count` nodes or so; a node that comes or goes meanwhile may be missed."""
        if not self.active:
            return []
        self._position, nodes = self._table.scan(self._position, count)
        self.active = self._position != 0
        return nodes
