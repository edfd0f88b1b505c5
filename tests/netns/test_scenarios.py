"""The mobility scenarios as tests, in the world of `benchmarks/mobility`: two uplinks at either end, each behind a NAT
of its own, and a Switch 20 ms away.

What is asserted is what the far side sees: what the peer received, numbered, where the Switch's table has the node, and
a capture of the old path, on which nothing passes any more. Losses and states are strict. Times are not, for a busy
machine is no fault; and who is away for longer than the Switch's tail loses something, so that a move which took as
long has further tries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address

import pytest

from benchmarks.mobility import events, systems
from benchmarks.mobility.drive import Moment, Samples, Window, samples_of, within
from benchmarks.mobility.listener import Listener
from benchmarks.mobility.probe import Probe, Seen
from benchmarks.mobility.systems import Running
from benchmarks.mobility.topology import HUB, End, world
from ovng.clock import now
from ovng.demo.capture import Capture
from ovng.demo.net import Host, wait_until
from ovng.errors import SystemProblem
from ovng.limits import TAIL_MILLISECONDS
from ovng.roaming.path import PROVING_SECONDS
from ovng.wire.header import PacketType
from tests.netns.rig import Stream, say

pytestmark = [pytest.mark.root, pytest.mark.alone]

TRIES = 3
SWIFT = TAIL_MILLISECONDS - 100
"""Milliseconds. A gap that is shorter costs nothing; the round trip is in it."""
PATIENCE = 20.0
ARRIVALS = 300
GAP_SECONDS = 10.0
HELD_SECONDS = 1.0
RESUMED_SECONDS = 1.0
"""A busy machine's round trip. TCP by itself waits for two seconds then (0.2 s, doubled six times)."""
_ADDRESSES, _PAYLOAD = 26, 42  # octets of an Ethernet frame with IPv4

Act = Callable[[Running], Moment]
Look = Callable[[Probe], None]


@contextmanager
def network(*, both: bool = True) -> Iterator[Running]:
    with world(both=both, family="scenario") as here, systems.running(systems.SUBJECT, here) as running:
        yield running


@pytest.fixture(scope="module")
def made() -> Iterator[Running]:
    with network() as running:
        yield running


@pytest.fixture
def system(made: Running) -> Running:
    return settled(made)


@pytest.fixture
def fresh() -> Iterator[Running]:
    """For who moves by an uplink that others have made flap: that one would have to prove itself first."""
    with network() as running:
        yield settled(running)


@pytest.fixture
def single() -> Iterator[Running]:
    """One uplink at either end: nothing else to go to, should a busy machine take its time between two addresses."""
    with network(both=False) as running:
        yield at_home(running)


def at_home(running: Running) -> Running:
    """The Switch has either end at its Wi-Fi."""
    for name, end in ends(running).items():
        seen_at(running, name, end.wifi.seen_as)
    return running


def settled(running: Running) -> Running:
    """Data goes by the Wi-Fi at either end, and the other uplink is ready."""
    for name, end in ends(running).items():
        wait_until(lambda: uplinks(running, name) == {"wifi0": "ready", "lte0": "ready"}, f"both uplinks of {name}", 20)  # noqa: B023
        seen_at(running, name, end.wifi.seen_as, 70)  # one that has died again and again must prove itself for as long
    return running


def test_an_address_changes(single: Running) -> None:
    """S2: the old one is gone before there is the new one, and nothing is lost."""
    old, new = moving(single, "a")

    def look(probe: Probe) -> None:
        seen_at(single, "a", new())
        on_wire = wire(single.world.internet, ["a-wifi"], probe)
        assert on_wire[new(), "data"] > ARRIVALS
        assert (on_wire[old(), "data"], on_wire[old(), "other"]) == (0, 0)

    samples, _ = across(single, events.readdressing, look, settle=at_home)
    assert samples["lost"] == 0
    assert max(gaps(samples)) < 1000


