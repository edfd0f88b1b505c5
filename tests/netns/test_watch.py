"""The contract of what watches the network: netlink and polling alike, against the kernel."""

from __future__ import annotations

import functools
import ipaddress
import itertools
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from ovng import clock
from ovng.io import poll
from ovng.io.interface import Configurator
from ovng.io.netlink import Watcher
from ovng.io.poll import PollingWatcher
from ovng.io.watch import NetworkWatcher
from ovng.roaming.decision import decide
from ovng.roaming.delta import Delta, compare
from ovng.roaming.snapshot import LinkSnapshot, Way
from ovng.roaming.uplinks import choose_uplinks
from tests.netns.watching import SWITCH, SWITCH6, Watch, fresh_host, index, names, run, uplink

pytestmark = pytest.mark.root

Make = Callable[[str, int], NetworkWatcher]
KINDS: dict[str, Make] = {
    "netlink": Watcher,
    "netlink without pyroute2": functools.partial(Watcher, lean=True),
    "polling": PollingWatcher,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test on a host of its own, with its /sys; polling often."""
    monkeypatch.setattr(poll, "INTERVAL", 0.05)
    monkeypatch.setattr(poll, "_SYS", tmp_path / "class" / "net")
    with fresh_host():
        subprocess.run(["mount", "-t", "sysfs", "sysfs", str(tmp_path)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[NetworkWatcher] = []

    def make(own: str, mark: int) -> NetworkWatcher:
        made.append(KINDS[request.param](own, mark))
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()


@pytest.fixture
def watch(make: Make) -> Watch:
    return Watch(make("ovng0", 0))


class TestWatcher:
    def test_an_uplink_comes_moves_and_goes(self, watch: Watch) -> None:
        assert watch.snapshot.ways == {}
        uplink("wlan", "192.0.2.5/24")
        run("route add default via 192.0.2.1")
        watch.until(lambda snapshot: SWITCH in snapshot.ways)
        way = watch.snapshot.ways[SWITCH]
        assert way == Way(index("wlan"), ipaddress.ip_address("192.0.2.5"), ipaddress.ip_address("192.0.2.1"))
        assert {route.gateway for route in watch.snapshot.default_routes} == {ipaddress.ip_address("192.0.2.1")}

        before = watch.snapshot
        run("address flush dev wlan")
        run("address add 198.51.100.7/24 dev wlan")
        run("route replace default via 198.51.100.1")
        watch.until(lambda snapshot: SWITCH in snapshot.ways and snapshot.ways[SWITCH].source != way.source)
        delta = compare(before, watch.snapshot, SWITCH)
        assert delta.source_address_gone
        assert decide(delta).lookup

        before = watch.snapshot
        run("link del wlan")
        watch.until(lambda snapshot: "wlan" not in names(snapshot) and SWITCH not in snapshot.ways)
        assert compare(before, watch.snapshot, SWITCH).way_gone

    def test_ipv6(self, watch: Watch) -> None:
        uplink("wlan", "2001:db8::5/64")
        run("-6 route add default via 2001:db8::1 dev wlan")
        watch.until(lambda snapshot: SWITCH6 in snapshot.ways)
        way = watch.snapshot.ways[SWITCH6]
        assert (str(way.source), str(way.gateway)) == ("2001:db8::5", "2001:db8::1")
        assert {route.family for route in watch.snapshot.default_routes} == {6}

    def test_ways_by_interface(self, watch: Watch) -> None:
        """The kernel answers for each uplink, not only for the one it prefers; on-link guesses of IPv4 are none."""
        uplink("wlan", "192.0.2.5/24")
        uplink("lte", "198.51.100.7/24", "2001:db8::7/64")
        uplink("lan", "10.1.1.1/24")
        run("route add default via 192.0.2.1 metric 600")
        run("route add default via 198.51.100.1 metric 700")
        run("-6 route add default via 2001:db8::1 dev lte metric 1024")
        watch.quiet()
        address = ipaddress.ip_address
        lte = index("lte")
        assert watch.snapshot.ways_by_interface == {
            (index("wlan"), SWITCH): Way(index("wlan"), address("192.0.2.5"), address("192.0.2.1"), 600),
            (lte, SWITCH): Way(lte, address("198.51.100.7"), address("198.51.100.1"), 700),
            (lte, SWITCH6): Way(lte, address("2001:db8::7"), address("2001:db8::1"), 1024),
        }
        uplinks = choose_uplinks(watch.snapshot, [SWITCH, SWITCH6])
        assert [(uplink.name, uplink.priority, sorted(uplink.versions)) for uplink in uplinks] == [
            ("wlan", 128, [4]),
            ("lte", 129, [4, 6]),
        ]

    def test_the_mark_finds_its_way(self, make: Make) -> None:
        """As with mwan3: a table of its own, and a rule for the mark, which alone makes the change."""
        watch = Watch(make("ovng0", 0x100))
        uplink("wlan", "192.0.2.5/24")
        uplink("lte", "198.51.100.7/24")
        run("route add default via 192.0.2.1")
        run("route add default via 198.51.100.1 table 1000")
        watch.until(lambda snapshot: SWITCH in snapshot.ways)
        assert watch.snapshot.ways[SWITCH].interface == index("wlan")
        watch.quiet()
        run("rule add fwmark 0x100/0xff00 table 1000")
        watch.until(lambda snapshot: snapshot.ways[SWITCH].interface == index("lte"))
        run("rule del fwmark 0x100/0xff00")
        watch.until(lambda snapshot: snapshot.ways[SWITCH].interface == index("wlan"))

    def test_no_tunnel_of_ovng_is_an_uplink(self, watch: Watch) -> None:
        """Neither our own nor that of another profile, whatever routes lead into it."""
        uplink("wlan", "192.0.2.5/24")
        run("route add default via 192.0.2.1 metric 600")
        for name, address in (("ovng0", "10.77.0.2/16"), ("vpn7", "10.78.0.2/16"), ("tun9", "10.79.0.2/16")):
            run(f"tuntap add {name} mode tun")
            with Configurator(name) as tunnel:
                tunnel.bring_up(1400)
                tunnel.add_address(ip_interface(address))
                run(f"route add 203.0.113.0/24 dev {name}")
                watch.quiet()
                assert [uplink.name for uplink in choose_uplinks(watch.snapshot, [SWITCH])] == ["wlan"]
                tunnel.delete()

    def test_a_tentative_address_is_not_usable(self, watch: Watch) -> None:
        run("link add wlan type veth peer name far")
        run("link set wlan up")
        run("link set far up")
        for setting in ("accept_dad=1", "dad_transmits=200"):
            subprocess.run(["sysctl", "-qw", f"net.ipv6.conf.wlan.{setting}"], check=True)
        run("-6 address add 2001:db8::5/64 dev wlan")
        run("-6 route add default via 2001:db8::1 dev wlan")
        assert "tentative" in run("-6 address show dev wlan")
        watch.until(lambda snapshot: "wlan" in names(snapshot) and len(snapshot.default_routes) == 1)
        assert "tentative" in run("-6 address show dev wlan")
        assert all(not entry.addresses for entry in watch.snapshot.interfaces.values())
        assert SWITCH6 not in watch.snapshot.ways

        subprocess.run(["sysctl", "-qw", "net.ipv6.conf.wlan.dad_transmits=0"], check=True)
        run("-6 address del 2001:db8::5/64 dev wlan")
        run("-6 address add 2001:db8::5/64 dev wlan nodad")
        watch.until(lambda snapshot: SWITCH6 in snapshot.ways)

    def test_containers_make_no_move(self, watch: Watch) -> None:
        uplink("wlan", "192.0.2.5/24")
        run("route add default via 192.0.2.1")
        watch.until(lambda snapshot: SWITCH in snapshot.ways)
        snapshots = [watch.snapshot]
        run("link add docker0 type bridge")
        run("link set docker0 up")
        run("address add 172.17.0.1/16 dev docker0")
        for number in range(5):
            run(f"link add c{number} type veth peer name c{number}-far")
            run(f"link set c{number} master docker0")
            run(f"link set c{number} up")
            run(f"link set c{number}-far up")
            snapshots += watch.quiet()
        for number in range(5):
            run(f"link del c{number}")
        snapshots += watch.quiet()
        assert len(snapshots) > 5, "the watcher saw nothing, so this test shows nothing"
        for before, after in itertools.pairwise(snapshots):
            assert not decide(compare(before, after, SWITCH)).actions

    def test_its_own_interface_is_not_there(self, watch: Watch) -> None:
        run("tuntap add ovng0 mode tun")
        run("address add 10.77.0.2/16 dev ovng0")
        run("link set ovng0 up")
        run("route add 203.0.113.0/24 dev ovng0")
        watch.quiet()
        assert "ovng0" not in names(watch.snapshot)
        assert SWITCH not in watch.snapshot.ways, "the Switch cannot be reached through the tunnel"

    def test_a_deprecated_address_is_the_last_choice(self, watch: Watch) -> None:
        uplink("wlan", "2001:db8::5/64")
        run("-6 route add default via 2001:db8::1 dev wlan")
        old, new = ipaddress.ip_address("2001:db8::5"), ipaddress.ip_address("2001:db8::6")
        run("-6 address change 2001:db8::5/64 dev wlan preferred_lft 0")
        watch.quiet()
        assert watch.snapshot.interfaces[index("wlan")].addresses == {old}
        run("-6 address add 2001:db8::6/64 dev wlan nodad")
        watch.until(lambda snapshot: snapshot.interfaces[index("wlan")].addresses == {new})
        assert watch.snapshot.ways_by_interface[index("wlan"), SWITCH6].source == new

    def test_a_duplicate_address_is_not_usable(self, watch: Watch) -> None:
        uplink("wlan")
        subprocess.run(["sysctl", "-qw", "net.ipv6.conf.wlan.accept_dad=1"], check=True)
        run("address add 2001:db8::5/64 dev wlan-far nodad")
        run("address add 2001:db8::5/64 dev wlan")
        end = clock.now().mono + 10
        while "dadfailed" not in run("-6 address show dev wlan"):
            assert clock.now().mono < end
        watch.quiet()
        assert not watch.snapshot.interfaces[index("wlan")].addresses

    def test_dormant_and_without_carrier_are_no_uplinks(self, watch: Watch) -> None:
        """Dormant: the cable is there, but whoever authenticates (802.1X, Wi-Fi) is not done."""
        uplink("wlan", "192.0.2.5/24")
        run("route add default via 192.0.2.1")
        for off, on in (("set wlan state dormant", "set wlan state up"), ("set wlan-far down", "set wlan-far up")):
            watch.until(lambda snapshot: len(choose_uplinks(snapshot, [SWITCH])) == 1)
            run(f"link {off}")
            watch.until(lambda snapshot: not choose_uplinks(snapshot, [SWITCH]))
            assert not watch.snapshot.interfaces[index("wlan")].usable
            run(f"link {on}")
        watch.until(lambda snapshot: len(choose_uplinks(snapshot, [SWITCH])) == 1)

    def test_nothing_new_is_no_snapshot(self, watch: Watch) -> None:
        """Also after a sleep of the machine, when nothing is believed any more."""
        uplink("wlan", "192.0.2.5/24")
        watch.quiet()
        looks = watch.watcher.counters["looks"]
        watch.watcher.resync()
        assert watch.take() is None
        assert watch.watcher.counters["looks"] == looks + 1

    def test_a_sleep_hides_nothing(self, watch: Watch) -> None:
        """What happened meanwhile is seen at once, whether or not it was notified."""
        watch.quiet()
        uplink("wlan", "192.0.2.5/24")
        watch.watcher.resync()
        snapshot = watch.take()
        assert snapshot is not None and "wlan" in names(snapshot)

    def test_new_destinations_are_asked_for_at_once(self, watch: Watch) -> None:
        uplink("wlan", "192.0.2.5/24")
        run("route add default via 192.0.2.1")
        watch.until(lambda snapshot: SWITCH in snapshot.ways)
        other = ipaddress.ip_address("203.0.113.77")
        watch.watcher.set_destinations([other])
        snapshot = watch.take()
        assert snapshot is not None and set(snapshot.ways) == {other}


def test_all_see_the_same() -> None:
    """A machine with two uplinks, a LAN, and a tunnel that takes everything."""
    uplink("wlan", "192.0.2.5/24", "2001:db8::5/64")
    uplink("lte", "198.51.100.7/24")
    uplink("lan", "10.1.1.1/24", "fd00::1/64")
    run("tuntap add ovng0 mode tun")
    with Configurator("ovng0") as tunnel:
        tunnel.bring_up(1400)
        tunnel.add_address(ip_interface("10.77.0.2/16"))
    run("route add default via 192.0.2.1 metric 600")
    run("route add default via 198.51.100.1 metric 700")
    run("-6 route add default via 2001:db8::1 dev wlan metric 20")
    run("route add unreachable 10.66.0.0/16")
    run("-6 route add prohibit 2001:db8:66::/48")
    refused = [ipaddress.ip_address("10.66.0.1"), ipaddress.ip_address("2001:db8:66::1")]
    seen = []
    for kind in KINDS.values():
        watcher = kind("ovng0", 0)
        watcher.set_destinations([SWITCH, SWITCH6, *refused])
        seen.append(watcher.take(clock.now()))
        watcher.close()
    assert seen[0] == seen[1] == seen[2]
    assert len(choose_uplinks(seen[0] or LinkSnapshot(), [SWITCH, SWITCH6])) == 2


def test_delta_has_no_answer_for_no_change(watch: Watch) -> None:
    uplink("wlan", "192.0.2.5/24")
    watch.quiet()
    assert compare(watch.snapshot, watch.snapshot, SWITCH) == Delta(no_way=True)
