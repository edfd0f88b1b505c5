"""Which routes a node has: what members announce, what its machine is connected to, and what its profile accepts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from ovng.config.profile import NodeProfile
from ovng.errors import SystemProblem
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.node.announced import RoutePlan, plan_routes
from ovng.node.policy import RoutePolicy
from ovng.node.tunnel import Tunnel
from ovng.pki.identity import Identity

log = logging.getLogger(__name__)


class Routing:
    """Keeps the interface's routes in step. `switch_ips` gives all addresses that the Switch may have."""

    def __init__(
        self,
        profile: NodeProfile,
        identity: Identity,
        tunnel: Tunnel,
        switch_ips: Callable[[], tuple[IPAddress, ...]],
    ) -> None:
        self._tunnel, self._switch_ips = tunnel, switch_ips
        self.plan = RoutePlan((), ())
        self.errors: dict[Prefix, str] = {}
        """Routes that the kernel refused, and why."""
        self.warnings: list[str] = []
        """What forwarding lacks on this machine."""
        self._announced: tuple[tuple[NodeID, Prefix], ...] = ()
        self._connected = tuple(tunnel.connected())
        self.use(profile, identity)

    def use(self, profile: NodeProfile, identity: Identity) -> None:
        """Go by these from now on; `replan` makes it so."""
        self._profile, self._identity = profile, identity
        self.warnings = self._tunnel.forwarding(profile.routes, profile.forward)

    def announce(self, announced: Iterable[tuple[NodeID, Prefix]]) -> None:
        """What the Switch says that members have; `replan` makes it so."""
        self._announced = tuple(announced)

    def policy(self) -> RoutePolicy:
        """What may be routed to whom."""
        profile = self._profile
        return RoutePolicy(
            network=profile.network_prefixes,
            own=self._identity.prefixes,
            accept=profile.accept_routes,
            exits=frozenset(profile.exit),
            connected=self._connected,
            switch_addresses=self._switch_ips(),
        )

    def replan(self) -> None:
        """Look at the machine again, and let all routes follow."""
        try:
            self._connected = tuple(self._tunnel.connected())
        except SystemProblem as error:
            log.warning("%s; routes are judged by what was connected before", error)
        plan = plan_routes(self._announced, self._identity.id, self.policy())
        self.errors = self._tunnel.set_routes(plan.prefixes, self._switch_ips())
        if plan != self.plan:
            for prefix, peer, reason in plan.refused:
                log.info("route %s via %s refused: %s", prefix, peer, reason)
        self.plan = plan