def test_both_addresses_change_at_once(single: Running) -> None:
    """S3: neither can tell the other where it is, and nothing is lost."""
    olds, news = zip(*(moving(single, name) for name in "ab"), strict=True)

    def look(probe: Probe) -> None:
        for name, new in zip("ab", news, strict=True):
            seen_at(single, name, new())
        on_wire = wire(single.world.internet, ["a-wifi", "b-wifi"], probe)
        for old, new in zip(olds, news, strict=True):
            assert on_wire[new(), "data"] > ARRIVALS
            assert (on_wire[old(), "data"], on_wire[old(), "other"]) == (0, 0)

    samples, _ = across(single, events.readdressing_of_both, look, settle=at_home)
    assert samples["lost"] == 0
    assert max(gaps(samples)) < 1000


@pytest.mark.parametrize("names", ["a", "ab"])
def test_addresses_change_beside_another_uplink(system: Running, names: str) -> None:
    """S2 and S3 where there is somewhere else to go: data may take the other uplink meanwhile, nothing is lost, nothing
    goes to the old place, and in the end it is at the new one."""
    places = {name: moving(system, name) for name in names}

    def look(probe: Probe) -> None:
        for name, (old, _) in places.items():
            wait_until(lambda: place(system, name) not in ("", old()), f"{name} elsewhere in the Switch's table")  # noqa: B023
        devices = [f"{name}-{uplink}" for name in names for uplink in ("wifi", "lte")]
        on_wire = wire(system.world.internet, devices, probe)
        for name, (old, new) in places.items():
            assert on_wire[new(), "data"] + on_wire[ends(system)[name].lte.seen_as, "data"] > ARRIVALS
            assert (on_wire[old(), "data"], on_wire[old(), "other"]) == (0, 0)
            seen_at(system, name, new(), 70)

    act = events.readdressing if names == "a" else events.readdressing_of_both
    samples, _ = across(system, act, look)
    assert samples["lost"] == 0
    assert max(gaps(samples)) < 1000


def test_there_is_a_better_uplink(system: Running) -> None:
    """S4a: both are up, and data moves on purpose. The old one stays known to the Switch, and carries no data."""
    a = system.world.a

    def look(probe: Probe) -> None:
        left_for_the_other(system, probe)

    try:
        samples, _ = across(system, events.better_link, look, lambda _: a.lte.prefer(False))
    finally:
        if a.lte.preferred:
            a.lte.prefer(False)
    assert samples["lost"] == 0
    assert max(gaps(samples)) < 300


def test_the_active_uplink_is_removed(system: Running) -> None:
    """S4b: it is gone without a word; what was under way to it comes by the other."""
    gone = events.ActiveUplink()
    samples, _ = across(system, gone.removal, lambda probe: left_for_the_other(system, probe), gone.returned)
    assert samples["lost"] == 0
    assert max(gaps(samples)) < 1000


def test_the_active_uplink_is_silently_dead(system: Running) -> None:
    """S5: it is up, and swallows everything. When it is well again it is preferred again, but has to prove itself."""
    dead, back = events.ActiveUplink(), Return(system)
    samples, (seen, _) = across(
        system, dead.death, lambda probe: left_for_the_other(system, probe), dead.healed, back, tries=1
    )
    assert 0 < max(gaps(samples)) < 2000
    assert back.seconds > PROVING_SECONDS
    assert seen.up.lost(*back.window) == seen.down.lost(*back.window) == 0
    say(f"silently dead: lost {samples['lost']:.0f} of both directions; preferred again after {back.seconds:.1f} s")


