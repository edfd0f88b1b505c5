"""The node's data path while the control plane changes it: generations, peers, routes, paths; and its end."""

from __future__ import annotations

import ipaddress
import random
import select
import socket
import threading
import time
from pathlib import Path

import pytest

from ovng._fast import frame
from ovng.ids import Locator, NodeID
from ovng.io.datapath import Event
from tests.datapath_rig import (
    AES,
    BACK,
    CONTROL,
    IV,
    KEY,
    ME,
    OTHER,
    OUT,
    PEER,
    SPOOFED,
    Rig,
    open_descriptors,
    opened,
    seal,
    until,
)
from tests.lacks import foreign_threads
from tests.unit.packets import NO_VNET, UDP, Packet

# -- Generations


def test_retired_sending_key_makes_packets_wait(ready: Rig) -> None:
    assert ready.path.retire_send(PEER)
    assert not ready.path.retire_send(PEER)
    ready.send(OUT)
    ready.expect(("no_key", PEER, OUT))


def test_four_generations_receive_side_by_side(ready: Rig) -> None:
    for key_id in (10, 11, 12):
        ready.path.install_receive(PEER, key_id, AES, KEY, IV)
    with pytest.raises(RuntimeError, match="four generations"):
        ready.path.install_receive(PEER, 13, AES, KEY, IV)
    for key_id in (9, 10, 11, 12):
        ready.deliver(seal(1, key_id=key_id))
        assert ready.arrived() == NO_VNET + BACK
    assert ready.path.retire_receive(PEER, 10)
    assert not ready.path.retire_receive(PEER, 10)
    ready.deliver(seal(2, key_id=10))
    until(lambda: ready.drops("unknown_key") == 1)
    ready.path.install_receive(PEER, 13, AES, KEY, IV)
    ready.deliver(seal(2, key_id=13))
    assert ready.arrived() == NO_VNET + BACK


def test_reinstalled_key_id_starts_a_fresh_window(ready: Rig) -> None:
    ready.deliver(seal(1))
    ready.arrived()
    ready.path.install_receive(PEER, 9, AES, KEY[::-1], IV)
    ready.deliver(seal(1, key=KEY[::-1]))
    assert ready.arrived() == NO_VNET + BACK


def test_removed_peer_is_a_stranger(ready: Rig) -> None:
    assert ready.path.remove_peer(PEER)
    assert not ready.path.remove_peer(PEER)
    assert ready.path.peer_stats(PEER) is None
    ready.deliver(seal(1))
    ready.expect(("unknown_data", PEER))
    ready.send(OUT)
    ready.expect(("no_key", PEER, OUT))


def test_prefixes_of_a_peer_can_change(ready: Rig) -> None:
    ready.path.add_peer(PEER, [ipaddress.ip_network("10.77.0.3/32")])
    ready.deliver(seal(1))
    until(lambda: ready.drops("inner_source") == 1)
    ready.deliver(seal(2, SPOOFED))
    assert ready.arrived() == NO_VNET + SPOOFED


# -- Routes


