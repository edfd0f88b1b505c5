"""Announced routes: taken or refused with a reason, in a stable order."""

import ipaddress

from ovng.ids import NodeID
from ovng.node.announced import plan_routes
from tests.unit.test_node_policy import EXIT, PEER, POLICY

ME = NodeID(1)


def test_announced_routes_are_sorted_into_taken_and_refused() -> None:
    net = ipaddress.ip_network
    plan = plan_routes(
        [
            (PEER, net("192.168.8.0/24")),
            (PEER, net("192.168.8.0/24")),  # twice
            (EXIT, net("192.168.8.0/24")),  # a cluster: two nodes have it
            (PEER, net("fd99::/48")),
            (PEER, net("8.8.8.0/24")),
            (PEER, net("10.77.0.3/32")),  # the network's own: needs no route
            (ME, net("192.168.50.0/24")),  # our own
        ],
        ME,
        POLICY,
    )
    assert plan.taken == (
        (net("192.168.8.0/24"), PEER),
        (net("192.168.8.0/24"), EXIT),
        (net("fd99::/48"), PEER),
    )
    assert plan.refused == ((net("8.8.8.0/24"), PEER, "outside `accept_routes`"),)
    assert plan.prefixes == {net("192.168.8.0/24"), net("fd99::/48")}
