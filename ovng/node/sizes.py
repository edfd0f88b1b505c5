"""How large a packet may be to reach each peer in one piece: what our way to the Switch carries, and the peer's.

Each node learns by itself how large datagrams may be on its own way, in both directions (`forwarding/pathsize`), and
tells its peers inside TLS; the smaller of the two counts. The data path cuts TCP to it at once. Applications that
forbid fragments are told by ICMP what fits, but only when that has stood for a while: they remember it for ten minutes,
and a path that has just changed is thought narrow until its first probe is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ovng.clock import Now
from ovng.ids import IPAddress, NodeID
from ovng.limits import HEADER_SIZE, SIZE_BASE, TAG_SIZE
from ovng.node.icmp import router_of, too_big

SETTLED_SECONDS = 0.5


class FittingPath(Protocol):
    """What the data path is told."""

    def set_fits(self, peer: NodeID, size: int) -> None: ...


class Sizes:
    """`set_reach` tells all peers how large datagrams may be that reach us; `deliver` takes ICMP errors."""

    def __init__(
        self,
        path: FittingPath,
        set_reach: Callable[[int, Now], None],
        deliver: Callable[[bytes], object],
        own_addresses: Iterable[IPAddress],
    ) -> None:
        self._path, self._set_reach, self._deliver = path, set_reach, deliver
        self._router6 = next((address.packed for address in own_addresses if address.version == 6), b"")
        self._reach = SIZE_BASE
        self._told: dict[NodeID, int] = {}
        self._fits: dict[NodeID, tuple[int, float]] = {}  # bytes of an inner packet, since when (monotonic)

    def fits(self, peer: NodeID) -> int | None:
        """Bytes of the largest IP packet that reaches `peer` in one piece; None without a session."""
        known = self._fits.get(peer)
        return None if known is None else known[0]

    def reach_is(self, reach: int, now: Now) -> None:
        """Datagrams of at most `reach` bytes pass our way to the Switch, both ways."""
        if reach == self._reach:
            return
        self._reach = reach
        self._set_reach(reach, now)
        for peer in self._told:
            self._follow(peer, now)

    def on_told(self, peer: NodeID, size: int, now: Now) -> None:
        """So large may datagrams be that reach `peer`, which the data path knows."""
        self._told[peer] = size
        self._follow(peer, now)

    def on_session_down(self, peer: NodeID) -> None:
        """Nothing is known of the peer any more."""
        self._told.pop(peer, None)
        self._fits.pop(peer, None)

    def on_too_large(self, peer: NodeID, packet: bytes, now: Now) -> None:
        """A packet to `peer` (its first bytes) was larger than fits, and its sender does not want it fragmented."""
        fits, since = self._fits.get(peer, (0, now.mono))
        router = router_of(packet, self._router6)
        if now.mono < since + SETTLED_SECONDS or router is None:
            return
        answer = too_big(packet, router, fits)
        if answer is not None:
            self._deliver(answer)

    def _follow(self, peer: NodeID, now: Now) -> None:
        fits = min(self._reach, self._told[peer]) - HEADER_SIZE - TAG_SIZE
        known = self._fits.get(peer)
        if known is None or known[0] != fits:
            self._fits[peer] = fits, now.mono
        self._path.set_fits(peer, fits)
