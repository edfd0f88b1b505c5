"""What somebody on the way, or with a copied profile, can do to an attachment; and what chance can (SECURITY 2.5)."""

from __future__ import annotations

import random

import pytest

from ovng.errors import Malformed
from ovng.forwarding.clientevents import CrlArrived, NeedTls, Revoked, SupersededEvent, SwitchRestarted
from ovng.ids import Locator, NodeID
from ovng.wire.report import Challenge, Common, Mismatch, ReportKind, Update, parse_report
from tests.attachment_fixture import AWAY, EVIL, HOME, SWITCH, THIRD, TRUCK
from tests.sim.attachment_harness import Host, World
from tests.sim.network import CALM, LOSS_30, ROUGH, Weather
from tests.sim.test_attachment import at_switch, pair


def update_of(datagram: bytes) -> Update | None:
    try:
        report = parse_report(datagram)
    except Malformed:
        return None
    return report if isinstance(report, Update) else None


@pytest.mark.parametrize("seed", range(3))
def test_copy_and_race_redirects_for_a_moment_only(seed: int) -> None:
    """The attacker's copy of every report arrives before the report."""
    world, truck, office = pair(seed)
    world.attacker = lambda datagram: world.inject(datagram, EVIL) if update_of(datagram) else None
    for place in (AWAY, Locator(AWAY.address, 7), HOME):
        truck.move(place)
        for _ in range(20):
            office.send_data(TRUCK)
            world.run(0.1)
        assert at_switch(world, truck) == place.packed()
    assert world.seen_at.get(EVIL, 0) <= 3 * (16_384 + 3 * 92)
    assert truck.handshakes == 1
    before = world.seen_at.get(EVIL, 0)
    for _ in range(100):
        office.send_data(TRUCK)
        world.run(0.1)
    assert world.seen_at.get(EVIL, 0) == before


def test_one_who_copies_and_suppresses_loses_it_when_gone() -> None:
    """A relay between node and Switch: traffic passes it while it is there, and finds back at the next report."""
    world, truck, office = pair()
    world.attacker = lambda datagram: world.inject(datagram, EVIL) if update_of(datagram) else None
    truck.move(AWAY)
    world.run(0.02)
    world.attacker = lambda datagram: None
    world.run(4)
    assert at_switch(world, truck) == AWAY.packed()
    assert office.handshakes == 1


def test_a_replay_of_everything_changes_nothing() -> None:
    world, truck, office = pair()
    captured: list[bytes] = []
    world.attacker = captured.append
    for place in (AWAY, Locator(AWAY.address, 8), AWAY):
        truck.move(place)
        truck.client.resolve(office.identity.prefixes[0].network_address, world.now)
        world.run(2)
    world.attacker = lambda datagram: None
    before = [(world.table.record(one), world.table.locators(one)) for one in sorted(world.table.ids())]
    for datagram in captured * 3:
        world.inject(datagram, EVIL)
        world.inject(datagram, THIRD)
    after = [(world.table.record(one), world.table.locators(one)) for one in sorted(world.table.ids())]
    assert before == after


def test_forged_hints_move_nothing() -> None:
    """An attacker who sees nothing sends hints in the Switch's name, to whoever it likes."""
    world, truck, _ = pair()
    for i in range(200):
        truck.client.receive_report(Mismatch(TRUCK, SWITCH, i, EVIL, b"c" * 16).pack(), world.now)
        forged = Challenge(Common(TRUCK, SWITCH, i, 666, 1), b"c" * 16, bytes(8))
        truck.client.receive_report(forged.pack(), world.now)
        world.flush()
        world.run(0.02)
    world.run(3)
    assert at_switch(world, truck) == HOME.packed()
    assert truck.client.observed == HOME
    assert truck.client.grant is not None and truck.client.grant.sequence < 40, (
        "about one a second and what answers need"
    )
    assert truck.handshakes == 1


# -- A copied profile


@pytest.mark.parametrize("weather", [CALM, Weather(loss=0.5)])
def test_the_later_of_two_wins_and_the_earlier_ends(weather: Weather) -> None:
    for seed in range(3):
        world, truck, _ = pair(seed)
        world.network.weather = weather
        copy = world.host(TRUCK, AWAY, "10.77.0.1/32", serial=7)
        world.run(40 if weather.loss else 1)
        assert truck.seen(SupersededEvent)
        assert copy.client.attached and not copy.seen(SupersededEvent)
        world.network.weather = CALM
        world.run(30)
        assert at_switch(world, copy) == AWAY.packed()


