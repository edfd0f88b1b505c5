"""ovng: a node on `a`, a node on `b`, the Switch on the hub, each with the profile that `ovng ca` writes."""

from __future__ import annotations

from typing import Any

from benchmarks.star import HUB_FROM_A, Star
from benchmarks.systems.base import Tunnel, wait_for_ping
from ovng import __version__
from ovng.demo.deployment import Network

PORT = 5140


class Ovng:
    """As a user starts it, with every default."""

    name = "ovng"

    def missing(self) -> str | None:
        """It is what this repository builds."""
        return None

    def start(self, star: Star) -> Tunnel:
        """A CA, three profiles, three processes."""
        network = Network(star.net, "bench", prefixes=["10.77.0.0/16"], switch=[f"{HUB_FROM_A}:{PORT}"])
        hub, a, b = network.switch(star.hub), network.node(star.a, "a"), network.node(star.b, "b")
        hub.start()
        hub.wait("Switch that serves", kind="switch")
        processes = {"hub": hub.process, "a": a.start(), "b": b.start()}
        for node in (a, b):
            node.wait("attachment", attached=True)
        wait_for_ping(star, b.addresses[0])
        started = {role: process for role, process in processes.items() if process is not None}
        return Tunnel(a.addresses[0], b.addresses[0], started, _notes(a.status()))


def _notes(status: dict[str, Any]) -> dict[str, str]:
    (peer,) = status["peers"]
    on = [name for name, there in status["offloads"].items() if there]
    return {
        "version": __version__,
        "cipher": peer["cipher"],
        "libcrypto": status["libcrypto"],
        "offloads": ", ".join(on) or "none",
    }
