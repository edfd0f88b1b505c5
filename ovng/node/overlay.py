"""Inner addresses, peers and packets in waiting: what ties the data path to resolution and sessions.

A packet without a route is held; its destination is resolved at the Switch; a session is started with whoever
answers; only when that peer's certificate proved the address does the data path get the route and the packet goes.
The Switch is believed about nobody's address: a wrong answer costs a handshake and ends in an ICMP error.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from ovng.clock import Now
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.node.icmp import inner_addresses, router_of, unreachable
from ovng.node.pending import PendingPackets
from ovng.node.policy import RoutePolicy, covers
from ovng.pki.identity import Identity


class Sessions(Protocol):
    """What the overlay asks of the session manager."""

    def connect(self, peer: NodeID, now: Now) -> None: ...


class Holders(Protocol):
    """An answer of the Switch."""

    @property
    def nodes(self) -> tuple[NodeID, ...]:
        """Who attached with a certificate for the address; empty when nobody did."""


class Resolver(Protocol):
    """What the overlay asks of the attachment client."""

    def resolve(self, address: IPAddress, now: Now) -> Holders | None:
        """The answer held, or None: it comes by `on_resolved`."""


class PacketPath(Protocol):
    """What the overlay tells the data path."""

    def add_peer(self, peer: NodeID, prefixes: Iterable[Prefix]) -> None: ...
    def remove_peer(self, peer: NodeID) -> bool: ...
    def add_route(self, prefix: Prefix, peer: NodeID) -> None: ...
    def remove_route(self, prefix: Prefix, peer: NodeID) -> bool: ...
    def inject(self, packet: bytes) -> bool: ...


class Overlay:
    """Which peer has which inner address, proven; and the packets that wait to know."""

    def __init__(
        self,
        me: NodeID,
        path: PacketPath,
        sessions: Sessions,
        resolver: Resolver,
        policy: Callable[[], RoutePolicy],
        deliver: Callable[[bytes], object],
        own_addresses: Iterable[IPAddress],
    ) -> None:
        self._me, self._path, self._sessions, self._resolver = me, path, sessions, resolver
        self._policy, self._deliver = policy, deliver
        self._router6 = next((address.packed for address in own_addresses if address.version == 6), b"")
        self._pending = PendingPackets()
        self._wanted: dict[NodeID, set[IPAddress]] = {}  # peers being connected → addresses that wait for them
        self._sendable: set[NodeID] = set()
        self.identities: dict[NodeID, Identity] = {}
        self.routes: dict[Prefix, NodeID] = {}
        self._prefixes: dict[NodeID, set[Prefix]] = {}  # `routes` by peer
        self.counters: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Packets waiting now."""
        return len(self._pending)

    @property
    def dropped(self) -> int:
        """Packets that waited and were pushed out by newer ones."""
        return self._pending.dropped

    # -- the data path says

    def on_no_route(self, packet: bytes, now: Now) -> None:
        """No peer is known for the packet's destination."""
        addresses = inner_addresses(packet)
        if addresses is None:
            self.counters["inner_malformed"] += 1
            return
        address = ipaddress.ip_address(addresses[1])
        self._pending.add(address, packet)
        answer = self._resolver.resolve(address, now)
        if answer is not None:
            self.on_resolved(address, answer.nodes, now)

    def on_no_key(self, peer: NodeID, packet: bytes, now: Now) -> None:
        """The peer is known, but there was no key to send under at that moment."""
        if peer in self._sendable:  # it came while the packet was on its way here
            self._inject([packet])
            return
        self._pending.add(peer, packet)
        self._sessions.connect(peer, now)

    # -- the Switch says

    def on_resolved(self, address: IPAddress, holders: Iterable[NodeID], now: Now) -> None:
        """The Switch named who attached with a certificate for the address; nobody, when the list is empty."""
        candidates = [node for node in holders if node != self._me]
        if not candidates:
            self._refuse(address, "nobody_has_address")
            return
        peer = next((node for node in candidates if node in self.identities), candidates[0])
        self._wanted.setdefault(peer, set()).add(address)
        identity = self.identities.get(peer)
        if identity is None:
            self._sessions.connect(peer, now)
            return
        self._believe(peer, identity)
        if peer in self._sendable:
            self.on_send_ready(peer)
        else:
            self._sessions.connect(peer, now)

    # -- the machine says

    def policy_changed(self) -> None:
        """Other subnets are connected, or the profile is another: routes are believed anew."""
        for peer, identity in self.identities.items():
            self._believe(peer, identity)

    # -- sessions say

    def on_receive_key(self, peer: NodeID, identity: Identity) -> None:
        """Packets of a proved peer are about to come: its certificate says from which inner sources."""
        self._path.add_peer(peer, identity.prefixes)

    def on_receive_key_retired(self, peer: NodeID) -> None:
        """A candidate may have come to nothing: no session, so nothing is kept of the peer."""
        if peer not in self.identities:
            self._path.remove_peer(peer)

    def on_session_up(self, peer: NodeID, identity: Identity) -> None:
        """A session proved the peer's identity: its prefixes become routes."""
        self.identities[peer] = identity
        self._path.add_peer(peer, identity.prefixes)
        self._believe(peer, identity)

    def on_send_ready(self, peer: NodeID) -> None:
        """The peer can be sent to: what waited for it goes."""
        self._sendable.add(peer)
        waiting = self._pending.take(peer)
        for address in self._wanted.pop(peer, set()):
            waiting += self._pending.take(address)
        self._inject(waiting)

    def on_session_down(self, peer: NodeID, now: Now) -> None:
        """The session ended: nothing is known of the peer any more. What waits for it asks for the next one."""
        self.identities.pop(peer, None)
        self._sendable.discard(peer)
        self._lead(peer, set())
        self._path.remove_peer(peer)
        if peer in self._pending or peer in self._wanted:
            self._sessions.connect(peer, now)

    def on_connect_failed(self, peer: NodeID) -> None:
        """The first handshake with the peer timed out, or its identity did not hold."""
        for packet in self._pending.take(peer):
            self._answer(packet)
        for address in self._wanted.pop(peer, set()):
            self._refuse(address, "peer_unreachable")

    def on_send_paused(self, peer: NodeID) -> None:
        """The peer's key is spent or too old: traffic waits for the next generation."""
        self._sendable.discard(peer)

    # -- inside

    def _believe(self, peer: NodeID, identity: Identity) -> None:
        """Lead to the peer what its certificate proves and we believe now; refuse addresses that wait for more."""
        believed = set(self._policy().believed(identity.prefixes, peer))
        self._lead(peer, believed)
        for address in [*self._wanted.get(peer, ())]:
            if not any(covers(prefix, ipaddress.ip_network(address)) for prefix in believed):
                self._wanted[peer].discard(address)
                self._refuse(address, "address_not_proven")
        if not self._wanted.get(peer, True):
            del self._wanted[peer]

    def _lead(self, peer: NodeID, wanted: set[Prefix]) -> None:
        """Make the routes to the peer be these; one that led to another peer now leads here."""
        held = {prefix for prefix in self._prefixes.pop(peer, ()) if self.routes.get(prefix) == peer}
        for prefix in held - wanted:
            self._path.remove_route(prefix, peer)
            del self.routes[prefix]
        for prefix in wanted - held:
            self._path.add_route(prefix, peer)
            self.routes[prefix] = peer
        if wanted:
            self._prefixes[peer] = wanted

    def _inject(self, packets: Iterable[bytes]) -> None:
        for packet in packets:
            if not self._path.inject(packet):
                self.counters["inject_full"] += 1

    def _refuse(self, address: IPAddress, reason: str) -> None:
        self.counters[reason] += 1
        for packet in self._pending.take(address):
            self._answer(packet)

    def _answer(self, packet: bytes) -> None:
        router = router_of(packet, self._router6)
        answer = unreachable(packet, router) if router else None
        if answer is not None:
            self._deliver(answer)
