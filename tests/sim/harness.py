"""Session managers over the bad network, with a model of the data path that really seals and opens.

`World` holds the clock, the network and the hosts, forwards by destination ID like a Switch (dst 0 = the Switch), and
runs from event to event: the earliest arrival or deadline, and nothing in between, so a deadline that is told too late
shows as a test that never ends its wait.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.ids import Locator, NodeID
from ovng.limits import RECEIVE_GENERATIONS, REKEY_SECONDS
from ovng.session.config import SessionConfig
from ovng.session.events import (
    AttachRequested,
    AttachSettled,
    Event,
    InstallReceive,
    InstallSend,
    RetireReceive,
    RetireSend,
    SessionDown,
    SessionUp,
)
from ovng.session.manager import SessionManager
from ovng.wire.header import Header, PacketType, parse_header
from ovng.wire.inner import Grant
from tests.pki_fixture import Member
from tests.sim.network import CALM, Network, VirtualClock, Weather

HEADER_SIZE = 28
Aead = AESGCM | ChaCha20Poly1305


class Key:
    """One AEAD key with its counter."""

    def __init__(self, event: InstallReceive | InstallSend) -> None:
        self.key_id, self.iv = event.key_id, event.iv
        self.aead: Aead = AESGCM(event.key) if event.cipher == 1 else ChaCha20Poly1305(event.key)
        self.number = 0

    def nonce(self, number: int) -> bytes:
        return (int.from_bytes(self.iv, "big") ^ number).to_bytes(12, "big")


class DataPath:
    """What the node's fast path does with keys, for one host, without its speed."""

    def __init__(self, me: NodeID) -> None:
        self.me = me
        self.receive: dict[tuple[NodeID, int], Key] = {}
        self.send: dict[NodeID, Key] = {}
        self.got: list[tuple[NodeID, bytes]] = []
        self.counters: Counter[str] = Counter()
        self.packets: Counter[NodeID] = Counter()
        self._heard: set[tuple[NodeID, int]] = set()
        self._used: set[bytes] = set()

    def apply(self, event: Event) -> None:
        match event:
            case InstallReceive():
                assert (event.peer, event.key_id) not in self.receive, "a key ID in use was given out again"
                assert event.key not in self._used, "a key was installed twice"
                beside = sum(peer == event.peer for peer, _ in self.receive)
                assert beside < RECEIVE_GENERATIONS, "more generations than the data path holds"
                self._used.add(event.key)
                self.receive[event.peer, event.key_id] = Key(event)
                self._heard.discard((event.peer, event.key_id))
            case InstallSend():
                assert event.key not in self._used, "a key was installed twice"
                self._used.add(event.key)
                self.send[event.peer] = Key(event)
            case RetireReceive():
                del self.receive[event.peer, event.key_id]
            case RetireSend():
                del self.send[event.peer]
            case _:
                pass

    def seal(self, peer: NodeID, plaintext: bytes) -> bytes | None:
        key = self.send.get(peer)
        if key is None:
            return None
        key.number += 1
        self.packets[peer] += 1
        header = Header(PacketType.DATA, key.key_id, 0, peer, self.me, key.number).pack()
        return header + key.aead.encrypt(key.nonce(key.number), plaintext, header)

    def open(self, header: Header, datagram: bytes, manager: SessionManager, now: Now) -> None:
        key = self.receive.get((header.src, header.key_id))
        if key is None:
            self.counters["no_key"] += 1
            if not any(peer == header.src for peer, _ in self.receive):
                manager.on_unknown_data(header.src, now)
            return
        try:
            plain = key.aead.decrypt(key.nonce(header.number), datagram[HEADER_SIZE:], datagram[:HEADER_SIZE])
        except InvalidTag:
            self.counters["bad_tag"] += 1
            return
        self.got.append((header.src, plain))
        self.packets[header.src] += 1
        if (header.src, header.key_id) not in self._heard:
            self._heard.add((header.src, header.key_id))
            manager.on_first_receive(header.src, header.key_id, now)


