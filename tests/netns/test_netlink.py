"""Watcher and Configurator against the kernel, in a namespace of our own."""

from __future__ import annotations

import errno
import ipaddress
import itertools
import selectors
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import ip_interface, ip_network

import pytest

from ovng import clock
from ovng.demo.net import Net
from ovng.errors import SystemProblem
from ovng.io import rtnetlink
from ovng.io.interface import Configurator
from ovng.io.netlink import ROUTE_PROTOCOL, SETTLE, Watcher
from ovng.roaming.decision import decide
from ovng.roaming.delta import Delta, compare
from ovng.roaming.snapshot import LinkSnapshot, Way
from ovng.roaming.uplinks import choose_uplinks

pytestmark = pytest.mark.root

SWITCH = ipaddress.ip_address("203.0.113.9")
SWITCH6 = ipaddress.ip_address("2001:db8:f::9")
PATIENCE = 10.0


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def run(line: str) -> str:
    return ip(*line.split())


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """Move this thread, and what it starts, onto a new host, and back."""
    with Net("ovng-netlink") as net, net.host("here").inside():
        yield


def uplink(name: str, *addresses: str) -> None:
    """An interface with carrier: a veth whose other end is up."""
    run(f"link add {name} type veth peer name {name}-far")
    run(f"link set {name}-far up")
    run(f"link set {name} up")
    for address in addresses:
        run(f"address add {address} dev {name} {'nodad' if ':' in address else ''}")


class Watch:
    """A watcher with what the service does around it."""

    def __init__(self, mark: int = 0) -> None:
        self.watcher = Watcher("ovng0", mark)
        self.watcher.set_destinations([SWITCH, SWITCH6])
        self.snapshot = self.take() or LinkSnapshot()

    def take(self) -> LinkSnapshot | None:
        return self.watcher.take(clock.now())

    def until(self, wanted: Callable[[LinkSnapshot], bool]) -> list[LinkSnapshot]:
        """Watch until a snapshot is as wanted. All snapshots seen on the way."""
        seen, end = [], clock.now().mono + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.watcher, selectors.EVENT_READ)
            while not wanted(self.snapshot):
                assert clock.now().mono < end, f"never as wanted: {self.snapshot}"
                deadline = self.watcher.deadline()
                selector.select(0.5 if deadline is None else max(0.0, deadline - clock.now().mono))
                self.watcher.receive(clock.now())
                if snapshot := self.take():
                    self.snapshot = snapshot
                    seen.append(snapshot)
        return seen

    def quiet(self) -> list[LinkSnapshot]:
        """Take all that has come until now; a marker that we make ourselves is the end."""
        run("link add marker type bridge")
        seen = self.until(lambda snapshot: "marker" in names(snapshot))
        run("link del marker")
        self.until(lambda snapshot: "marker" not in names(snapshot))
        return seen


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.watcher.close()


def names(snapshot: LinkSnapshot) -> set[str]:
    return {entry.name for entry in snapshot.interfaces.values()}


def index(name: str) -> int:
    return int(ip("-o", "link", "show", name).split(":")[0])


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
        assert decide(delta).move

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

    def test_the_mark_finds_its_way(self) -> None:
        """As with mwan3: a rule for the mark, a table of its own. A route there and the rule alone are seen."""
        watch = Watch(mark=0x100)
        uplink("wlan", "192.0.2.5/24")
        run("route add default via 192.0.2.1")
        watch.until(lambda snapshot: SWITCH in snapshot.ways)
        run("route add default via 192.0.2.77 dev wlan table 1000")
        run("rule add fwmark 0x100/0xff00 table 1000")
        marked = ipaddress.ip_address("192.0.2.77")
        watch.until(lambda snapshot: snapshot.ways[SWITCH].gateway == marked)
        assert watch.snapshot.ways_by_interface[index("wlan"), SWITCH].gateway == marked
        run("rule del fwmark 0x100/0xff00")
        watch.until(lambda snapshot: snapshot.ways[SWITCH].gateway != marked)
        watch.watcher.close()

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

    def test_a_burst_costs_few_looks(self, watch: Watch) -> None:
        run("link add burst type bridge")
        run("link set burst up")
        watch.quiet()
        start, looks = clock.now().mono, watch.watcher.counters["looks"]
        batch = "".join(f"address add 10.{a}.{b}.1/24 dev burst\n" for a in range(10) for b in range(100))
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
        watch.until(lambda snapshot: any(len(entry.addresses) == 1000 for entry in snapshot.interfaces.values()))
        assert watch.watcher.counters["looks"] - looks <= (clock.now().mono - start) / SETTLE + 2

    def test_lost_notifications_are_made_good(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        watch.quiet()
        real = watch.watcher._notices.receive
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
        monkeypatch.setattr(watch.watcher._notices, "receive", overflow)
        watch.until(lambda snapshot: "wlan" in names(snapshot))
        assert watch.watcher.counters["lost"] == 1

    def test_a_real_overflow(self) -> None:
        """More than fits the socket's buffer, while we do not read."""
        watch = Watch()
        try:
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
        finally:
            watch.watcher.close()

    def test_its_own_interface_is_not_there(self, watch: Watch) -> None:
        run("tuntap add ovng0 mode tun")
        run("address add 10.77.0.2/16 dev ovng0")
        run("link set ovng0 up")
        run("route add 203.0.113.0/24 dev ovng0")
        watch.quiet()
        assert "ovng0" not in names(watch.snapshot)
        assert SWITCH not in watch.snapshot.ways, "the Switch cannot be reached through the tunnel"
        hints = watch.watcher.counters["hints"]
        run("address add 10.77.0.3/16 dev ovng0")
        run("address del 10.77.0.3/16 dev ovng0")
        watch.quiet()
        own = watch.watcher.counters["hints"] - hints
        run("address del 10.77.0.2/16 dev ovng0")
        assert own < 40

    def test_wreckage_is_counted(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        watch.quiet()
        raws = [
            rtnetlink.Raw(16, b"\0" * 17),
            rtnetlink.Raw(99, b"\0" * 16),
            *[raw for raw, _, _ in rtnetlink.split(b"x")],
        ]
        for raw in raws:
            watch.watcher._take_hint(raw)
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


@pytest.fixture
def tun() -> Iterator[Configurator]:
    run("tuntap add ovng0 mode tun")
    with Configurator("ovng0") as configurator:
        yield configurator


class TestConfigurator:
    def test_all_of_it_twice(self, tun: Configurator) -> None:
        for _ in range(2):
            tun.bring_up(1400, 512)
            tun.add_address(ip_interface("10.77.0.2/32"))
            tun.add_address(ip_interface("fd77::2/128"))
            tun.add_route(ip_network("10.77.0.0/16"))
            tun.add_route(ip_network("fd77::/64"))
        link = run("link show ovng0")
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
        with pytest.raises(SystemProblem, match=r"\Aovng0: cannot be brought up with an MTU of 70000: Invalid"):
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


def test_delta_has_no_answer_for_no_change() -> None:
    uplink("wlan", "192.0.2.5/24")
    watch = Watch()
    try:
        watch.quiet()
        assert compare(watch.snapshot, watch.snapshot, SWITCH) == Delta(no_way=True)
    finally:
        watch.watcher.close()