def test_no_network_for_a_while(fresh: Running) -> None:
    """S7: then another one. No handshake, both TCP connections live, no application is told of an error. What was sent
    last has waited, and TCP goes on with it: its own timer would be due seconds later."""
    a, members = fresh.world.a, fresh.members
    assert members is not None
    old, new = moving(fresh, "a")
    coverage = events.CoverageGap(GAP_SECONDS)

    def look(probe: Probe) -> None:
        seen_at(fresh, "a", new())
        on_wire = wire(fresh.world.internet, ["a-wifi"], probe)
        assert on_wire[new(), "data"] > ARRIVALS
        assert (on_wire[old(), "data"], on_wire[old(), "other"]) == (0, 0)

    a.lte.down()
    try:
        with Stream(members["a"], members["b"], 50) as there, Stream(members["b"], members["a"], 50) as back:
            samples, (seen, moment) = across(fresh, coverage, look, tries=1)
    finally:
        a.lte.up()
    assert (there.refused, back.refused) == (0, 0), (there.refusal, back.refusal)
    assert max(gaps(samples)) < 2000
    first, resumed = seen.up.first(moment.usable), next(at for at in seen.stream if at > moment.usable)
    assert first is not None
    say(f"TCP goes on {1000 * (resumed - first):.0f} ms after the first datagram")
    assert resumed - first < RESUMED_SECONDS
    assert seen.up.lost(moment.usable - HELD_SECONDS, moment.usable) == 0


def test_a_report_is_raced_replayed_and_forged(single: Running) -> None:
    """S15: a listener nearer to the Switch sends every report of a move first, from its own address."""
    old, new = moving(single, "a")
    hub = single.world.star.hub
    with Listener(single.world) as listener:

        def look(probe: Probe) -> None:
            seen_at(single, "a", new())
            on_wire = wire(single.world.internet, ["a-wifi"], probe)
            assert on_wire[new(), "data"] > ARRIVALS
            assert (on_wire[old(), "data"], on_wire[old(), "other"]) == (0, 0)

        def nothing_moved(probe: Probe) -> None:
            seen_at(single, "a", new())
            assert wire(hub, ["listener"], probe)[listener.address, "data"] == 0

        raced, _ = across(single, listener.racing(events.readdressing), look, tries=1)
        before = single.hub_status()["counters"]
        still, _ = across(single, listener.replaying, nothing_moved, settle=lambda _: None)
        counters = single.hub_status()["counters"]
        facts = listener.facts()
    assert max(gaps(raced)) < 5000
    assert max(gaps(still)) < 300 and still["lost"] == 0
    assert counters["report_tag"] > before.get("report_tag", 0), "nothing forged was counted"
    assert counters["sequence"] > before.get("sequence", 0), "nothing replayed was counted"
    assert facts["raced"] and facts["bounded"] and facts["unreadable"]
    assert listener.address not in str(single.hub_status())


# -- Means


def across(
    system: Running,
    act: Act,
    look: Look,
    undo: Callable[[Running], None] = lambda _: None,
    back: Look = lambda _: None,
    *,
    tries: int = TRIES,
    settle: Callable[[Running], object] = settled,
) -> tuple[Samples, tuple[Seen, Moment]]:
    """Let something happen under traffic, and `look` at the far side while traffic goes on. Whatever it was: sessions,
    attachments and TCP connections live. What took so long that it must cost something happens again, up to `tries`,
    each time from the same beginning (`settle`). `back` looks when it is undone."""
    before = system.conversation()
    for number in range(tries):
        if number:
            settle(system)
        probe = Probe(system.world.star, system.tunnel.a, system.tunnel.b)
        try:
            wait_until(lambda: min(map(probe.count, "ab")) > ARRIVALS, "traffic both ways")  # noqa: B023
            moment = act(system)
            try:
                assert within(PATIENCE, probe.arriving(moment.usable)), "nothing comes any more"
                look(probe)
                window = Window(moment, now().mono, False)
            finally:
                undo(system)
            back(probe)
            seen = probe.stop()
        except BaseException:
            probe.kill()  # or the next test finds its ports in use
            for name in ends(system):
                say(f"{name} moved: {moves(system, name)}")
            raise
        samples = samples_of(seen, window)
        say(", ".join(f"{name} {value:.0f}" for name, value in samples.items()))
        assert (seen.stream_alive, seen.idle_alive) == (True, True)
        assert system.conversation() == before
        if max(gaps(samples)) < SWIFT:
            break
    return samples, (seen, moment)


