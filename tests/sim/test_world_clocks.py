"""Time: wrong wall clocks, a day of silence, coverage gaps, machines that sleep."""

from __future__ import annotations

import pytest

from ovng.forwarding import registrar
from ovng.session.events import Attached
from tests.sim import world_switch
from tests.sim.network import CALM, Weather
from tests.sim.test_world_moves import at_switch, one_session, sessions, talking
from tests.sim.world import Sent, World, each_way
from tests.sim.world_node import Options

HOUR, DAY = 3_600.0, 86_400.0


@pytest.fixture
def rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle Switch looks after things once a minute instead of every second: a day has 86,400 of them."""
    monkeypatch.setattr(registrar, "_TICK", 60.0)
    monkeypatch.setattr(world_switch, "SNAPSHOT_INTERVAL", 60.0)


def skewed(one: float, other: float, switch: float) -> World:
    """Two nodes and a Switch whose wall clocks are wrong by so many seconds."""
    world = World()
    world.switch.kill()
    world.switch.clock.wall = switch
    world.start_switch()
    for skew, prefix in ((one, "10.77.0.2/32"), (other, "10.77.0.3/32")):
        place = world.place(world.ca.node(prefix))
        place.clock.wall = skew
        world.start(place)
    return world


IN_1970 = 5.0 - World().now.wall


@pytest.mark.parametrize(
    ("one", "other", "switch"),
    [
        (IN_1970, 0, 0),
        (IN_1970, IN_1970, 0),
        (IN_1970, IN_1970, IN_1970),
        (0, 0, IN_1970),
        (HOUR, -HOUR, 0),
        (-HOUR, HOUR, HOUR),
        (0, 0, -HOUR),
        (HOUR, HOUR, -HOUR),
    ],
    ids=["node 1970", "nodes 1970", "all 1970", "Switch 1970", "+-0", "-++", "00-", "++-"],
)
def test_wrong_clocks(one: float, other: float, switch: float) -> None:
    """They attach and talk, also over a restart of the Switch and with rekeys."""
    world = skewed(one, other, switch)
    first, second = world.places
    assert world.talk(first, second) < 1.5
    world.run(12.0)
    world.switch.kill()
    world.run(1.0)
    world.start_switch()
    assert world.talk(first, second) < 2.0
    first.node.sessions.rekey_all(world.now_of(first.node))
    first.node.flush(world.now_of(first.node))
    world.run(2.0)
    assert [generation for _, generation in sessions(first, second)] == [1, 1]
    assert sum(isinstance(event, Attached) for event in first.node.log) == 1


@pytest.mark.parametrize("jump", [HOUR, -HOUR, IN_1970, 40 * DAY], ids=["+1h", "-1h", "to 1970", "+40 d"])
def test_a_clock_that_is_set_while_all_runs(jump: float) -> None:
    """NTP, or somebody's hand: at a node, at the Switch, and the Switch is restarted after it."""
    for who in ("node", "switch"):
        world, one, other = talking()
        clock = one.clock if who == "node" else world.switch.clock
        clock.wall += jump
        world.run(60.0)
        world.talk(one, other)
        world.switch.kill()
        world.run(1.0)
        world.start_switch()
        assert world.talk(one, other, 20.0) < 12.0
        assert one_session(one, other)


def test_an_expired_certificate_is_refused_and_a_clock_behind_does_not_help_the_switch_to_forget() -> None:
    """Dates are judged against the newest that the CA has signed."""
    world = World()
    old = world.place(world.ca.node("10.77.0.9/32", wall=world.ca.wall - 400 * DAY, days=30))
    world.start(old)
    world.run(20.0)
    assert not old.node.client.attached
    world.switch.kill()
    world.switch.clock.wall = IN_1970
    world.start_switch()
    world.run(120.0)
    assert not old.node.client.attached


def test_a_day_of_silence(rarely: None) -> None:
    """The grant is renewed on the way, by TLS, once; nothing else is needed."""
    world, one, other = talking()
    world.run(1.05 * DAY)
    for place in (one, other):
        assert place.node.client.attached and at_switch(world, place)
        assert 2 <= sum(isinstance(event, Attached) for event in place.node.log) <= 3
    packet = world.send(one, other)
    assert world.run(1.0, lambda: packet.arrived is not None)
    assert one_session(one, other)


@pytest.mark.parametrize("weather", [CALM, each_way(0.1)], ids=["calm", "10 %"])
@pytest.mark.parametrize("traffic", [False, True], ids=["idle", "traffic"])
def test_ten_minutes_without_coverage(weather: Weather, traffic: bool) -> None:
    for seed in range(3):
        world, one, other = talking(seed, weather)
        keys, tls = sessions(one, other), sum(isinstance(event, Attached) for event in one.node.log)
        one.link.cut = True
        for _ in range(120):
            if traffic:
                world.send(one, other), world.send(other, one)
            world.run(5.0)
        one.link.cut = False
        world.move(one)
        assert world.talk(one, other, 20.0) < (0.5 if weather is CALM else 5.0)
        assert sessions(one, other) == keys
        world.run(40.0)
        assert sum(isinstance(event, Attached) for event in one.node.log) <= tls + 1


def test_the_gap_ends_without_news_from_the_network() -> None:
    """Nobody tells the node that it is covered again: with traffic it finds out within seconds."""
    world, one, other = talking()
    one.link.cut = True
    for _ in range(120):
        world.send(one, other)
        world.run(5.0)
    one.link.cut = False
    assert world.talk(one, other, 10.0) < 3.0
    assert one_session(one, other)


def test_a_gap_longer_than_keys_live() -> None:
    for seed in range(3):
        world, one, other = talking(seed, options=Options(rekey_seconds=60.0))
        one.link.cut = True
        for _ in range(80):
            world.send(one, other), world.send(other, one)
            world.run(5.0)
        one.link.cut = False
        world.move(one)
        assert world.talk(one, other, 20.0) < 3.0
        assert one_session(one, other)


@pytest.mark.parametrize("hours", [0.5, 4.0, 30.0])
def test_a_machine_that_sleeps(rarely: None, hours: float) -> None:
    """Its monotonic clock stands still; its keys (3 h at most) and its grant (24 h) do not live longer for that."""
    for seed in range(3 if hours < 1 else 1):
        world, one, other = talking(seed)
        one.node.alive = False  # nothing runs there
        world.run(hours * HOUR)
        one.clock.sleep(hours * HOUR)
        one.node.alive = True
        world.move(one)
        assert world.talk(one, other, 20.0) < 4.0
        assert one_session(one, other)


@pytest.mark.parametrize("hours", [0.1, 1.0])
def test_a_machine_that_slept_can_be_reached_a_round_trip_after_it_resumes(rarely: None, hours: float) -> None:
    """Its NAT has forgotten it meanwhile. `Driver` is woken by the resume itself, and tells by CLOCK_BOOTTIME."""
    for seed in range(3):
        world, one, other = talking(seed)
        one.node.alive = False
        world.run(hours * HOUR)
        one.clock.sleep(hours * HOUR)
        one.node.alive = True
        world.rebind(one)
        resumed = world.now.mono
        one.node.network_changed(world.now_of(one.node))  # what `Moving.slept` does
        sent: list[Sent] = []
        while not any(packet.arrived for packet in sent) and world.now.mono < resumed + 5.0:
            sent.append(world.send(other, one))
            world.run(0.005)
        round_trip = 2 * world.weather.delay_max
        one_way = 2 * world.weather.delay_max  # from node to node, over the Switch
        assert min(packet.arrived for packet in sent if packet.arrived) - resumed <= round_trip + one_way + 0.05
        assert one_session(one, other)
