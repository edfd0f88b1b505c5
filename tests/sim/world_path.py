"""A node's data path in plain Python: what the loops of `_fast/node` decide about a packet, without their speed.

Really seals and opens, with a real replay window; every drop has the name it has there. What the loops would tell
Python stands in `events`, as `NodeDataPath.events()` gives it.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ovng.errors import Malformed
from ovng.ids import NodeID, Prefix
from ovng.limits import HEADER_SIZE, RECEIVE_GENERATIONS, REPLAY_WINDOW, TAG_SIZE
from ovng.node.icmp import inner_addresses
from ovng.wire.header import FLAG_CLUSTER, FLAG_DUP, Header, PacketType, parse_header
from ovng.wire.inner import Doubling
from tests.unit.twins import SlowReplayWindow

Event = (
    tuple[Literal["control"], bytes]
    | tuple[Literal["no_route"], bytes]
    | tuple[Literal["no_key"], NodeID, bytes]
    | tuple[Literal["unknown_data"], NodeID]
    | tuple[Literal["first_receive"], NodeID, int]
)


class MemoryAead:
    """An AEAD of the `cryptography` package, with the face of `forwarding.store.Aead`. 1 = AES-256-GCM."""

    def __init__(self, cipher: int, key: bytes) -> None:
        self._aead = AESGCM(key) if cipher == 1 else ChaCha20Poly1305(key)

    def seal(self, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        return self._aead.encrypt(nonce, plaintext, aad)

    def open(self, nonce: bytes, aad: bytes, data: bytes) -> bytes | None:
        try:
            return self._aead.decrypt(nonce, data, aad)
        except InvalidTag:
            return None


@dataclass
class Key:
    """One direction of one generation. `number`: the last one sealed under it."""

    key_id: int
    aead: MemoryAead
    iv: bytes
    number: int = 0
    heard: bool = False
    window: SlowReplayWindow = field(default_factory=lambda: SlowReplayWindow(REPLAY_WINDOW, (1 << 64) - 1))

    def nonce(self, number: int) -> bytes:
        return (int.from_bytes(self.iv, "big") ^ number).to_bytes(12, "big")


@dataclass
class Peer:
    prefixes: tuple[Prefix, ...]
    send: Key | None = None
    receive: dict[int, Key] = field(default_factory=dict)
    packets: int = 0
    doubling: int = Doubling.NONE


class MemoryPath:
    """`NodeDataPath` of `me`: `transmit` takes datagrams for the Switch, `deliver` packets for the TUN."""

    def __init__(self, me: NodeID, transmit: Callable[[bytes], None], deliver: Callable[[bytes], None]) -> None:
        self.me, self._transmit, self._deliver = me, transmit, deliver
        self.peers: dict[NodeID, Peer] = {}
        self.routes: dict[Prefix, NodeID] = {}
        self.events: list[Event] = []
        self.drops: Counter[str] = Counter()
        self.received = self.sent = 0
        """Authentic packets in, sealed packets out."""
        self._keys_used: set[bytes] = set()

    # -- Peers, keys, routes: as `NodeDataPath`

    def add_peer(self, peer: NodeID, prefixes: Iterable[Prefix]) -> None:
        self.peers.setdefault(peer, Peer(())).prefixes = tuple(prefixes)

    def remove_peer(self, peer: NodeID) -> bool:
        return self.peers.pop(peer, None) is not None

    def set_doubling(self, peer: NodeID, mode: int) -> None:
        self.peers[peer].doubling = mode

    def install_send(self, peer: NodeID, key_id: int, cipher: int, key: bytes, iv: bytes) -> None:
        self.peers[peer].send = self._key(key_id, cipher, key, iv)

    def install_receive(self, peer: NodeID, key_id: int, cipher: int, key: bytes, iv: bytes) -> None:
        receive = self.peers[peer].receive
        assert key_id not in receive, "a key ID in use was given out again"
        assert len(receive) < RECEIVE_GENERATIONS, "NodeDataPath raises RuntimeError"
        receive[key_id] = self._key(key_id, cipher, key, iv)

    def retire_send(self, peer: NodeID) -> None:
        if peer in self.peers:
            self.peers[peer].send = None

    def retire_receive(self, peer: NodeID, key_id: int) -> None:
        if peer in self.peers:
            self.peers[peer].receive.pop(key_id, None)

    def add_route(self, prefix: Prefix, peer: NodeID) -> None:
        self.routes[prefix] = peer

    def remove_route(self, prefix: Prefix, peer: NodeID) -> bool:
        if self.routes.get(prefix) != peer:
            return False
        del self.routes[prefix]
        return True

    def packets(self, peer: NodeID) -> int:
        """Data packets so far with this peer, both ways."""
        return self.peers[peer].packets if peer in self.peers else 0

    def inject(self, packet: bytes) -> bool:
        self.outbound(packet)
        return True

    # -- Packets

    def outbound(self, packet: bytes) -> None:
        """One IP packet from the TUN."""
        addresses = inner_addresses(packet)
        if addresses is None:
            self.drops["inner_version"] += 1
            return
        peer_id = self._route(addresses[1])
        if peer_id is None:
            self.events.append(("no_route", packet))
            return
        peer = self.peers.get(peer_id)
        if peer is None or peer.send is None:
            self.events.append(("no_key", peer_id, packet))
            return
        key = peer.send
        key.number += 1
        peer.packets += 1
        self.sent += 1
        flags = FLAG_DUP if peer.doubling == Doubling.ALL else 0
        header = Header(PacketType.DATA, key.key_id, flags, peer_id, self.me, key.number).pack()
        self._transmit(header + key.aead.seal(key.nonce(key.number), header, packet))

    def inbound(self, datagram: bytes) -> None:
        """One datagram from the network, in the order of PROTOCOL 2."""
        try:
            header = parse_header(datagram)
            if header.dst != self.me:
                raise Malformed("misaddressed")
            if header.type is PacketType.DATA:
                self._open_untrusted(header, datagram)
            else:
                self.events.append(("control", datagram))
        except Malformed as error:
            self.drops[error.reason] += 1

    # -- Inside

    def _key(self, key_id: int, cipher: int, key: bytes, iv: bytes) -> Key:
        assert key not in self._keys_used, "a key was installed twice: its counter would repeat"
        self._keys_used.add(key)
        return Key(key_id, MemoryAead(cipher, key), iv)

    def _route(self, destination: bytes) -> NodeID | None:
        address = ipaddress.ip_address(destination)
        fits = [p for p in self.routes if p.version == address.version and address in p]
        return self.routes[max(fits, key=lambda prefix: prefix.prefixlen)] if fits else None

    def _open_untrusted(self, header: Header, datagram: bytes) -> None:
        if len(datagram) < HEADER_SIZE + TAG_SIZE:
            raise Malformed("too_short")
        if header.flags & FLAG_CLUSTER:
            raise Malformed("cluster_flag")
        peer = self.peers.get(header.src)
        if peer is None or not peer.receive:
            self.events.append(("unknown_data", header.src))
            raise Malformed("no_session")
        key = peer.receive.get(header.key_id)
        if key is None:
            raise Malformed("unknown_key")
        verdict = key.window.check(header.number)
        if verdict < 0:
            raise Malformed({-1: "replay_number", -2: "replay_old", -3: "replay_duplicate"}[verdict])
        packet = key.aead.open(key.nonce(header.number), datagram[:HEADER_SIZE], datagram[HEADER_SIZE:])
        if packet is None:
            raise Malformed("aead")
        key.window.commit(header.number)
        peer.packets += 1
        self.received += 1
        if not key.heard:
            key.heard = True
            self.events.append(("first_receive", header.src, header.key_id))
        if packet:
            self._authentic(peer, packet)

    def _authentic(self, peer: Peer, packet: bytes) -> None:
        addresses = inner_addresses(packet)
        if addresses is None:
            raise Malformed("inner_version")
        length = int.from_bytes(packet[2:4], "big") if packet[0] >> 4 == 4 else int.from_bytes(packet[4:6], "big") + 40
        if length != len(packet):
            raise Malformed("inner_length")
        source = ipaddress.ip_address(addresses[0])
        if not any(source.version == prefix.version and source in prefix for prefix in peer.prefixes):
            raise Malformed("inner_source")
        self._deliver(packet)
