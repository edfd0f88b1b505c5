from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.forwarding.askers import QUESTIONS_MAX, Askers
from ovng.forwarding.directory import Directory
from ovng.ids import IPAddress, NodeID, Prefix
from tests.attachment_fixture import prefix

NETWORK = (prefix("10.77.0.0/16"), prefix("fd77::/64"))


class Model:
    """Nodes and their grants, as the table would hold them; and what the directory must then say."""

    def __init__(self, network: tuple[Prefix, ...] = NETWORK) -> None:
        self.grants: dict[int, int] = {}
        self.held: dict[int, tuple[Prefix, ...]] = {}
        self.last = 0
        self.directory = Directory(network, lambda node, grant: self.grants.get(node) == grant)

    def attach(self, node: int, *prefixes: Prefix) -> list[bool]:
        grant = self.last = self.last + 1
        fresh = [self.directory.add(one, node, grant) for one in prefixes]
        self.grants[node], self.held[node] = grant, prefixes
        return fresh

    def detach(self, node: int) -> None:
        self.grants.pop(node, None)
        self.held.pop(node, None)

    def holders(self, address: IPAddress) -> tuple[Prefix, set[int]] | None:
        fitting = [one for held in self.held.values() for one in held if one.version == address.version]
        best = max((one for one in fitting if address in one), key=lambda one: one.prefixlen, default=None)
        if best is None:
            return None
        return best, {node for node, held in self.held.items() if best in held}

    def check(self, address: IPAddress) -> None:
        found, wanted = self.directory.holders(address), self.holders(address)
        if wanted is None:
            assert found is None
            return
        assert found is not None
        assert found[0] == wanted[0]
        assert set(found[1]) <= wanted[1]
        assert len(found[1]) == min(8, len(wanted[1]))


