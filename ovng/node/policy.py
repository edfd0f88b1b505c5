"""Which prefixes this node believes and which it installs: the rules of PROTOCOL section 7 and the profile.

A certificate says what a peer may send from. Whether *we* send there is our own decision: inside the network's prefix
only to an address the certificate names exactly, elsewhere only inside `accept_routes`, never over a subnet this
machine is connected to, never over the Switch's own address, and a default route only to a node we named as exit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ovng.fields import Frozen
from ovng.ids import IPAddress, NodeID, Prefix


def covers(outer: Prefix, inner: Prefix) -> bool:
    """True when `inner` lies in `outer` (families must agree)."""
    if outer.version != inner.version or outer.prefixlen > inner.prefixlen:
        return False
    return inner.network_address in outer


def overlaps(one: Prefix, other: Prefix) -> bool:
    """True when two prefixes share an address."""
    return covers(one, other) or covers(other, one)


class RoutePolicy(Frozen):
    """What the profile and the machine say. `connected` are the subnets of this machine's other interfaces."""

    network: Sequence[Prefix]
    own: Sequence[Prefix]
    accept: Sequence[Prefix]
    exits: frozenset[NodeID] = frozenset()
    connected: Sequence[Prefix] = ()
    switch_addresses: Sequence[IPAddress] = ()

    def refusal(self, prefix: Prefix, peer: NodeID) -> str:
        """Why traffic to `prefix` is not sent to `peer`; empty when it is."""
        for net in self.network:
            if covers(net, prefix):
                exact = prefix.prefixlen == prefix.max_prefixlen
                return "" if exact else "inside the network only single addresses count"
            if prefix.prefixlen and overlaps(net, prefix):
                return "overlaps the network's own prefix"
        if prefix.prefixlen == 0:
            return "" if peer in self.exits else "a default route only from a node named under `exit`"
        if any(overlaps(own, prefix) for own in self.own):
            return "overlaps a prefix of this node"
        if not any(covers(net, prefix) for net in self.accept):
            return "outside `accept_routes`"
        for net in self.connected:
            if overlaps(net, prefix):
                return f"overlaps the connected subnet {net}"
        for address in self.switch_addresses:
            if address.version == prefix.version and address in prefix:
                return "holds the Switch's own address"
        return ""

    def believed(self, prefixes: Iterable[Prefix], peer: NodeID) -> list[Prefix]:
        """The prefixes of a peer's certificate that we send to it."""
        return [prefix for prefix in prefixes if not self.refusal(prefix, peer)]
