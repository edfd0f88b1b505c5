"""What an idle node costs in a day, and that it can be reached all the while, behind NATs of all kinds."""

from __future__ import annotations

import pytest

from ovng.limits import KEEPALIVE_DEFAULT, KEEPALIVE_LEARNED
from ovng.wire.report import ReportKind
from tests.sim.idle_world import IdleWorld, Nat

DAY = 86_400
MEGABYTE = 1_000_000
NEVER = 1e9


@pytest.mark.parametrize("same_port", [True, False], ids=["same port", "another port"])
@pytest.mark.parametrize(
    "hold", [30, 180, NEVER, *(pytest.param(hold, marks=pytest.mark.long) for hold in (45, 60, 100))]
)
def test_the_keepalive_learns_how_long_the_nat_holds(hold: float, same_port: bool) -> None:
    world = IdleWorld([Nat(hold, same_port)])
    world.run(DAY)
    path = world.client.path(0)
    assert path is not None
    learned = path.keepalive.life.keepalive
    assert min(hold, KEEPALIVE_LEARNED) * 0.8 <= learned <= min(hold, KEEPALIVE_LEARNED)
    assert world.sent[0] < MEGABYTE
    if hold > KEEPALIVE_DEFAULT * 1.5:
        assert world.wakes < DAY / 20
    nat = world.nats[0]
    assert nat.deafest <= learned / 2 + 4, "one trial at a time, half as long again as what is good"
    assert nat.deaf <= DAY / 500, "a failed length is not tried again on the same day"


@pytest.mark.parametrize("same_port", [True, False], ids=["same port", "another port"])
def test_a_nat_of_a_few_seconds_is_found_out(same_port: bool) -> None:
    world = IdleWorld([Nat(12, same_port)])
    world.run(3_600)
    path = world.client.path(0)
    assert path is not None
    assert 6 <= path.keepalive.life.keepalive <= 12


def test_a_standby_path_costs_less_and_wakes_nobody() -> None:
    alone, both = IdleWorld([Nat(60)]), IdleWorld([Nat(60), Nat(60)])
    alone.run(DAY)
    both.run(DAY)
    assert both.sent[1] < both.sent[0] / 3
    assert both.wakes < alone.wakes * 1.1
    assert both.wakes < DAY / 20
    assert max(both.sent.values()) < MEGABYTE


def test_a_metered_path_costs_least_until_it_is_the_last() -> None:
    world = IdleWorld([Nat(60), Nat(60)], metered=frozenset({1}))
    world.run(DAY)
    spared = world.client.path(1)
    assert spared is not None and spared.keepalive.life.good == 0, "nothing was tried on it"
    assert world.sent[1] < MEGABYTE / 8
    assert world.kinds[1, ReportKind.KNOCK] == 0
    assert not spared.silent
    world.client.activate(1, world.now, lost=True)
    world.client.remove_path(0)
    before = world.kinds[1, ReportKind.REFRESH]
    world.run(600)
    assert world.kinds[1, ReportKind.REFRESH] - before >= 600 / KEEPALIVE_LEARNED, "as any other now"


def test_a_keepalive_from_the_profile_is_kept() -> None:
    world = IdleWorld([Nat(NEVER)], keepalive=40)
    world.run(4_000)
    assert world.kinds[0, ReportKind.REFRESH] == pytest.approx(4_000 / 39.2, rel=0.05)
    assert world.kinds[0, ReportKind.KNOCK] == 0


def test_memory_is_doubted_when_the_network_comes_back() -> None:
    """The same names, but a NAT that holds for less: found out at the first keepalive, not relied upon."""
    world = IdleWorld([Nat(NEVER)])
    world.run(7_200)
    path = world.client.path(0)
    assert path is not None and path.keepalive.life.good == pytest.approx(KEEPALIVE_LEARNED, abs=1)
    world.client.set_uplink(0, 0, network="elsewhere")
    world.client.network_changed(world.now)
    world.nats[0] = Nat(40)
    world.client.set_uplink(0, 0, network="0")
    world.client.network_changed(world.now)
    world.run(1_200)
    assert path.keepalive.life.keepalive <= 40


def test_a_dead_path_teaches_nothing() -> None:
    world = IdleWorld([Nat(NEVER)])
    world.run(60)
    path = world.client.path(0)
    assert path is not None
    good = path.keepalive.life.good
    world.nats[0].up = False
    world.run(300)
    assert path.silent
    assert (path.keepalive.life.good, path.keepalive.life.bad) == (good, float("inf"))
    world.nats[0].up = True
    world.run(60)
    assert not path.silent


def test_traffic_keeps_the_mapping_but_not_the_lease() -> None:
    """Something leaves every five seconds: a refresh is made for the lease only, well before it ends."""
    world = IdleWorld([Nat(NEVER)], keepalive=25)
    world.run(1.0)
    before = world.kinds[0, ReportKind.REFRESH]
    for _ in range(200):
        world.client.sent_by(world.now.mono, 0)
        world.run(5.0)
    assert 1_000 / 75 < world.kinds[0, ReportKind.REFRESH] - before <= 1_000 / 45