class Host:
    """A node or the Switch's endpoint."""

    def __init__(self, world: World, member: Member, config: SessionConfig, watch_traffic: bool) -> None:
        self.world, self.member, self.config, self.watch_traffic = world, member, config, watch_traffic
        self.id = member.id
        self.locator = Locator.of(f"192.0.2.{len(world.hosts) + 1}", 5140)
        self.events: list[Event] = []
        self.grants: Callable[[AttachRequested], Grant | None] = lambda request: None
        self.start()

    def start(self) -> None:
        """As a new process: nothing is left of an earlier one."""
        self.data = DataPath(self.id)
        self.manager = SessionManager(
            self.id,
            self.member.identity.kind,
            self.member.trust,
            random.Random(self.world.network.random.random()).randbytes,
            self.config,
            (lambda peer: self.data.packets[peer]) if self.watch_traffic else None,
        )

    def drain(self) -> None:
        """Take events to the data path, datagrams to the network."""
        for event in self.manager.events():
            self.events.append(event)
            self.data.apply(event)
            if isinstance(event, AttachRequested) and (grant := self.grants(event)) is not None:
                self.manager.grant(event.ref, grant, self.world.now)
                self.drain()
        for datagram, context in self.manager.datagrams():
            self.world.forward(self, datagram, context)

    def all(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def ups(self) -> list[SessionUp]:
        return [event for event in self.events if isinstance(event, SessionUp)]

    def downs(self) -> list[SessionDown]:
        return [event for event in self.events if isinstance(event, SessionDown)]

    def settled(self) -> list[AttachSettled]:
        return [event for event in self.events if isinstance(event, AttachSettled)]

    def connect(self, peer: Host) -> None:
        self.manager.connect(peer.id, self.world.now)
        self.drain()

    def send(self, peer: Host, plaintext: bytes) -> bool:
        """Seal and send one packet; False if there is no key, in which case a session is asked for."""
        datagram = self.data.seal(peer.id, plaintext)
        if datagram is None:
            self.connect(peer)
            return False
        self.world.forward(self, datagram, b"")
        return True


class World:
    """Everything, at one time."""

    def __init__(self, seed: int = 1, weather: Weather = CALM) -> None:
        self.clock = VirtualClock()
        self.network = Network(seed, weather)
        self.hosts: dict[NodeID, Host] = {}
        self.switch: Host | None = None
        self.routes: dict[NodeID, NodeID] = {}
        """A Switch that lies: datagrams for the first go to the second."""
        self.drop: Callable[[Header, bytes], bool] = lambda header, datagram: False
        self.seen: list[bytes] = []
        """Every datagram that passed the Switch."""

    @property
    def now(self) -> Now:
        return self.clock.now

    def add(
        self,
        member: Member,
        rekey_seconds: float = REKEY_SECONDS,
        ciphers: tuple[int, ...] = (1, 2),
        watch_traffic: bool = False,
    ) -> Host:
        host = Host(self, member, SessionConfig(rekey_seconds, ciphers), watch_traffic)
        self.hosts[host.id] = host
        if member.identity.kind == "switch":
            self.switch = host
        return host

    def forward(self, sender: Host, datagram: bytes, context: bytes) -> None:
        """What the Switch's forwarding does: look at the destination."""
        header = parse_header(datagram)
        self.seen.append(datagram)
        if self.drop(header, datagram):
            return
        if sender is self.switch:
            target = next((h.id for h in self.hosts.values() if h.locator.packed() == context), None)
        else:
            target = self.routes.get(header.dst, header.dst)
            if header.dst == 0 and self.switch is not None:
                target = self.switch.id
        if target is not None:
            self.network.send(sender.id, target, datagram, self.now.mono)

    def step(self, limit: float) -> bool:
        """On to the next thing that happens; False if that is nothing before `limit`."""
        times = [self.network.next(), *(host.manager.deadline(self.now) for host in self.hosts.values())]
        when = min((time for time in times if time is not None), default=None)
        if when is None or when > limit:
            self.clock.advance_to(limit)
            return False
        self.clock.advance_to(when)
        for target, datagram, source in self.network.arrivals(self.now.mono):
            assert isinstance(target, NodeID) and isinstance(source, NodeID)
            self._deliver(target, datagram, source)
        for host in self.hosts.values():
            deadline = host.manager.deadline(self.now)
            if deadline is not None and deadline <= self.now.mono:
                host.manager.handle_timer(self.now)
                host.drain()
                after = host.manager.deadline(self.now)
                assert after is None or after > self.now.mono, "a deadline that is not met makes the owner spin"
        return True

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; True as soon as `until` holds."""
        limit = self.now.mono + seconds
        while until is None or not until():
            if not self.step(limit):
                return until is not None and until()
        return True

    def inject(self, target: Host, datagram: bytes) -> None:
        """A datagram from nowhere."""
        self._deliver(target.id, datagram, NodeID(0))

    def _deliver(self, target: NodeID, datagram: bytes, source: NodeID) -> None:
        host = self.hosts.get(target)
        if host is None:
            return
        try:
            header = parse_header(datagram)
        except Malformed as error:
            host.data.counters[error.reason] += 1
            return
        if header.type is PacketType.DATA:
            host.data.open(header, datagram, host.manager, self.now)
        else:
            sender = self.hosts.get(source)
            context = sender.locator.packed() if host is self.switch and sender is not None else b""
            host.manager.receive(header, datagram[HEADER_SIZE:], context, self.now)
        host.drain()


def connected(one: Host, other: Host) -> bool:
    """Both hold the same session and generation, and have keys both ways."""
    mine = [info for info in one.manager.sessions() if info.peer == other.id]
    theirs = [info for info in other.manager.sessions() if info.peer == one.id]
    if not mine or not theirs:
        return False
    same = (mine[0].session_id, mine[0].generation) == (theirs[0].session_id, theirs[0].generation)
    return same and other.id in one.data.send and one.id in other.data.send


def talk(world: World, one: Host, other: Host, text: bytes = b"hello") -> None:
    """A packet each way arrives, on a network that is calm for the moment."""
    weather, world.network.weather = world.network.weather, CALM
    for source, target in ((one, other), (other, one)):
        assert source.send(target, text + source.id.packed()), f"{source.id} has no key"
        world.run(1.0)
        assert (source.id, text + source.id.packed()) in target.data.got, f"lost: {target.data.counters}"
    world.network.weather = weather
