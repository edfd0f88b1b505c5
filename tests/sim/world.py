"""Nodes and a Switch in virtual time, joined by networks that are bad in every way the seed says.

    world = World(seed=1, weather=LOSS_30)
    truck, depot = world.add("10.77.0.2/32"), world.add("10.77.0.3/32")
    world.send(truck, depot)
    assert world.run(5, lambda: world.arrived(1))

Each machine has a link of its own (`Link`), a clock of its own, and nodes have a locator that changes when the test
says so: by roaming (the node is told), by NAT (it is not), and the old one lives on or dies. The world goes from event
to event; a deadline told too late shows as a test that does not end, one that is not met as a spin.

Always asserted: a packet comes out only at a node whose certificate holds its destination, once, unchanged, and
nothing that crosses a link contains the text of a packet.
"""

from __future__ import annotations

import ipaddress
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from ovng.clock import Now
from ovng.ids import Locator
from ovng.node.icmp import inner_addresses
from ovng.node.policy import covers
from ovng.pki.signing import KeyType, PrivateKey
from tests.pki_fixture import Member
from tests.pki_fixture import Network as Ca
from tests.sim.network import CALM, Network, VirtualClock, Weather
from tests.sim.world_host import Clock, Machine
from tests.sim.world_node import Node, Options
from tests.sim.world_switch import Switch
from tests.unit.packets import UDP, Packet

SECRET = b"ovng-plaintext-"
DEFAULTS = Options()
SWITCH = Locator.of("203.0.113.1", 5140)


class SeededCa(Ca):
    """A CA whose nodes have the same IDs in every run, so that whoever has the lower one is no matter of chance."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def new_key(self, key_type: KeyType | None = None) -> PrivateKey:
        return ec.derive_private_key(self._random.getrandbits(255) + 1, ec.SECP256R1())


def each_way(loss: float) -> Weather:
    """Weather in which a datagram from node to node, over two links, is lost with this chance."""
    return Weather(loss=1 - math.sqrt(1 - loss))


class Link:
    """A node's way to the Switch and back: up and down may have other weather. `cut`: nothing passes."""

    def __init__(self, chance: random.Random, weather: Weather) -> None:
        self.up, self.down = Network(chance.getrandbits(32), weather), Network(chance.getrandbits(32), weather)
        self.cut = False

    @property
    def weather(self) -> Weather:
        return self.up.weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self.up.weather = self.down.weather = weather

    @property
    def lost(self) -> int:
        """Datagrams that the network lost or damaged so far."""
        return sum(side.counters[what] for side in (self.up, self.down) for what in ("lost", "corrupted"))


@dataclass
class Place:
    """A node in the world: process, link, and where the Switch sees it."""

    name: str
    node: Node
    link: Link
    locator: Locator
    clock: Clock
    received: list[bytes] = field(default_factory=list)
    """Packets that reached its applications, ICMP errors too."""

    @property
    def address(self) -> str:
        return str(self.node.member.identity.prefixes[0].network_address)


class Arrival(NamedTuple):
    """A datagram as it reached the Switch (`to` None) or a node."""

    to: Place | None
    datagram: bytes
    source: Locator


@dataclass
class Sent:
    """One packet between applications; `arrived`: when, on the world's clock."""

    packet: bytes
    to: Place
    at: float
    arrived: float | None = None