def address(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


def test_the_longest_prefix_wins() -> None:
    model = Model()
    model.attach(1, prefix("0.0.0.0/0"), prefix("10.77.0.1/32"))
    model.attach(2, prefix("192.168.0.0/16"))
    model.attach(3, prefix("192.168.8.0/24"), prefix("fd00::/8"))
    for text in ("10.77.0.1", "10.77.0.2", "192.168.8.9", "192.168.9.9", "8.8.8.8", "fd12::1", "2001:db8::1"):
        model.check(address(text))
    assert model.directory.holders(address("192.168.8.9")) == (prefix("192.168.8.0/24"), [NodeID(3)])


def test_who_left_counts_no_more_at_once() -> None:
    model = Model()
    model.attach(1, prefix("192.168.8.0/24"))
    model.attach(2, prefix("192.168.0.0/16"))
    model.detach(1)
    assert model.directory.holders(address("192.168.8.9")) == (prefix("192.168.0.0/16"), [NodeID(2)])


def test_what_a_new_certificate_does_not_name_counts_no_more() -> None:
    model = Model()
    assert model.attach(1, prefix("10.77.0.1/32"), prefix("192.168.8.0/24")) == [True, True]
    assert model.attach(1, prefix("10.77.0.1/32")) == [False]
    assert model.directory.holders(address("192.168.8.9")) is None
    assert model.directory.sweep(10) == [prefix("192.168.8.0/24")]
    assert model.directory.sweep(10) == []
    assert len(model.directory) == 1


def test_cluster_members_share_a_prefix() -> None:
    model = Model()
    for node in range(1, 13):
        model.attach(node, prefix("10.77.9.9/32"))
    found = model.directory.holders(address("10.77.9.9"))
    assert found is not None
    assert len(found[1]) == len(set(found[1])) == 8
    for node in range(1, 12):
        model.detach(node)
    assert model.directory.holders(address("10.77.9.9")) == (prefix("10.77.9.9/32"), [NodeID(12)])


def test_routes_are_what_is_no_members_own_address() -> None:
    model = Model()
    version = model.directory.version
    model.attach(1, prefix("10.77.0.1/32"), prefix("fd77::1/128"))
    assert model.directory.routes() == []
    assert model.directory.version == version
    model.attach(2, prefix("192.168.8.0/24"), prefix("172.16.5.5/32"), prefix("10.77.0.2/32"))
    assert [(str(route.prefix), route.node) for route in model.directory.routes()] == [
        ("192.168.8.0/24", 2),
        ("172.16.5.5/32", 2),
    ]
    assert model.directory.version > version
    version = model.directory.version
    model.detach(2)
    model.directory.sweep(100)
    assert model.directory.routes() == []
    assert model.directory.version > version


def test_without_network_prefixes_single_addresses_are_members() -> None:
    model = Model(network=())
    model.attach(1, prefix("10.77.0.1/32"), prefix("10.0.0.0/8"))
    assert [route.prefix for route in model.directory.routes()] == [prefix("10.0.0.0/8")]


@pytest.mark.parametrize("seed", range(2))
def test_compared_with_a_plain_model(seed: int) -> None:
    chance = random.Random(seed)
    pool: list[Prefix] = [
        ipaddress.ip_network((chance.randrange(1 << 32), length), strict=False)
        for length in (0, 8, 16, 24, 32)
        for _ in range(8)
    ]
    pool += [ipaddress.ip_network((chance.randrange(1 << 128), 64), strict=False) for _ in range(8)]
    pool = list(dict.fromkeys(pool))
    model = Model()
    for _ in range(1_500):
        node = chance.randrange(1, 200)
        what = chance.random()
        if what < 0.5:
            model.attach(node, *chance.sample(pool, chance.randrange(1, 4)))
        elif what < 0.8:
            model.detach(node)
        else:
            model.directory.sweep(chance.randrange(50))
        one = chance.choice(pool)
        model.check(one.network_address)
        model.check(one.broadcast_address)
    model.directory.sweep(10_000)
    assert len(model.directory) == sum(len(held) for held in model.held.values())
    for one in pool:
        model.check(one.network_address)


def test_places_are_used_again() -> None:
    model = Model()
    for node in range(1, 2_001):
        model.attach(node, prefix("10.77.0.1/32") if node % 2 else prefix("10.77.0.2/32"))
        if node > 10:
            model.detach(node - 10)
            model.directory.sweep(20)
    assert sum(held.size for held in model.directory._holdings.values()) < 100


def test_askers_are_told_for_300_to_600_seconds() -> None:
    askers = Askers()
    asked, other = address("10.77.0.1"), address("192.168.8.9")
    assert askers.note(1, asked, 1_000.0)
    assert askers.note(2, asked, 1_299.0)
    assert askers.note(1, other, 1_299.0)
    assert askers.of(prefix("10.77.0.1/32"), 1_299.5) == {1, 2}
    assert askers.of(prefix("192.168.8.0/24"), 1_299.5) == {1}
    assert askers.of(prefix("192.168.9.0/24"), 1_299.5) == set()
    assert askers.note(3, asked, 1_300.0)
    assert askers.of(prefix("10.77.0.1/32"), 1_599.0) == {1, 2, 3}
    assert askers.of(prefix("10.77.0.1/32"), 1_600.0) == {3}
    assert askers.of(prefix("10.77.0.1/32"), 5_000.0) == set()


def test_askers_are_bounded() -> None:
    askers = Askers()
    for i in range(QUESTIONS_MAX):
        assert askers.note(i % 1_000 + 1, ipaddress.IPv4Address(i // 1_000), 10.0)
    assert not askers.note(1, address("10.0.0.1"), 11.0)
    assert askers.note(1, ipaddress.IPv4Address(0), 11.0), "it is remembered already"
    assert askers.note(1, address("10.0.0.1"), 400.0)


@given(st.ip_addresses(), st.integers(0, 128))
def test_prefixes_come_back_as_they_were(ip: IPAddress, length: int) -> None:
    one = ipaddress.ip_network((ip, min(length, ip.max_prefixlen)), strict=False)
    model = Model(network=())
    model.attach(5, one)
    assert model.directory.holders(ip) == (one, [NodeID(5)])
    model.detach(5)
    assert model.directory.sweep(1) == [one]
