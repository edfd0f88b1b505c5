"""The kernel's routes into the tunnel: one that the kernel refuses is told, and takes nothing else with it."""

from __future__ import annotations

import ipaddress

from ovng.errors import SystemProblem
from ovng.ids import Prefix
from ovng.node.tunnel import Tunnel

ONE, OTHER, THIRD = (ipaddress.ip_network(f"192.168.{number}.0/24") for number in (1, 2, 3))


class Kernel:
    """A configurator whose kernel refuses some prefixes."""

    def __init__(self) -> None:
        self.routes: set[Prefix] = set()
        self.refuses: set[Prefix] = set()

    def add_route(self, prefix: Prefix) -> None:
        self._ask(prefix)
        self.routes.add(prefix)

    def remove_route(self, prefix: Prefix) -> None:
        self._ask(prefix)
        self.routes.discard(prefix)

    def _ask(self, prefix: Prefix) -> None:
        if prefix in self.refuses:
            raise SystemProblem("no")


def test_a_route_that_cannot_be_set_or_removed_is_told_and_tried_again() -> None:
    kernel, tunnel = Kernel(), Tunnel.__new__(Tunnel)
    tunnel._configurator, tunnel.routes = kernel, set()  # type: ignore[assignment]
    kernel.refuses = {OTHER}
    assert tunnel.set_routes([ONE, OTHER]) == {OTHER: "no"}
    assert kernel.routes == tunnel.routes == {ONE}
    kernel.refuses = {ONE}
    assert tunnel.set_routes([THIRD]) == {ONE: "no"}
    assert kernel.routes == tunnel.routes == {ONE, THIRD}
    kernel.refuses = set()
    assert tunnel.set_routes([THIRD]) == {}
    assert kernel.routes == tunnel.routes == {THIRD}
