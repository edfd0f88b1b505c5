"""Routed prefixes the Switch announces: which ones this node lets its kernel route into the tunnel.

Taking a route only brings packets to the TUN; they leave only after the peer's certificate proved the prefix.
"""

from __future__ import annotations

from collections.abc import Iterable

from ovng.fields import Frozen
from ovng.ids import NodeID, Prefix
from ovng.node.policy import RoutePolicy, covers


class RoutePlan(Frozen):
    """Prefixes to install, with who has them, and what was refused, with the reason. Both sorted."""

    taken: tuple[tuple[Prefix, NodeID], ...]
    refused: tuple[tuple[Prefix, NodeID, str], ...]

    @property
    def prefixes(self) -> frozenset[Prefix]:
        """What the kernel should hold."""
        return frozenset(prefix for prefix, _ in self.taken)


def plan_routes(announced: Iterable[tuple[NodeID, Prefix]], me: NodeID, policy: RoutePolicy) -> RoutePlan:
    """Sort announced prefixes into taken and refused. Our own, and addresses of the network itself, are neither."""
    taken: list[tuple[Prefix, NodeID]] = []
    refused: list[tuple[Prefix, NodeID, str]] = []
    for peer, prefix in sorted(set(announced), key=lambda item: (item[1].version, item[1], item[0])):
        if peer == me or any(covers(net, prefix) for net in policy.network):
            continue
        reason = policy.refusal(prefix, peer)
        if reason:
            refused.append((prefix, peer, reason))
        else:
            taken.append((prefix, peer))
    return RoutePlan(tuple(taken), tuple(refused))
