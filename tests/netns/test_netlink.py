"""What only netlink's watcher has: notifications, their bursts and losses. And the Configurator."""

from __future__ import annotations

import errno
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_interface, ip_network

import pytest

from ovng import clock
from ovng.errors import SystemProblem
from ovng.io import netlink, rtnetlink
from ovng.io.interface import Configurator
from ovng.io.netlink import ROUTE_PROTOCOL, SETTLE, Watcher
from ovng.roaming.uplinks import choose_uplinks
from tests.netns.watching import PATIENCE, SWITCH, SWITCH6, Watch, fresh_host, index, names, run, uplink

pytestmark = pytest.mark.root

AF_BRIDGE = 7  # linux/socket.h


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """Each test on a host of its own."""
    with fresh_host():
        yield


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher("ovng0")
    yield watcher
    watcher.close()


@pytest.fixture
def watch(watcher: Watcher) -> Watch:
    return Watch(watcher)


def by_wlan(watch: Watch) -> int:
    """An uplink by which the Switch is reached, and seen to be; its index."""
    uplink("wlan", "192.0.2.5/24")
    run("route add 203.0.113.0/24 via 192.0.2.1")
    watch.until(lambda snapshot: SWITCH in snapshot.ways)
    watch.quiet()
    return index("wlan")


def heard(watcher: Watcher, wanted: Callable[[], bool]) -> None:
    """Read notifications, and look at nothing, until it is so: of a carrier the kernel tells a while later."""
    end = clock.now().mono + PATIENCE
    watcher.receive(clock.now())
    while not wanted():
        assert clock.now().mono < end
        watcher.receive(clock.now())


def still_there(watch: Watch) -> bool:
    """Whether nothing that was heard has taken the way to the Switch."""
    snapshot = watch.take()
    return snapshot is None or SWITCH in snapshot.ways


