from collections.abc import Sequence

from ovng._fast.table import Table

COUNTER_NAMES: tuple[str, ...]
ENDPOINT: int
UNMATCHED: int
UNATTACHED: int

def acknowledge(event_fd: int) -> None:
    """Clear the eventfd of the rings: before draining them, never after."""

class Worker:
    """One forwarding loop. `run` is for a thread of its own; all else may be called from any other."""

    def __init__(
        self,
        table: Table,
        switch_id: int,
        fds: Sequence[int],
        exit_v4: int,
        exit_v6: int,
        event_fd: int,
        key: bytes,
        *,
        batch: int,
        segments_max: int,
        ring_bytes: int,
        tail_bytes: int,
    ) -> None:
        """`fds` are UDP sockets that stay open until `run` has returned; the exits are indices into them or -1.

        `key` (16 random bytes) hashes what strangers choose. `batch` messages per receive, `segments_max` datagrams
        per send (1 = no GSO), `ring_bytes` for each of the two rings, `tail_bytes` (a power of
        two) for what is kept of what was sent. Raises ValueError, OSError, MemoryError.
        """
    def run(self) -> None:
        """Forward until `stop`. Raises OSError when a socket is gone."""
    def stop(self) -> None:
        """Ask `run` to return; it does so after the batch at hand."""
    def replay(self, node: int, rest: bool) -> bool:
        """Send a node's tail to where it is now; with `rest` but what was not sent there yet. False: too many wait."""
    def drain_known(self, limit: int) -> list[tuple[int, bytes]]:
        """Events that attached nodes caused, oldest first.

        The first number is ENDPOINT, UNMATCHED or UNATTACHED, plus 256 × the index of the socket. The bytes are source
        locator 18, local address 16 (zeros: unknown), length of the datagram 4, then the datagram, or only its header.
        """
    def drain_strangers(self, limit: int) -> list[tuple[int, bytes]]:
        """The same, caused by anybody."""
    def counters(self) -> dict[str, int]:
        """By name, those of the sockets included. Read while they are counted: they need not add up."""
