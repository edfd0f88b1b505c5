"""The systems under test, each running in a world, with what a scenario asks of it besides carrying packets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.mobility.topology import HUB, HUB6, World
from benchmarks.systems import System, Tunnel, nebula, openvpn, wireguard
from benchmarks.systems.base import wait_for_port
from ovng import __version__
from ovng.demo.deployment import Member, Network, Status, configure
from ovng.demo.net import Process, wait_until

OVNG_PORT = 5140
PORTS = {"ovng": OVNG_PORT, "wireguard-go": wireguard.PORT, "openvpn": openvpn.PORT, "nebula": nebula.PORT}
OTHERS: tuple[System, ...] = (wireguard.WireGuardGo(), openvpn.OpenVpn(), nebula.Nebula())
SUBJECT = "ovng"
_CONVERSATION = ("id", "session", "generation")


@dataclass
class Running:
    """A system in a world; traffic passes."""

    name: str
    world: World
    tunnel: Tunnel
    hub: Process
    a6: str = ""
    """Inner IPv6 addresses, where it has them."""
    b6: str = ""
    members: dict[str, Member] | None = None
    """ovng's own: hub, a, b."""

    def restart_hub(self) -> Callable[[], None]:
        """Kill the hub's process (-9) and start it again; the result waits until it listens."""
        self.hub.kill()
        restart = self.tunnel.restart_hub
        assert restart is not None
        self.hub = restart()
        return lambda: wait_for_port(self.world.star.hub, PORTS[self.name])

    def hub_status(self) -> Status:
        """What the Switch tells; ovng only."""
        assert self.members is not None
        return self.members["hub"].status()

    def conversation(self) -> list[Any]:
        """What no move may change of ovng's sessions and its attachments; nothing of other systems."""
        if not self.members:
            return []
        kept: list[Any] = []
        for name in ("a", "b"):
            status = self.members[name].status()
            kept.append(sorted(tuple(peer[key] for key in _CONVERSATION) for peer in status["peers"]))
            kept.append(status["switch"]["tls_count"])
        return kept


@contextmanager
def running(name: str, world: World, *, settings: str = "") -> Iterator[Running]:
    """Start a system by its name. `settings` are lines for the profiles of ovng's nodes."""
    if name == SUBJECT:
        yield _start_ovng(world, settings)
        return
    (system,) = (one for one in OTHERS if one.name == name)
    tunnel = system.start(world.star)
    yield Running(name, world, tunnel, tunnel.processes["hub"])


def missing() -> dict[str, str]:
    """Which of the others cannot take part, and why."""
    return {system.name: why for system in OTHERS if (why := system.missing())}


def notes() -> dict[str, str]:
    """What each is, and what it was given beyond its defaults."""
    return {
        "ovng": f"{__version__}, profiles as `ovng ca issue` writes them",
        "wireguard-go": "roams by itself; persistent keepalive 25 s",
        "openvpn": "float, persist-tun, keepalive 10 60, client-to-client, AES-256-GCM",
        "nebula": "through the hub's relay, its defaults",
    }


def _start_ovng(world: World, settings: str) -> Running:
    """A CA, three profiles, three processes; the nodes have met."""
    star = world.star
    switches = [f"{HUB}:{OVNG_PORT}", f"[{HUB6}]:{OVNG_PORT}"]
    network = Network(star.net, "bench", prefixes=["10.77.0.0/16", "fd77::/64"], switch=switches)
    hub = network.switch(star.hub)
    configure(hub.profile, listen=json.dumps(switches))
    a, b = (network.node(host, name, settings=settings) for host, name in ((star.a, "a"), (star.b, "b")))
    processes = {"hub": hub.start()}
    hub.wait("Switch that serves", kind="switch")
    processes |= {node.name: node.start() for node in (a, b)}
    for node in (a, b):
        node.wait("attachment", attached=True)
    for address in b.addresses:
        wait_until(lambda: answers(world, address), f"ping of {address}", 15)  # noqa: B023

    tunnel = Tunnel(a.addresses[0], b.addresses[0], processes, restart_hub=hub.start)
    members = {"hub": hub, "a": a, "b": b}
    return Running(SUBJECT, world, tunnel, processes["hub"], a.addresses[1], b.addresses[1], members)


def answers(world: World, address: str) -> bool:
    """Whether one ping from `a` comes back."""
    done = world.a.host.start("ping", "ping", "-n", "-c", "1", "-W", "1", address)
    return done.wait() == 0
