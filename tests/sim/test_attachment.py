"""A node keeps its attachment through moves, loss, NAT rebinding, sleep and a Switch that starts again."""

from __future__ import annotations

import ipaddress

import pytest

from ovng.forwarding.clientevents import LocatorChanged, Reachable, Resolved, RoutesChanged, SwitchRestarted
from ovng.wire.private import ResolveStatus
from tests.attachment_fixture import AWAY, HOME, OFFICE, THIRD, TRUCK
from tests.sim.attachment_harness import HUB, Host, World
from tests.sim.network import CALM, LOSS_30, LOSS_50, ROUGH, Weather

ADDRESS = ipaddress.ip_address("10.77.0.2")


def pair(seed: int = 1, weather: Weather = CALM) -> tuple[World, Host, Host]:
    world = World(seed, weather)
    truck = world.host(TRUCK, HOME, "10.77.0.1/32", serial=7)
    office = world.host(OFFICE, THIRD, "10.77.0.2/32", "192.168.8.0/24", serial=8)
    world.run(8)
    assert truck.client.attached and office.client.attached
    return world, truck, office


def at_switch(world: World, host: Host) -> bytes | None:
    """The locator the Switch would send to, when it is confirmed."""
    state = world.table.locators(host.id)
    if state is None or state[1] == -1 or state[3]:
        return None
    return state[0][state[1]]


def test_resolves_and_learns_routes() -> None:
    world, truck, _ = pair()
    assert truck.client.resolve(ADDRESS, world.now) is None
    world.run(1)
    answer = truck.client.resolve(ADDRESS, world.now)
    assert answer is not None and answer.nodes == (OFFICE,) and answer.status == ResolveStatus.FOUND
    assert truck.seen(Resolved)
    assert [str(route.prefix) for route in truck.client.routes.routes] == ["192.168.8.0/24"]
    assert truck.seen(RoutesChanged)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weather", [CALM, LOSS_30, LOSS_50, ROUGH])
def test_a_move_is_known_and_confirmed(weather: Weather, seed: int) -> None:
    world, truck, _ = pair(seed)
    world.network.weather = weather
    truck.move(AWAY)
    took = world.run_until(lambda: at_switch(world, truck) == AWAY.packed(), 30)
    world.network.weather = CALM
    world.run(5)
    assert truck.client.observed == AWAY
    assert truck.seen(LocatorChanged)
    assert truck.handshakes == 1
    if weather is CALM:
        assert took < 0.15


def test_nat_rebinding_heals_by_mismatch() -> None:
    world, truck, _ = pair()
    truck.move(AWAY, notices=False)
    truck.send_data(OFFICE)
    took = world.run_until(lambda: at_switch(world, truck) == AWAY.packed(), 5)
    assert took < 0.3
    assert truck.handshakes == 1


@pytest.mark.parametrize("weather", [CALM, LOSS_30])
def test_switch_restart_needs_no_tls(weather: Weather) -> None:
    world, truck, office = pair()
    world.network.weather = weather
    world.kill_switch()
    world.run(20)
    world.start_switch()
    world.run_until(lambda: None not in (at_switch(world, truck), at_switch(world, office)), 32)
    world.network.weather = CALM
    world.run_until(lambda: bool(truck.seen(SwitchRestarted) and office.seen(SwitchRestarted)), 32)
    assert (truck.handshakes, office.handshakes) == (1, 1)


def test_switch_away_at_first_and_reached_at_last() -> None:
    world = World()
    world.network.down.add(HUB)
    truck = world.host(TRUCK, HOME, "10.77.0.1/32")
    world.run(100)
    assert not truck.client.attached
    world.network.down.clear()
    world.run_until(lambda: truck.client.attached, 75)
    assert truck.seen(Reachable)
