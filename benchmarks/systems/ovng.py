"""ovng: a node on `a`, a node on `b`, the Switch on the hub, each with the profile that `ovng ca` writes."""

from __future__ import annotations

from typing import Any

from benchmarks.latency import FirstAnswer
from benchmarks.star import Star
from benchmarks.systems.base import ALT, LIBCRYPTO, Tunnel, other_libcrypto
from ovng import __version__
from ovng.demo.deployment import Network

PORT = 5140


class Ovng:
    """As a user starts it, with every default; as `other` with the libcrypto that OVNG_BENCH_LIBCRYPTO names."""

    def __init__(self, *, other: bool = False) -> None:
        self.name = "ovng" + (ALT if other else "")
        self._other = other

    def missing(self) -> str | None:
        """It is what this repository builds."""
        return f"{LIBCRYPTO} names no other libcrypto" if self._other and not other_libcrypto() else None

    def start(self, star: Star) -> Tunnel:
        """A CA, three profiles, three processes."""
        settings = f"libcrypto: {other_libcrypto()}" if self._other else ""
        network = Network(star.net, "bench", prefixes=["10.77.0.0/16"], switch=[f"{star.hub_from_a}:{PORT}"])
        hub = network.switch(star.hub, settings)
        a, b = network.node(star.a, "a", settings=settings), network.node(star.b, "b", settings=settings)
        processes = {"hub": hub.start()}
        hub.wait("Switch that serves", kind="switch")
        first = FirstAnswer(star, b.addresses[0])
        processes |= {"a": a.start(), "b": b.start()}
        first_ping = first.wait(*processes.values())
        return Tunnel(a.addresses[0], b.addresses[0], processes, _notes(a.status()), first_ping)


def _notes(status: dict[str, Any]) -> dict[str, str]:
    (peer,) = status["peers"]
    on = [name for name, there in status["offloads"].items() if there]
    return {
        "version": __version__,
        "cipher": peer["cipher"],
        "libcrypto": status["libcrypto"].partition(" (")[0],
        "offloads": ", ".join(on) or "none",
    }
