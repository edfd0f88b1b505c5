from collections.abc import Callable

from ovng._fast.table import Table
from ovng.forwarding.terms import Terms

class Reports:
    """Answers reports by itself where `forwarding/reports.py` would say yes, or "who are you?", without a second look.

    For the table's writing thread only.
    """

    def __init__(self, table: Table) -> None: ...
    def answer(
        self,
        records: list[tuple[int, bytes]],
        at: int,
        terms: Callable[[], Terms],
        answers: list[tuple[int, bytes]],
    ) -> int:
        """Handle `records` (as a Worker's rings give them) from number `at` on, up to one that Python must handle.

        Returns that one's number, or their count. Answers are appended as (number of the record, datagram). `terms` is
        asked at most once.
        """
    def start_hints(self, entries: bytes, terms: Terms) -> list[tuple[bytes, bytes]]:
        """(locator of 18 bytes, CHALLENGE) for every entry of a snapshot that names a node which is not attached."""
