"""The world of the mobility scenarios: two nodes with two uplinks each, a NAT router behind every uplink, one hub.

    a ── wifi0 ── a-wifi ──┐                  ┌── b-wifi ── wifi0 ── b
      └─ lte0 ─── a-lte ───┤                  ├── b-lte ─── lte0 ─┘
                           └──── internet ────┘
                                    ║ relay: 20 ms each way
                                   hub

Uplink number N (1 to 4 in the order above) has two places to be: 192.168.N0.0/24, seen from outside as 198.51.10N.2,
and 192.168.N1.0/24, seen as 198.51.10N.3; and IPv6 networks 2001:db8:N0::/64 and 2001:db8:N1::/64 without NAT, which no
node has an address of until a scenario gives it one. Nodes reach each other through the hub only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from benchmarks.mobility.relay import Quality
from benchmarks.mobility.router import Router
from benchmarks.star import Star
from ovng.demo.net import Batch, Host, Net, wait_until

HUB, HUB6 = "192.0.2.1", "2001:db8:ffff::1"
WIFI_METRIC, LTE_METRIC = 100, 200
BETTER_METRIC = 50
HOME, AWAY = 0, 1
_HUB_ONLY = """table inet between { chain forward { type filter hook forward priority 0; policy drop;
    iifname "hub" accept; oifname "hub" accept; }; }"""


@dataclass(frozen=True)
class Place:
    """A network that an uplink can be on: its address there with prefix length, and the gateway."""

    address: str
    gateway: str

    @property
    def default(self) -> str:
        """The default route of its family."""
        return "::/0" if ":" in self.address else "0.0.0.0/0"


class Uplink:
    """A device of a node, the router behind it, and what can happen to them."""

    def __init__(self, host: Host, router: Router, kind: str, number: int, metric: int) -> None:
        self.host, self.router, self.device, self.metric = host, router, f"{kind}0", metric
        self.places = [Place(f"192.168.{number}{n}.2/24", f"192.168.{number}{n}.1") for n in (HOME, AWAY)]
        self.places6 = [Place(f"2001:db8:{number}{n}::2/64", f"2001:db8:{number}{n}::1") for n in (HOME, AWAY)]
        self.at, self.six, self.preferred = HOME, False, False
        self.plug()
        for place, six in zip(self.places, self.places6, strict=True):
            router.host.add_address("lan", f"{place.gateway}/24", f"{six.gateway}/64")

    @property
    def seen_as(self) -> str:
        """The IPv4 address by which the hub knows it now."""
        return self.router.seen_as(self.at)

    def plug(self) -> None:
        """The device exists, down, its cable in the router."""
        router = self.router.host
        self.host.ip(
            "link", "add", "name", self.device, "type", "veth", "peer", "name", "lan", "netns", router.namespace
        )
        router.ip("link", "set", "dev", "lan", "up")

    def unplug(self) -> None:
        """The device is gone: a stick pulled out."""
        self.host.ip("link", "delete", self.device)

    def replug(self) -> None:
        """What was unplugged comes back, down."""
        self.plug()
        for place, six in zip(self.places, self.places6, strict=True):
            self.router.host.add_address("lan", f"{place.gateway}/24", f"{six.gateway}/64")

    def up(self) -> None:
        """The device is up with its address and default route."""
        self.arrival(self.at)()

    def down(self) -> None:
        """The device is down, its address and routes gone."""
        Batch(self.host, [f"address flush dev {self.device}", f"link set dev {self.device} down"])()

    def arrival(self, at: int, *, six: bool = False) -> Batch:
        """Prepare a move to one of its places; the call does it: what was there is gone first."""
        place = (self.places6 if six else self.places)[at]
        self.at, self.six = at, six
        return Batch(
            self.host,
            [
                f"address flush dev {self.device} scope global",
                f"link set dev {self.device} up",
                f"address add {place.address} dev {self.device}" + (" nodad" if six else ""),
                f"route replace {place.default} via {place.gateway} dev {self.device} metric {self._metrics[0]}",
            ],
        )

    def prefer(self, better: bool) -> None:
        """Give its default route a metric better than all others, or its own."""
        place, self.preferred = self.places[self.at], better
        now, before = self._metrics
        route = f"{place.default} via {place.gateway} dev {self.device} metric"
        Batch(self.host, [f"route replace {route} {now}", f"route delete {route} {before}"])()

    @property
    def _metrics(self) -> tuple[int, int]:
        """Of its default route: as it is preferred or not, and the other one."""
        return (BETTER_METRIC, self.metric) if self.preferred else (self.metric, BETTER_METRIC)

    def carrier(self, there: bool) -> None:
        """The other end of its cable is up, or not."""
        self.router.host.ip("link", "set", "dev", "lan", "up" if there else "down")

    def sent(self) -> int:
        """Packets that have left by it."""
        (link,) = json.loads(self.host.ip("-json", "-statistics", "link", "show", "dev", self.device))
        return int(link["stats64"]["tx"]["packets"])


@dataclass
class End:
    """A node with its uplinks."""

    host: Host
    wifi: Uplink
    lte: Uplink

    @property
    def uplinks(self) -> tuple[Uplink, Uplink]:
        """Both."""
        return self.wifi, self.lte


@dataclass
class World:
    """All of it."""

    star: Star
    a: End
    b: End
    internet: Host


@contextmanager
def world(
    quality: Quality | None = None,
    *,
    both: bool = False,
    direct: Collection[str] = (),
    family: str = "mobility",
    seed: int = 1,
) -> Iterator[World]:
    """Build it, and remove it with all that runs in it. The Wi-Fi is up at either end; with `both`, LTE too.

    The routers named in `direct` (`a-lte`, …) do no NAT.
    """
    with Net(family) as net:
        hosts = {name: net.host(name) for name in ("internet", "hub", "a", "b")}
        internet, hub = hosts["internet"], hosts["hub"]
        internet.forward()
        hub.forward()  # wireguard's hub routes between its peers
        internet.nft(_HUB_ONLY)
        _cable(internet, hub, quality or Quality(), seed)
        ends, number = [], 0
        for name in ("a", "b"):
            uplinks = []
            for kind, metric in (("wifi", WIFI_METRIC), ("lte", LTE_METRIC)):
                number += 1
                router = Router(net.host(f"{name}-{kind}"), internet, number, nat=f"{name}-{kind}" not in direct)
                uplinks.append(Uplink(hosts[name], router, kind, number, metric))
            ends.append(End(hosts[name], *uplinks))
        for end in ends:
            for uplink in end.uplinks if both else (end.wifi,):
                uplink.up()
        yield World(Star(net, ends[0].host, hub, ends[1].host, HUB, HUB), ends[0], ends[1], internet)


def _cable(internet: Host, hub: Host, quality: Quality, seed: int) -> None:
    """The relay between the two, each end named after the host at the other."""
    words = [word for one in fields(quality) for word in (f"--{one.name}", str(getattr(quality, one.name)))]
    ends = [internet.namespace, "hub", hub.namespace, "internet"]
    process = internet.start(
        "relay", sys.executable, "-m", "benchmarks.mobility.relay", *ends, *words, f"--seed={seed}"
    )

    def ready() -> bool:
        process.check()
        return "ready" in process.output

    wait_until(ready, "relay")
    internet.ip("link", "set", "dev", "hub", "txqueuelen", "10000", "up")
    hub.ip("link", "set", "dev", "internet", "txqueuelen", "10000", "up")
    hub.add_address("lo", f"{HUB}/32", f"{HUB6}/128")
    for family, address in (("-4", HUB), ("-6", HUB6)):
        internet.ip(family, "route", "add", address, "dev", "hub")
        hub.ip(family, "route", "add", "default", "dev", "internet", *(["src", address] if address == HUB else []))
