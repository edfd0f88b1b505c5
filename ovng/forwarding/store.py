"""What forwarding is given, and the one thing it gives back.

The Switch's state about its nodes lives in a table outside Python (`_fast.table.Table`; `slowtable.SlowTable` is its
plain twin): per node up to four locators and two credits, which the forwarding loop reads, and 128 bytes that only
`forwarding` understands (`record.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from ovng.ids import Locator, NodeID

Random = Callable[[int], bytes]
"""`random(n)` gives n bytes that nobody can guess."""

Slots = tuple[bytes | None, ...]


class Out(NamedTuple):
    """A datagram to send, and where to."""

    datagram: bytes
    to: Locator


class Replay(NamedTuple):
    """The tail of what was sent to a node is to be sent again, to where the table has it now."""

    node: NodeID
    rest: bool
    """Without what was sent there already."""


class NodeTable(Protocol):
    """Node ID → locators, credits, record. IDs are 1 … 2^64−1, locators 18 bytes, credits bytes (0 … 2^30)."""

    def __len__(self) -> int: ...

    @property
    def capacity(self) -> int:
        """Nodes at most."""

    def put(self, id: int, record: bytes) -> None:
        """Create a node, or replace the record of a known one. Raises TableFull."""

    def record(self, id: int) -> bytes | None:
        """The record as it was put."""

    def remove(self, id: int) -> bool:
        """Forget a node; False if there is none."""

    def scan(self, position: int, count: int) -> tuple[int, list[int]]:
        """IDs of about `count` entries from `position` (0 at first), and where to go on (0: that was all)."""

    def ids(self) -> Iterator[int]:
        """Every ID; the table may change meanwhile."""

    def set_locators(
        self, id: int, locators: Sequence[bytes | None], active: int, fallback: int, provisional_mask: int
    ) -> None:
        """Replace four slots at once. −1 = none. Raises KeyError, ValueError."""

    def locators(self, id: int) -> tuple[Slots, int, int, int] | None:
        """(slots, active, fallback, provisional mask)."""

    def set_wishes(self, id: int, tail: bool, copies: int) -> None:
        """Whether what is sent to this node is kept for a while, to be sent again; which paths take copies (bit i:
        path i). Raises KeyError, ValueError.
        """

    def wishes(self, id: int) -> tuple[bool, int]:
        """(tail, copies) as set; (False, 0) for an unknown node."""

    def set_credit(self, id: int, incoming: int, outgoing: int) -> None:
        """What may still come from unknown sources, and go to a provisional locator. Raises KeyError."""

    def add_outgoing(self, id: int, amount: int) -> None:
        """More to a provisional locator. Raises KeyError."""

    def credit(self, id: int) -> tuple[int, int] | None:
        """(incoming, outgoing)."""


class Aead(Protocol):
    """One AEAD key. Nonces are 12 bytes; the tag (16) is the end of the sealed bytes."""

    def seal(self, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Ciphertext and tag."""

    def open(self, nonce: bytes, aad: bytes, data: bytes) -> bytes | None:
        """The plaintext, or None if anything was changed."""


AeadFactory = Callable[[int, bytes], Aead]
"""(cipher, key of 32 bytes) → Aead; cipher 1 = AES-256-GCM."""

AES_256_GCM = 1
