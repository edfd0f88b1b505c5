"""No tunnel: the hub's kernel forwards IP. What the machine could carry."""

from __future__ import annotations

from benchmarks.latency import FirstAnswer
from benchmarks.star import A, B, Star
from benchmarks.systems.base import Tunnel


class Plain:
    """The path under everybody else's tunnel."""

    name = "plain"

    def missing(self) -> str | None:
        """It is always there."""
        return None

    def start(self, star: Star) -> Tunnel:
        """There is nothing to start."""
        FirstAnswer(star, B).wait()
        return Tunnel(A, B, notes={"path": "IP forwarding by the hub's kernel"})
