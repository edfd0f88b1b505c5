"""Packets that wait for a session: a short queue per destination, the newest kept.

A packet for an address nobody is known for, or for a peer whose key is not there yet, waits here while resolution and
handshake run. Both a destination and the whole queue are bounded, so a port scan into the overlay costs a fixed amount.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

from ovng import limits


class PendingPackets:
    """Bounded packet queues by key (an inner address or a peer). `dropped` counts what the bounds pushed out."""

    def __init__(self, per_key: int = limits.PENDING_PACKETS, total_bytes: int = limits.PENDING_BYTES) -> None:
        self._queues: OrderedDict[Hashable, deque[bytes]] = OrderedDict()
        self._per_key, self._total_bytes = per_key, total_bytes
        self._bytes = 0
        self.dropped = 0

    def add(self, key: Hashable, packet: bytes) -> bool:
        """Queue a packet; True when it is the first that waits for this key."""
        queue = self._queues.get(key)
        first = queue is None
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(packet)
        self._bytes += len(packet)
        if len(queue) > self._per_key:
            self._discard(queue)
        while self._bytes > self._total_bytes:
            oldest_key, oldest = next(iter(self._queues.items()))
            self._discard(oldest)
            if not oldest:
                del self._queues[oldest_key]
        return first

    def take(self, key: Hashable) -> list[bytes]:
        """Remove and return what waits for this key, oldest first."""
        queue = self._queues.pop(key, None)
        if queue is None:
            return []
        self._bytes -= sum(map(len, queue))
        return list(queue)

    def keys(self) -> list[Hashable]:
        """The keys that something waits for, oldest first."""
        return list(self._queues)

    def __contains__(self, key: Hashable) -> bool:
        """Whether something waits for this key."""
        return key in self._queues

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def _discard(self, queue: deque[bytes]) -> None:
        self._bytes -= len(queue.popleft())
        self.dropped += 1
