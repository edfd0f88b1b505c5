"""What every part of the session layer needs: who we are, whom we trust, and the two ways out (datagrams, events)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ovng.ids import NodeID
from ovng.limits import SIZE_BASE
from ovng.pki.identity import Kind
from ovng.pki.trust import Trust
from ovng.session.backoff import Random
from ovng.session.config import SessionConfig
from ovng.session.events import CrlChanged, Event
from ovng.wire.control import Control
from ovng.wire.header import Header, PacketType


class Environment:
    """Shared by a manager and its parts."""

    def __init__(
        self,
        me: NodeID,
        kind: Kind,
        trust: Trust,
        random: Random,
        config: SessionConfig,
        traffic: Callable[[NodeID], int] | None,
    ) -> None:
        self.me, self.kind, self.trust = me, kind, trust
        self.random, self.config, self.traffic = random, config, traffic
        self.counters: Counter[str] = Counter()
        self.events: list[Event] = []
        self.outbox: list[tuple[bytes, bytes]] = []
        self.reach = SIZE_BASE
        """Bytes of the largest datagram that comes to us in one piece."""
        self.crl_changed = False
        """A CRL was taken; the manager is to apply it."""

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def send(self, dst: NodeID, message: Control, context: bytes) -> None:
        """Put one CONTROL datagram into the outbox."""
        header = Header(PacketType.CONTROL, 0, 0, dst, self.me, 0)
        self.outbox.append((header.pack() + message.pack(), context))

    def new_id(self) -> int:
        """A random 64-bit number: attempt IDs, PING tokens."""
        return int.from_bytes(self.random(8), "big")

    def take_crl(self, der: bytes) -> bool:
        """A proved peer passed on a CRL: put it to the proof, and tell if it is news. True if it is held now."""
        if not self.trust.offer_crl(der):
            self.counters["crl_not_taken"] += 1
            return False
        self.crl_changed = True
        self.emit(CrlChanged(self.trust.crl_number, der))
        return True