def test_a_copy_that_was_offline_ends_when_it_comes_back() -> None:
    world, truck, _ = pair()
    world.network.down.add(HOME)
    copy = world.host(TRUCK, AWAY, "10.77.0.1/32", serial=7)
    world.run(100)
    world.network.down.clear()
    world.run(35)
    assert truck.seen(SupersededEvent)
    assert at_switch(world, copy) == AWAY.packed()


def test_one_of_two_copies_ends_also_when_the_switch_restarts_between() -> None:
    world, truck, _ = pair()
    world.network.down.add(HOME)
    copy = world.host(TRUCK, AWAY, "10.77.0.1/32", serial=7)
    world.run(5)
    world.kill_switch()
    world.network.down.clear()
    world.network.down.add(AWAY)
    world.start_switch()
    world.run(60)
    assert truck.client.attached, "its ticket is good, and nobody says otherwise yet"
    world.network.down.clear()
    world.run(60)
    assert bool(truck.seen(SupersededEvent)) != bool(copy.seen(SupersededEvent)), (
        "one of them, whichever had the last word"
    )


# -- Revocation


@pytest.mark.parametrize("weather", [CALM, LOSS_30])
def test_a_list_reaches_everybody_and_ends_whom_it_names(weather: Weather) -> None:
    world, truck, office = pair()
    world.network.weather = weather
    der = bytes(i % 251 for i in range(9_000))
    world.switch.set_crl(4, der, [truck.identity.serial])
    world.run(60)
    assert office.seen(CrlArrived) == [CrlArrived(4, der)]
    assert truck.seen(Revoked)
    assert world.table.record(TRUCK) is None


# -- Sleep, chance


def test_after_an_hours_sleep_it_takes_no_tls() -> None:
    world, truck, office = pair()
    world.run(12)
    world.clock.sleep(3_600)
    world.run(2)
    assert at_switch(world, truck) is None
    truck.move(AWAY)
    world.run(1)
    assert at_switch(world, truck) == AWAY.packed()
    office.send_data(TRUCK)
    world.run(1)
    assert at_switch(world, office) == THIRD.packed()
    assert (truck.handshakes, office.handshakes) == (1, 1)


def test_after_two_days_off_it_takes_one_tls() -> None:
    world, truck, _ = pair()
    world.clock.sleep(2 * 86_400)
    world.run(30)
    assert truck.client.attached
    assert truck.handshakes == 2
    assert at_switch(world, truck) == HOME.packed()


@pytest.mark.parametrize("seed", range(6))
def test_chaos(seed: int) -> None:
    """Moves, rebindings, restarts and bad weather at random; then calm: everybody is where it is."""
    chance = random.Random(seed)
    world = World(seed, ROUGH)
    hosts: list[Host] = []
    for i in range(4):
        place = Locator(AWAY.address, 1_000 * (i + 1))
        hosts.append(world.host(NodeID(0x7000 + i), place, f"10.77.1.{i}/32", serial=100 + i))
    world.run(10)
    port = 20_000
    for _ in range(40):
        host, port = chance.choice(hosts), port + 1
        what = chance.random()
        if what < 0.5:
            host.move(Locator(AWAY.address, port), notices=chance.random() < 0.7)
        elif what < 0.6 and world.running:
            world.kill_switch()
            world.after(chance.random() * 5, world.start_switch)
        elif what < 0.8:
            world.network.weather = chance.choice([CALM, LOSS_30, ROUGH, Weather(loss=0.2, corruption=0.2)])
        host.send_data(chance.choice(hosts[1:] if host is hosts[0] else hosts[:1]).id)
        world.run(chance.random() * 3)
    world.network.weather = CALM
    for host in hosts:
        host.send_data(hosts[1].id if host is hosts[0] else hosts[0].id)
    world.run(40)
    for host in hosts:
        assert at_switch(world, host) == host.at.packed()
        assert host.client.observed == host.at
        assert not host.seen(SupersededEvent) and not host.seen(Revoked)
        restarts = len(host.seen(SwitchRestarted))
        assert host.handshakes <= 2 + 2 * restarts, [event.reason for event in host.seen(NeedTls)]
        state = world.table.locators(host.id)
        assert state is not None and sum(slot is not None for slot in state[0]) == 1


def test_a_report_is_small() -> None:
    """One datagram moves a node; MOVE and its answer have the same size."""
    world, truck, _ = pair()
    sent: list[bytes] = []
    world.attacker = sent.append
    truck.move(AWAY)
    world.run(0.2)
    found = [(update.kind, len(datagram)) for datagram in sent if (update := update_of(datagram)) is not None]
    assert found == [(ReportKind.MOVE, 92), (ReportKind.CONFIRM, 92)]
