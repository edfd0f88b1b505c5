"""The Switch's fast path between two links: A ─veth─ S ─veth─ B, each in a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ovng.demo.net import Host, Net
from ovng.ids import Locator
from tests.switch_fixture import CONTROL, FakeNode, World, header

pytestmark = pytest.mark.root

A, B = 0xA << 60, 0xB << 60


@pytest.fixture
def net() -> Iterator[Net]:
    """A has 10.1.0.2 and fd01::2, B has 10.2.0.2 and fd02::2; the Switch's ends have .1."""
    with Net("ovng-links") as made:
        s, a, b = map(made.host, ("s", "a", "b"))
        made.join(s, a, ["10.1.0.1/24", "fd01::1/64"], ["10.1.0.2/24", "fd01::2/64"])
        made.join(s, b, ["10.2.0.1/24", "fd02::1/64"], ["10.2.0.2/24", "fd02::2/64"])
        yield made


class Network:
    """A Switch in S and a node on each link."""

    def __init__(self, version: int, net: Net) -> None:
        self.version = version
        self.at_s, self.at_a, self.at_b = net.hosts
        with self.at_s.inside():
            self.world = World()
        self.a, self.b = self.node(A, self.at_a, 1), self.node(B, self.at_b, 2)
        self.world.path.start()

    def node(self, id: int, at: Host, link: int, *, host: int = 2, attached: bool = True) -> FakeNode:
        pattern = "10.{}.0.{}" if self.version == 4 else "fd0{}::{}"
        with at.inside():
            node = FakeNode(id, pattern.format(link, host), (pattern.format(link, 1), self.world.port))
        self.world.nodes.append(node)
        if attached:
            self.world.table.put(id, b"")
            self.world.place(node, node.locator)
        return node


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def network(request: pytest.FixtureRequest, net: Net) -> Iterator[Network]:
    made = Network(request.param, net)
    yield made
    made.world.close()


def train(count: int, size: int, dst: int = B, src: int = A) -> list[bytes]:
    return [header(dst, src, number=i) + bytes([i % 256]) * (size - 28) for i in range(count)]


def test_trains_cross_whole_in_both_directions(network: Network) -> None:
    a, b, world = network.a, network.b, network.world
    there, back = train(45, 1428), train(45, 1428, A, B)
    a.send_train(there)
    assert b.receive(45) == there
    b.send_train(back)
    assert a.receive(45) == back
    world.wait_count("sent", 90)
    assert world.count("received_messages") == world.count("sent_messages") == 2
    assert world.drops() == {}


def test_a_smaller_link_gets_datagrams_one_by_one(network: Network) -> None:
    """Segments above the path's MTU cannot be segmented by the kernel; the outer IP layer fragments each."""
    network.at_s.ip("link", "set", "dev", "b", "mtu", "1280")
    sent = train(45, 1400)
    network.a.send_train(sent)
    assert network.b.receive(45) == sent
    network.world.wait_count("sent", 45)
    assert network.world.count("gso_given_up") == 1
    sent = train(45, 1200)
    network.a.send_train(sent)
    assert network.b.receive(45) == sent
    assert network.world.count("gso_given_up") == 1, "others on that link are not slowed"


def test_a_move_is_forwarded_in_grace_and_told(network: Network) -> None:
    world = network.world
    world.table.set_credit(A, 3000, 0)
    address = "10.1.0.9/24" if network.version == 4 else "fd01::9/64"
    network.at_a.add_address("s", address)
    moved = network.node(A, network.at_a, 1, host=9, attached=False)
    sent = train(3, 1000)
    moved.send_train(sent)
    assert network.b.receive(3) == sent
    assert world.events() == [("unmatched", 0, moved.locator, sent[0][:28], True, 1000)]
    moved.send_raw(sent[0])
    world.wait_count("drop_stray_source", 1)
    world.place(moved, moved.locator)
    sent = [network.b.send(A, b"to the new place")]
    assert moved.receive() == sent
    network.a.assert_silent()


def test_what_one_destination_costs_does_not_touch_another(network: Network) -> None:
    """No route, a firewall, a dead link: counted each, and the node beside is served."""
    world = network.world
    c, d = (A | 1), (A | 2)
    for id, address in ((c, "192.0.2.1"), (d, "10.2.0.77")):
        world.table.put(id, b"")
        world.table.set_locators(id, [Locator.of(address, 9).packed(), None, None, None], 0, -1, 0)
    rule = "table inet wall { chain out { type filter hook output priority 0; ip daddr 10.2.0.77 drop; }; }"
    network.at_s.nft(rule)
    network.a.send_train([datagram for to in (c, d, B) for datagram in train(5, 200, to)])
    assert network.b.receive(5) == train(5, 200)
    world.wait_count("send_unreachable", 5)
    world.wait_count("send_refused", 5)
    world.wait_count("sent", 5)


def test_the_loop_survives_its_links(network: Network) -> None:
    """A link that goes down and comes back, with traffic meanwhile."""
    world = network.world
    network.at_s.ip("link", "set", "dev", "b", "down")
    network.a.send_train(train(5, 200))
    world.wait_count("send_unreachable", 5)
    network.at_s.ip("link", "set", "dev", "b", "up")
    if network.version == 6:  # a link that goes down loses its IPv6 addresses
        network.at_s.add_address("b", "fd02::1/64")
    sent = train(5, 200)
    network.a.send_train(sent)
    assert network.b.receive(5) == sent


def test_answers_leave_from_the_address_that_was_asked(network: Network) -> None:
    """S has two addresses on A's link and a wildcard socket: without care the kernel would take the first."""
    second = "10.1.0.7" if network.version == 4 else "fd01::7"
    network.at_s.add_address("a", f"{second}/{24 if network.version == 4 else 64}")
    asked = network.a.to
    for address in (second, asked[0], second):
        network.a.to = (address, asked[1])
        network.a.send(0, b"?", CONTROL)
        ((_, _, source, *_),) = network.world.events()
        assert network.world.path.send(b"!", source)
        network.a.sock.settimeout(5)
        data, sender = network.a.sock.recvfrom(100)
        assert (data, sender[:2]) == (b"!", network.a.to)