def moving(system: Running, name: str) -> tuple[Callable[[], str], Callable[[], str]]:
    """Where the internet saw the Wi-Fi of an end before its last move, and where it sees it now."""
    wifi = ends(system)[name].wifi
    return lambda: wifi.router.seen_as(1 - wifi.at), lambda: wifi.seen_as


def left_for_the_other(system: Running, probe: Probe) -> None:
    """No data of `a` goes by its Wi-Fi, all goes by LTE, and the Switch says so."""
    a = system.world.a
    seen_at(system, "a", a.lte.seen_as)
    on_wire = wire(system.world.internet, ["a-wifi", "a-lte"], probe)
    assert on_wire[a.lte.seen_as, "data"] > ARRIVALS
    assert on_wire[a.wifi.seen_as, "data"] == 0


class Return:
    """Looks at how data of `a` comes back to its Wi-Fi: by the Switch's table, and a capture."""

    def __init__(self, system: Running) -> None:
        self._system = system
        self.seconds = 0.0
        """Until the Switch says so."""
        self.window = 0.0, 0.0
        """From the beginning to the end of that."""

    def __call__(self, probe: Probe) -> None:
        a, began = self._system.world.a, now().mono
        seen_at(self._system, "a", a.wifi.seen_as, 70)
        self.seconds = now().mono - began
        on_wire = wire(self._system.world.internet, ["a-wifi", "a-lte"], probe)
        assert on_wire[a.wifi.seen_as, "data"] > ARRIVALS
        assert on_wire[a.lte.seen_as, "data"] == 0
        self.window = began, began + self.seconds


def wire(host: Host, devices: list[str], probe: Probe) -> Counter[tuple[str, str]]:
    """What passes on these devices while `ARRIVALS` more come in at either end: packets by the address that is not the
    Switch's, and whether they are data."""
    found: Counter[tuple[str, str]] = Counter()
    with ExitStack() as stack:
        captures = [Capture(host, device, snaplen=96, filter="udp", at_once=True) for device in devices]
        for capture in captures:
            stack.callback(capture.path.unlink)
        wait_until(probe.arriving(now().mono, more=ARRIVALS), "traffic while it is captured")
        for capture in captures:
            assert capture.stop() == 0, "the capture is not whole"
            for frame in capture.packets():
                source, target = (str(IPv4Address(frame[at : at + 4])) for at in (_ADDRESSES, _ADDRESSES + 4))
                kind = "data" if frame[_PAYLOAD] & 0x0F == PacketType.DATA else "other"
                found[source if target == HUB else target, kind] += 1
    say(f"on the wire: {dict(found)}")
    return found


def seen_at(system: Running, name: str, address: str, seconds: float = 5.0) -> None:
    """Wait until the Switch's table has the node there, confirmed."""
    try:
        wait_until(lambda: place(system, name) == address, f"{name} at {address} in the Switch's table", seconds)
    except SystemProblem:
        say(f"the Switch has {system.hub_status()['nodes']}, {name} has {uplinks(system, name)}")
        raise


def place(system: Running, name: str) -> str:
    """Where the Switch's table has the node; empty: it is not attached."""
    assert system.members is not None
    node = system.members[name].id
    (entry,) = (entry for entry in system.hub_status()["nodes"] if entry["id"] == node)
    return str(entry["active"]).rpartition(":")[0] if entry["state"] == "attached" else ""


def uplinks(system: Running, name: str) -> dict[str, str]:
    """The states of a node's paths."""
    assert system.members is not None
    return {path["uplink"]: path["state"] for path in system.members[name].status()["paths"]}


def moves(system: Running, name: str) -> list[str]:
    """By what a node's data went last, and why."""
    assert system.members is not None
    return [f"{one['uplink']}: {one['cause']}" for one in system.members[name].status()["handovers"]]


def ends(system: Running) -> dict[str, End]:
    return {"a": system.world.a, "b": system.world.b}


def gaps(samples: Samples) -> tuple[float, float]:
    return samples["gap_up"], samples["gap_down"]