class World:
    """See the module."""

    def __init__(self, seed: int = 1, weather: Weather = CALM) -> None:
        self.ca, self.weather = SeededCa(seed), weather
        self.random = random.Random(seed)
        self.time = VirtualClock()
        self.places: list[Place] = []
        self.living: dict[Locator, Place] = {}
        """Whom a datagram to this locator reaches."""
        self.record: list[Arrival] = []
        self.packets: dict[bytes, Sent] = {}
        self._locators = 0
        self.drop: Callable[[Arrival], bool] = lambda arrival: False
        """Which datagrams the network loses beside those it loses by chance."""
        self.on_step: Callable[[], None] = lambda: None
        self.switch = Switch(self.ca.switch(), Clock(self.random), self._from_switch)
        self.start_switch()

    @property
    def now(self) -> Now:
        return self.time.now

    def now_of(self, machine: Machine) -> Now:
        return machine.clock.read(self.now)

    # -- Machines

    def add(self, *prefixes: str, options: Options = DEFAULTS) -> Place:
        """A node with a certificate of its own, started."""
        place = self.place(self.ca.node(*prefixes), options)
        self.start(place)
        return place

    def place(self, member: Member, options: Options = DEFAULTS) -> Place:
        """A machine with this profile, not started yet."""
        clock = Clock(self.random)
        node = Node(
            member,
            clock,
            options,
            lambda datagram: self._from_node(place, datagram),
            lambda packet: self._deliver(place, packet),
        )
        name = f"{chr(ord('a') + len(self.places))}"
        place = Place(name, node, Link(self.random, self.weather), self.fresh_locator(), clock)
        self.places.append(place)
        self.living[place.locator] = place
        return place

    def start(self, place: Place) -> None:
        """Start its process (again)."""
        place.node.start(random.Random(self.random.getrandbits(64)).randbytes, self.now_of(place.node))

    def start_switch(self) -> None:
        """Start the Switch (again): what the disk holds is all it knows."""
        self.switch.start(random.Random(self.random.getrandbits(64)).randbytes, self.now_of(self.switch))

    def fresh_locator(self) -> Locator:
        """One that nobody has had, IPv4 or IPv6."""
        self._locators += 1
        number, port = self.random.randrange(1 << 12) << 8 | self._locators, self.random.randrange(1_024, 65_536)
        v6, v4 = ipaddress.IPv6Address((0x20010DB8 << 96) + number), ipaddress.IPv4Address((100 << 24) + number)
        return Locator.of(str(v6 if self.random.random() < 0.3 else v4), port)

    # -- What a network does to a node

    def move(self, place: Place, *, old_lives: bool = False, told: bool = True) -> None:
        """Another address. `old_lives`: what is sent to the old one still arrives. `told`: netlink said so."""
        self.rebind(place, old_lives=old_lives)
        if told and place.node.alive:
            place.node.network_changed(self.now_of(place.node))

    def rebind(self, place: Place, *, old_lives: bool = False) -> None:
        """The NAT before it has another mapping; the node does not know."""
        if not old_lives:
            self.living.pop(place.locator, None)
        place.locator = self.fresh_locator()
        self.living[place.locator] = place

    # -- Packets of applications

    def send(self, source: Place, target: Place, to: str | None = None) -> Sent:
        """An application at `source` sends one packet to `target` (or to an address behind it)."""
        text = SECRET + len(self.packets).to_bytes(4, "big") + self.random.randbytes(self.random.randrange(40, 1_200))
        destination = to or target.address
        version = ipaddress.ip_address(destination).version
        mine = [p for p in source.node.member.identity.prefixes if p.version == version]
        packet = Packet(text, version, UDP, str(mine[0].network_address), destination).build()
        sent = self.packets[packet] = Sent(packet, target, self.now.mono)
        source.node.send(packet, self.now_of(source.node))
        return sent

    def arrived(self, count: int) -> bool:
        """True if so many packets have arrived in all."""
        return sum(sent.arrived is not None for sent in self.packets.values()) >= count

    def traffic(self, one: Place, other: Place, seconds: float, interval: float = 0.05) -> list[Sent]:
        """Packets both ways all the time; then time for the last ones."""
        sent = []
        for _ in range(round(seconds / interval)):
            sent += [self.send(one, other), self.send(other, one)]
            self.run(interval)
        self.run(1.0)
        return sent

    def talk(self, one: Place, other: Place, seconds: float = 5.0) -> float:
        """Until a packet each way has arrived, sent again every 0.1 s; how long that took. Fails when it does not."""
        start = self.now.mono
        pairs: list[Sent] = []
        both = (one, other)
        while self.now.mono < start + seconds:
            pairs += [self.send(one, other), self.send(other, one)]
            self.run(0.1)
            if all(any(sent.to is place and sent.arrived for sent in pairs) for place in both):
                return max(min(s.arrived for s in pairs if s.to is place and s.arrived) for place in both) - start
        raise AssertionError(f"{one.name} and {other.name} do not talk within {seconds} s")

    # -- Time

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; True as soon as `until` holds."""
        limit = self.now.mono + seconds
        while until is None or not until():
            if not self._step(limit):
                return until is not None and until()
            self.on_step()
        return True

    def inject(self, to: Place | None, datagram: bytes, source: Locator) -> None:
        """A datagram from anybody arrives at a node, or at the Switch (None)."""
        machine: Switch | Node = self.switch if to is None else to.node
        if not machine.alive:
            return
        if to is None:
            self.switch.receive(datagram, source, self.now_of(self.switch))
        else:
            to.node.receive(datagram, self.now_of(to.node))

    def _machines(self) -> list[Machine]:
        machines: list[Machine] = [self.switch, *(place.node for place in self.places)]
        return [machine for machine in machines if machine.alive]

    def _step(self, limit: float) -> bool:
        """On to the next thing that happens; False if that is nothing before `limit`."""
        deadlines = [(machine, machine.due(self.now_of(machine))) for machine in self._machines()]
        times = [due - machine.clock.mono for machine, due in deadlines if due is not None]
        times += [
            at for place in self.places for at in (place.link.up.next(), place.link.down.next()) if at is not None
        ]
        when = min(times, default=None)
        if when is None or when > limit:
            self.time.advance_to(limit)
            return False
        self.time.advance_to(when + 1e-9)  # beyond what subtracting clock offsets may have rounded off
        for place in self.places:
            self._arrivals(place)
        for machine, due in deadlines:
            now = self.now_of(machine)
            if machine.alive and due is not None and due <= now.mono:
                machine.handle_timer(now)
                after = machine.deadline(now) if machine.alive else None
                assert after is None or after > now.mono, "a deadline that is not met makes the owner spin"
        return True

    # -- Datagrams

    def _from_node(self, place: Place, datagram: bytes) -> None:
        self._check(datagram)
        if not place.link.cut:
            place.link.up.send(place.locator, SWITCH, datagram, self.now.mono)

    def _from_switch(self, datagram: bytes, to: Locator) -> None:
        self._check(datagram)
        place = self.living.get(to)
        if place is not None and not place.link.cut:
            place.link.down.send(SWITCH, to, datagram, self.now.mono)

    def _arrivals(self, place: Place) -> None:
        for _, datagram, source in place.link.up.arrivals(self.now.mono):
            assert isinstance(source, Locator)
            if self.switch.alive and not place.link.cut:
                self._arrive(Arrival(None, datagram, source))
        for target, datagram, _ in place.link.down.arrivals(self.now.mono):
            assert isinstance(target, Locator)
            if self.living.get(target) is place and place.node.alive and not place.link.cut:
                self._arrive(Arrival(place, datagram, SWITCH))

    def _arrive(self, arrival: Arrival) -> None:
        if not self.drop(arrival):
            self.record.append(arrival)
            self.inject(*arrival)

    def _deliver(self, place: Place, packet: bytes) -> None:
        """A packet comes out of a TUN."""
        place.received.append(packet)
        sent = self.packets.get(packet)
        if sent is None:
            assert packet[9 if packet[0] >> 4 == 4 else 6] in (1, 58), "a packet that nobody has sent"
            return
        addresses = inner_addresses(packet)
        assert addresses is not None
        host = ipaddress.ip_network(addresses[1])
        assert any(covers(prefix, host) for prefix in place.node.member.identity.prefixes), "delivered wrongly"
        assert place.node.id == sent.to.node.id, "delivered wrongly"
        assert sent.arrived is None, "delivered twice"
        sent.arrived = self.now.mono

    def _check(self, datagram: bytes) -> None:
        assert SECRET not in datagram, "plaintext on the wire"