def test_longest_prefix_wins(rig: Rig) -> None:
    """Random nested prefixes of both versions, some removed again, against the standard library."""
    chance = random.Random(7)
    routes: dict[ipaddress.IPv4Network | ipaddress.IPv6Network, NodeID] = {}

    def random_address(version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        if version == 4:  # few bits vary, so that prefixes nest
            return ipaddress.IPv4Address(0x0A000000 | chance.getrandbits(24) & 0x00030303)
        return ipaddress.IPv6Address((0xFD << 120) | chance.getrandbits(120) & 0x3 << 64 | chance.getrandbits(3))

    for index in range(200):
        version = chance.choice((4, 6))
        bits = chance.randint(0, 32 if version == 4 else 128)
        prefix = ipaddress.ip_network((random_address(version), bits), strict=False)
        peer = NodeID(1000 + index)
        rig.path.add_route(prefix, peer)
        routes[prefix] = peer
        if chance.random() < 0.4:
            gone = chance.choice(list(routes))
            assert not rig.path.remove_route(gone, NodeID(1))
            assert rig.path.remove_route(gone, routes.pop(gone))
    assert routes
    for _ in range(300):
        version = chance.choice((4, 6))
        destination = random_address(version)
        packet = Packet(b"x", version, UDP, destination=str(destination)).build()
        covering = [p for p in routes if p.version == version and destination in p]
        rig.send(packet)
        if covering:
            best = max(covering, key=lambda prefix: prefix.prefixlen)
            expected: Event = ("no_key", routes[best], packet)
        else:
            expected = ("no_route", packet)
        rig.heard.clear()
        rig.expect(expected)


def test_a_default_route_serves_one_version(rig: Rig) -> None:
    rig.path.add_route(ipaddress.ip_network("::/0"), PEER)
    rig.send(OUT)
    rig.expect(("no_route", OUT))
    rig.path.add_route(ipaddress.ip_network("0.0.0.0/0"), OTHER)
    rig.send(OUT)
    rig.expect(("no_key", OTHER, OUT))


# -- Paths and life


def test_paths_are_heard_side_by_side_and_can_be_replaced(ready: Rig) -> None:
    second = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        second.bind(("::", 0))
        ready.path.set_path(3, second, Locator.of(*ready.switch.getsockname()))
        ready.switch.sendto(seal(1), ("127.0.0.1", second.getsockname()[1]))
        assert ready.arrived() == NO_VNET + BACK
        ready.deliver(seal(2))
        assert ready.arrived() == NO_VNET + BACK
        ready.path.set_active(3)
        ready.send(OUT)
        datagram, source = ready.switch.recvfrom(2000)
        assert opened(datagram)[1] == OUT
        assert source[1] == second.getsockname()[1]
        hello = frame.build(CONTROL, 0, 0, ME, OTHER, 0)
        ready.switch.sendto(hello, ("127.0.0.1", second.getsockname()[1]))
        ready.expect(("control", 3, Locator.of(*ready.switch.getsockname()), hello))
        ready.path.set_path(3, ready.outer, Locator.of(*ready.switch.getsockname()))
        ready.send(OUT)
        assert ready.switch.recvfrom(2000)[1] == ready.outer.getsockname()
        ready.path.clear_path(3)
        ready.path.clear_path(3)
        ready.send(OUT)
        until(lambda: ready.path.stats()["held"] == 1)
    finally:
        second.close()


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_stop_leaves_nothing() -> None:
    Rig().close()  # whatever is opened once per process is open now
    foreign = foreign_threads()
    until(lambda: threads() - foreign == threading.active_count())  # the system's view lags behind a join
    before = open_descriptors(), threads()
    for _ in range(5):
        rig = Rig()
        rig.know_peer()
        for index in (1, 2, 1, 1):
            rig.path.set_path(index, rig.outer, Locator.of(*rig.switch.getsockname()))
        assert threads() == before[1] + 2
        began = time.monotonic()
        rig.path.stop()
        assert time.monotonic() - began < 1
        rig.path.stop()
        rig.close()
        rig.path.close()
        with pytest.raises(RuntimeError, match="closed"):
            rig.path.inject(OUT)
        until(lambda: threads() == before[1])
    assert open_descriptors() == before[0]


def test_replaced_paths_do_not_pile_up(ready: Rig) -> None:
    where = Locator.of(*ready.switch.getsockname())
    ready.path.set_path(1, ready.outer, where)
    before = open_descriptors()
    for _ in range(100):
        ready.path.set_path(1, ready.outer, where)
    until(lambda: ready.path.events() is not None and open_descriptors() <= before)


def test_control_plane_changes_under_full_traffic(ready: Rig) -> None:
    """Keys, routes, peers and paths come and go while both loops run; nothing is lost that had a key."""
    sealed = [seal(number) for number in range(1, 2001)]
    for index, datagram in enumerate(sealed):
        ready.deliver(datagram)
        ready.send(OUT)
        ready.path.install_receive(PEER, 100, AES, index.to_bytes(32, "big"), IV)
        ready.path.add_peer(NodeID(5000 + index % 200), [ipaddress.ip_network("10.9.0.0/16")])
        ready.path.add_route(ipaddress.ip_network(f"10.8.{index % 256}.0/24"), OTHER)
        ready.path.remove_peer(NodeID(5000 + (index + 50) % 200))
        ready.path.remove_route(ipaddress.ip_network(f"10.8.{(index + 50) % 256}.0/24"), OTHER)
        assert ready.arrived() == NO_VNET + BACK
        assert opened(ready.left()) == (index + 1, OUT)


def test_tun_that_goes_away_does_not_burn_the_processor(rig: Rig) -> None:
    rig.device.close()
    until(lambda: rig.path.stats()["tun_error"])
    began = time.process_time()
    select.select([], [], [], 0.5)
    assert time.process_time() - began < 0.25
