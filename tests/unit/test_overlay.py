"""The overlay: a wrong answer of the Switch, a missing key or a dead peer never sends a packet astray."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from ovng.clock import Now
from ovng.fields import replace
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.node.overlay import Holders, Overlay
from ovng.node.policy import RoutePolicy
from ovng.pki.identity import Identity
from tests.unit.test_node_icmp import packet4

NOW = Now(1.0, 1.0, 1.0)
ME, TRUCK, THIEF = NodeID(1), NodeID(2), NodeID(3)
POLICY = RoutePolicy(
    network=[ipaddress.ip_network("10.77.0.0/16")],
    own=[ipaddress.ip_network("10.77.0.2/32")],
    accept=[ipaddress.ip_network("192.168.0.0/16")],
)
TRUCK_LAN = ipaddress.ip_network("192.168.8.0/24")
TRUCK_ADDRESS = ipaddress.ip_address("10.77.0.9")


class World:
    """What the overlay talks to, in memory: records what it was told."""

    def __init__(self) -> None:
        self.policy = POLICY
        self.connects: list[NodeID] = []
        self.asked: list[IPAddress] = []
        self.known: Holders | None = None
        self.injected: list[bytes] = []
        self.delivered: list[bytes] = []
        self.routes: dict[Prefix, NodeID] = {}
        self.peers: dict[NodeID, list[Prefix]] = {}
        self.overlay = Overlay(
            ME, self, self, self, lambda: self.policy, self.delivered.append, [ipaddress.ip_address("10.77.0.2")]
        )

    def connect(self, peer: NodeID, now: Now) -> None:
        self.connects.append(peer)

    def resolve(self, address: IPAddress, now: Now) -> Holders | None:
        self.asked.append(address)
        return self.known

    def add_peer(self, peer: NodeID, prefixes: Iterable[Prefix]) -> None:
        self.peers[peer] = list(prefixes)

    def remove_peer(self, peer: NodeID) -> bool:
        return self.peers.pop(peer, None) is not None

    def add_route(self, prefix: Prefix, peer: NodeID) -> None:
        self.routes[prefix] = peer

    def remove_route(self, prefix: Prefix, peer: NodeID) -> bool:
        return self.routes.pop(prefix, None) is not None

    def inject(self, packet: bytes) -> bool:
        self.injected.append(packet)
        return True


class Answer(NamedTuple):
    """What a resolver holds."""

    nodes: tuple[NodeID, ...]


def identity(node: NodeID, *prefixes: str) -> Identity:
    parsed = tuple(ipaddress.ip_network(prefix) for prefix in prefixes)
    return Identity("testnet", "node", node, parsed, None, False, int(node), 0.0, 1e12)


def test_a_packet_waits_for_resolution_handshake_and_key_then_goes() -> None:
    world = World()
    world.overlay.on_no_route(packet4(), NOW)
    assert world.asked == [TRUCK_ADDRESS] and not world.connects
    world.overlay.on_resolved(TRUCK_ADDRESS, [TRUCK], NOW)
    assert world.connects == [TRUCK]
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32", "192.168.8.0/24"))
    assert not world.injected
    world.overlay.on_send_ready(TRUCK)
    assert world.injected == [packet4()]
    assert world.routes == {
        ipaddress.ip_network("10.77.0.9/32"): TRUCK,
        ipaddress.ip_network("192.168.8.0/24"): TRUCK,
    }


def test_a_lying_switch_gets_no_packet_to_the_wrong_node() -> None:
    world = World()
    world.overlay.on_no_route(packet4(), NOW)
    world.overlay.on_resolved(TRUCK_ADDRESS, [THIEF], NOW)
    world.overlay.on_session_up(THIEF, identity(THIEF, "10.77.0.66/32"))
    world.overlay.on_send_ready(THIEF)
    assert world.injected == []
    assert len(world.delivered) == 1  # the application hears of it
    assert world.overlay.counters["address_not_proven"] == 1


def test_nobody_and_unreachable_reach_the_application() -> None:
    world = World()
    world.overlay.on_no_route(packet4(), NOW)
    world.overlay.on_resolved(TRUCK_ADDRESS, [], NOW)
    world.overlay.on_no_route(packet4(), NOW)
    world.overlay.on_resolved(TRUCK_ADDRESS, [TRUCK], NOW)
    world.overlay.on_connect_failed(TRUCK)
    assert len(world.delivered) == 2 and world.overlay.held == 0
    assert {answer[12:16] for answer in world.delivered} == {TRUCK_ADDRESS.packed}  # from ours, Linux would not take it


def test_an_address_resolved_while_the_session_is_up_goes_at_once() -> None:
    world = World()
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    world.overlay.on_send_ready(TRUCK)
    world.overlay.on_no_route(packet4(), NOW)  # it raced the route
    world.overlay.on_resolved(TRUCK_ADDRESS, [TRUCK], NOW)
    assert world.injected == [packet4()] and not world.connects


def test_without_a_key_packets_wait_and_a_session_that_ended_takes_its_routes() -> None:
    world = World()
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    world.overlay.on_no_key(TRUCK, packet4(), NOW)
    assert world.connects == [TRUCK] and not world.injected
    world.overlay.on_send_ready(TRUCK)
    assert world.injected == [packet4()]
    world.overlay.on_session_down(TRUCK, NOW)
    assert world.routes == {} and world.peers == {}


def test_a_certificate_that_shrank_takes_its_routes_back() -> None:
    world = World()
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32", "192.168.8.0/24"))
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    assert world.routes == {ipaddress.ip_network("10.77.0.9/32"): TRUCK}


def test_our_own_address_never_starts_a_session_with_ourselves() -> None:
    world = World()
    world.overlay.on_no_route(packet4(), NOW)
    world.overlay.on_resolved(TRUCK_ADDRESS, [ME], NOW)
    assert not world.connects and len(world.delivered) == 1


def test_a_candidate_that_came_to_nothing_leaves_nothing() -> None:
    world = World()
    world.overlay.on_receive_key(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    assert TRUCK in world.peers
    world.overlay.on_receive_key_retired(TRUCK)
    assert world.peers == {}
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    world.overlay.on_receive_key_retired(TRUCK)  # the old generation of a session that lives
    assert TRUCK in world.peers


def test_an_answer_held_starts_the_session_at_once() -> None:
    world = World()
    world.known = Answer((TRUCK,))
    world.overlay.on_no_route(packet4(), NOW)
    assert world.connects == [TRUCK]


def test_routes_follow_the_policy_while_the_session_lives() -> None:
    """A laptop that leaves the LAN which a gateway serves too wants the route as soon as it is away, and not there."""
    world = World()
    at_home, away = replace(POLICY, connected=[TRUCK_LAN]), POLICY
    world.policy = at_home
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32", str(TRUCK_LAN)))
    assert TRUCK_LAN not in world.routes
    for policy, routed in ((away, True), (at_home, False)):
        world.policy = policy
        world.overlay.policy_changed()
        assert (TRUCK_LAN in world.routes) is routed


def test_a_packet_sees_the_policy_of_its_moment() -> None:
    world = World()
    world.policy = replace(POLICY, network=[ipaddress.ip_network("10.78.0.0/16")])
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    world.overlay.on_send_ready(TRUCK)
    world.policy = POLICY
    world.overlay.on_no_route(packet4(), NOW)
    world.overlay.on_resolved(TRUCK_ADDRESS, [TRUCK], NOW)
    assert world.injected == [packet4()] and not world.delivered


def test_a_route_that_another_took_comes_back_when_that_one_is_gone() -> None:
    """Two nodes with a certificate for one prefix: the later session leads; after it, the other one again."""
    world = World()
    for node in (TRUCK, THIEF):
        world.overlay.on_session_up(node, identity(node, "10.77.0.9/32"))
        world.overlay.on_send_ready(node)
    world.overlay.on_session_down(THIEF, NOW)
    world.overlay.on_no_route(packet4(), NOW)
    world.overlay.on_resolved(TRUCK_ADDRESS, [THIEF, TRUCK], NOW)
    assert world.injected == [packet4()]
    world.overlay.on_session_down(TRUCK, NOW)
    assert world.routes == {}


def test_a_packet_that_raced_the_key_goes_at_once() -> None:
    world = World()
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    world.overlay.on_send_ready(TRUCK)
    world.overlay.on_no_key(TRUCK, packet4(), NOW)  # on its way here while the key was installed
    assert world.injected == [packet4()] and world.overlay.held == 0
    world.overlay.on_send_paused(TRUCK)
    world.overlay.on_no_key(TRUCK, packet4(), NOW)
    assert len(world.injected) == 1 and world.overlay.held == 1


def test_packets_that_wait_when_the_session_ends_ask_for_the_next() -> None:
    world = World()
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    world.overlay.on_no_key(TRUCK, packet4(), NOW)
    world.overlay.on_session_down(TRUCK, NOW)
    assert world.connects == [TRUCK, TRUCK]
    world.overlay.on_connect_failed(TRUCK)
    assert world.overlay.held == 0 and len(world.delivered) == 1
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    world.overlay.on_session_down(TRUCK, NOW)
    assert len(world.connects) == 2, "nothing waits: nobody is called"


def test_an_address_of_a_peer_whose_keys_died_asks_for_new_ones() -> None:
    world = World()
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.9/32"))
    world.overlay.on_send_paused(TRUCK)
    world.overlay.on_no_route(packet4(), NOW)
    world.overlay.on_resolved(TRUCK_ADDRESS, [TRUCK], NOW)
    assert world.connects == [TRUCK]
    world.overlay.on_send_ready(TRUCK)
    assert world.injected == [packet4()]


def test_a_refused_address_is_not_waited_for() -> None:
    world = World()
    world.overlay.on_no_route(packet4(), NOW)
    world.overlay.on_resolved(TRUCK_ADDRESS, [TRUCK], NOW)
    world.overlay.on_session_up(TRUCK, identity(TRUCK, "10.77.0.66/32"))
    world.overlay.on_session_down(TRUCK, NOW)
    assert world.connects == [TRUCK] and world.overlay.held == 0