class TestWatcher:
    def test_a_burst_costs_few_looks(self, watch: Watch) -> None:
        run("link add burst type bridge")
        run("link set burst up")
        watch.quiet()
        start, looks = clock.now().mono, watch.watcher.counters["looks"]
        batch = "".join(f"address add 10.{a}.{b}.1/24 dev burst\n" for a in range(10) for b in range(100))
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
        watch.until(lambda snapshot: any(len(entry.addresses) == 1000 for entry in snapshot.interfaces.values()))
        assert watch.watcher.counters["looks"] - looks <= (clock.now().mono - start) / SETTLE + 2

    def test_lost_notifications_are_made_good(
        self, watch: Watch, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch.quiet()
        real = watcher._notices.receive
        lost: list[object] = []

        def overflow() -> list[rtnetlink.Raw]:
            """What the kernel does when its buffer for us is full: it drops all, and says so once."""
            if not lost:
                while real():
                    pass
                lost.append(True)
                raise OSError(errno.ENOBUFS, "No buffer space available")
            return real()

        uplink("wlan", "192.0.2.5/24")
        monkeypatch.setattr(watcher._notices, "receive", overflow)
        watch.until(lambda snapshot: "wlan" in names(snapshot))
        assert watch.watcher.counters["lost"] == 1

    def test_a_real_overflow(self, watch: Watch) -> None:
        """More than fits the socket's buffer, while we do not read."""
        watch.quiet()
        run("link add burst type bridge")
        batch = "".join(f"address add 10.{a}.{b}.1/24 dev burst\n" for a in range(30) for b in range(100))
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
        run("link set burst up")
        uplink("wlan", "192.0.2.5/24")
        watch.until(lambda snapshot: "wlan" in names(snapshot))
        watch.quiet()
        assert watch.watcher.counters["lost"] >= 1
        assert sum(len(entry.addresses) for entry in watch.snapshot.interfaces.values()) == 3001

    def test_what_is_dropped_while_an_overflow_is_read(
        self, watch: Watch, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel says once that it drops, and drops on until all that it had kept is read: we look in between."""
        watch.quiet()
        run("link add burst type bridge")
        batch = "".join(f"address add 10.{a}.{b}.1/24 dev burst\n" for a in range(30) for b in range(100))
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
        monkeypatch.setattr(netlink, "_RECEIVES", 1)
        watch.until(lambda snapshot: any(len(entry.addresses) == 3000 for entry in snapshot.interfaces.values()))
        assert watcher.counters["lost"] == 1
        run("link add late type bridge")
        monkeypatch.undo()
        watch.until(lambda snapshot: "late" in names(snapshot))
        assert watcher.counters["lost"] == 1

    def test_wreckage_is_counted(self, watch: Watch, watcher: Watcher) -> None:
        watch.quiet()
        raws = [
            rtnetlink.Raw(16, b"\0" * 17),
            rtnetlink.Raw(99, b"\0" * 16),
            *[raw for raw, _, _ in rtnetlink.split(b"x")],
        ]
        for raw in raws:
            watcher._take_hint(raw)
        assert watch.watcher.counters["truncated"] == 2
        assert watch.watcher.counters["unknown"] == 1

    def test_routes_of_ours_are_no_hint(self, watch: Watch) -> None:
        uplink("wlan", "192.0.2.5/24")
        watch.quiet()
        hints = watch.watcher.counters["hints"]
        run(f"route add 10.9.0.0/16 dev wlan proto {ROUTE_PROTOCOL}")
        run(f"route del 10.9.0.0/16 dev wlan proto {ROUTE_PROTOCOL}")
        watch.watcher.receive(clock.now())
        assert watch.watcher.counters["hints"] == hints
        run("route add 10.9.0.0/16 dev wlan")
        watch.watcher.receive(clock.now())
        assert watch.watcher.counters["hints"] == hints + 1

    def test_the_mark_and_each_interface(self) -> None:
        """Gateways of a table other than main are in the kernel's answers."""
        watch = Watch(Watcher("ovng0", mark=0x100))
        uplink("wlan", "192.0.2.5/24")
        run("route add default via 192.0.2.1")
        run("route add default via 192.0.2.77 dev wlan table 1000 metric 9")
        run("rule add fwmark 0x100/0xff00 table 1000")
        watch.quiet()
        way = watch.snapshot.ways_by_interface[index("wlan"), SWITCH]
        assert (str(way.gateway), way.metric) == ("192.0.2.77", 9)
        assert {(str(route.gateway), route.table) for route in watch.snapshot.default_routes} == {
            ("192.0.2.1", 254),
            ("192.0.2.77", 1000),
        }
        watch.watcher.close()

    def test_default_routes_with_several_next_hops(self, watch: Watch) -> None:
        uplink("wlan", "192.0.2.5/24")
        uplink("lte", "198.51.100.7/24")
        run("route add default nexthop via 192.0.2.1 nexthop via 198.51.100.1")
        watch.quiet()
        assert {route.interface for route in watch.snapshot.default_routes} == {index("wlan"), index("lte")}
        assert len(choose_uplinks(watch.snapshot, [SWITCH])) == 2

    def test_next_hop_objects(self, watch: Watch) -> None:
        """ip-nexthop(8): the route stays as it is, only what it points to changes."""
        uplink("wlan", "192.0.2.5/24")
        run("nexthop add id 7 via 192.0.2.1 dev wlan")
        run("route add default nhid 7")
        watch.until(lambda snapshot: SWITCH in snapshot.ways)
        watch.quiet()
        run("nexthop replace id 7 via 192.0.2.99 dev wlan")
        watch.until(lambda snapshot: str(snapshot.ways[SWITCH].gateway) == "192.0.2.99")

    @pytest.mark.parametrize("what", ["link del wlan", "link set wlan down", "link set wlan-far down"])
    def test_a_link_that_falls_is_left_before_anybody_looks(self, what: str, watch: Watch, watcher: Watcher) -> None:
        uplink("lte", "198.51.100.7/24")
        run("route add default via 198.51.100.1 metric 2")
        wlan = by_wlan(watch)
        looks = watcher.counters["looks"]
        run(what)
        heard(watcher, lambda: wlan in watcher._fallen)
        snapshot = watch.take()
        assert snapshot is not None
        assert watcher.counters["looks"] == looks
        assert [entry.name for entry in choose_uplinks(snapshot, [SWITCH])] == ["lte"]
        assert watcher.deadline() is not None, "and then it looks"
        watch.quiet()
        assert watcher.counters["looks"] > looks
        assert [entry.name for entry in choose_uplinks(watch.snapshot, [SWITCH])] == ["lte"]
        fresh = Watcher("ovng0")
        fresh.set_destinations([SWITCH, SWITCH6])
        assert fresh.take(clock.now()) == watch.snapshot
        fresh.close()

    def test_one_that_is_up_again_was_not_down(self, watch: Watch, watcher: Watcher) -> None:
        wlan = by_wlan(watch)
        run("link set wlan-far down")
        heard(watcher, lambda: wlan in watcher._fallen)
        run("link set wlan-far up")
        heard(watcher, lambda: wlan not in watcher._fallen)
        assert still_there(watch)

    def test_a_port_that_leaves_its_bridge_is_still_there(self, watch: Watch, watcher: Watcher) -> None:
        """The kernel says of it what it says of a link that is gone, but for the family."""
        wlan = by_wlan(watch)

        def gone(family: int) -> rtnetlink.Raw:
            header = bytes(16)  # nlmsghdr
            return rtnetlink.Raw(rtnetlink.RTM_DELLINK, header + rtnetlink.IFINFO.pack(family, 0, wlan, 0))

        watcher._take_hint(gone(AF_BRIDGE))
        assert still_there(watch)
        watcher._take_hint(gone(socket.AF_UNSPEC))
        assert not still_there(watch)

    def test_a_flood_ends_with_the_truth(self, watch: Watch, watcher: Watcher) -> None:
        """20,000 changes as fast as the kernel takes them: few snapshots, and the last one is right."""
        run("link add burst type bridge")
        run("link set burst up")
        watch.quiet()
        lines = [f"address {verb} 10.{number}.1.1/24 dev burst\n" for number in range(100) for verb in ("add", "del")]
        batch = "".join(lines * 100 + lines[::2] + ["link add last type bridge\n"])
        start, looks = clock.now().mono, watcher.counters["looks"]
        flood = threading.Thread(
            target=subprocess.run, args=(["ip", "-batch", "-"],), kwargs={"input": batch, "text": True}
        )
        flood.start()
        snapshots = watch.until(lambda snapshot: "last" in names(snapshot))
        flood.join()
        snapshots += watch.quiet()
        seconds = clock.now().mono - start
        assert watcher.counters["hints"] >= 10_000 or watcher.counters["lost"]
        assert len(snapshots) <= watcher.counters["looks"] - looks <= seconds / SETTLE + 2
        fresh = Watcher("ovng0")
        fresh.set_destinations([SWITCH, SWITCH6])
        assert fresh.take(clock.now()) == watch.snapshot
        assert len(watch.snapshot.interfaces[index("burst")].addresses) == 100
        fresh.close()


@pytest.fixture
def tun() -> Iterator[Configurator]:
    run("tuntap add ovng0 mode tun")
    with Configurator("ovng0") as configurator:
        yield configurator


class TestConfigurator:
    def test_all_of_it_twice(self, tun: Configurator) -> None:
        for _ in range(2):
            tun.forbid_link_local()
            tun.bring_up(1400, 512)
            tun.add_address(ip_interface("10.77.0.2/32"))
            tun.add_address(ip_interface("fd77::2/128"))
            tun.add_route(ip_network("10.77.0.0/16"))
            tun.add_route(ip_network("fd77::/64"))
        link = run("-d link show ovng0")
        assert "addrgenmode none" in link
        assert "mtu 1400" in link
        assert "qlen 512" in link
        assert ",UP" in link
        assert tun.addresses() == {ip_interface("10.77.0.2/32"), ip_interface("fd77::2/128")}
        assert "tentative" not in run("-6 address show dev ovng0")
        assert tun.routes() == {ip_network("10.77.0.0/16"), ip_network("fd77::/64")}
        assert f"10.77.0.0/16 dev ovng0 proto {ROUTE_PROTOCOL}" in run("route show")
        assert "src 10.77.0.2" in run("route get 10.77.9.9")
        tun.set_mtu(1300)
        assert "mtu 1300" in run("link show ovng0")
        for _ in range(2):
            tun.remove_route(ip_network("10.77.0.0/16"))
            tun.remove_route(ip_network("fd77::/64"))
            tun.remove_address(ip_interface("10.77.0.2/32"))
            tun.remove_address(ip_interface("fd77::2/128"))
        assert tun.routes() == set()
        assert tun.addresses() == set()
        for _ in range(2):
            tun.delete()
        assert tun.index() is None
        tun.remove_route(ip_network("10.77.0.0/16"))

    def test_a_default_route(self, tun: Configurator) -> None:
        tun.bring_up(1400)
        tun.add_address(ip_interface("10.77.0.2/32"))
        tun.add_route(ip_network("0.0.0.0/0"))
        assert tun.routes() == {ip_network("0.0.0.0/0")}
        tun.remove_route(ip_network("0.0.0.0/0"))
        assert tun.routes() == set()

    def test_other_peoples_routes_stay(self, tun: Configurator) -> None:
        tun.bring_up(1400)
        uplink("wlan", "192.168.8.5/24")
        run("route add 192.168.9.0/24 dev wlan")
        run("route add 192.168.10.0/24 dev ovng0")
        with pytest.raises(SystemProblem, match=r"another route to 192\.168\.9\.0/24"):
            tun.add_route(ip_network("192.168.9.0/24"))
        tun.add_route(ip_network("192.168.11.0/24"))
        assert tun.remove_leftovers() == ["route to 192.168.11.0/24 through ovng0"]
        assert "192.168.9.0/24 dev wlan" in run("route show")
        assert "192.168.10.0/24 dev ovng0" in run("route show")

    def test_connected_subnets(self, tun: Configurator) -> None:
        uplink("wlan", "192.168.8.5/24", "2001:db8:8::5/64")
        tun.bring_up(1400)
        tun.add_address(ip_interface("10.77.0.2/16"))
        assert tun.connected() == {ip_network("192.168.8.0/24"), ip_network("2001:db8:8::/64")}

    def test_errors_are_one_line(self, tun: Configurator) -> None:
        with pytest.raises(SystemProblem, match=r"\Aovng0: cannot have an MTU of 70000: Invalid"):
            tun.bring_up(70_000)
        with pytest.raises(SystemProblem, match=r"\Aovng0: cannot have a route to 10.77.0.0/16: Network is down\Z"):
            tun.add_route(ip_network("10.77.0.0/16"))
        tun.delete()
        attempts: list[Callable[[], object]] = [
            lambda: tun.bring_up(1400),
            lambda: tun.add_address(ip_interface("10.77.0.2/16")),
            lambda: tun.add_route(ip_network("10.77.0.0/16")),
        ]
        for attempt in attempts:
            with pytest.raises(SystemProblem, match=r"\Aovng0: there is no such interface\Z"):
                attempt()

    def test_ipv6_switched_off(self, tun: Configurator) -> None:
        subprocess.run(["sysctl", "-qw", "net.ipv6.conf.ovng0.disable_ipv6=1"], check=True)
        tun.bring_up(1400)
        with pytest.raises(SystemProblem, match="IPv6 is switched off here"):
            tun.add_address(ip_interface("fd77::2/128"))
