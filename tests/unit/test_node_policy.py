"""Which prefixes a node sends to: every rule and its refusal."""

import ipaddress

import pytest

from ovng.ids import NodeID
from ovng.node.policy import RoutePolicy

PEER, EXIT = NodeID(7), NodeID(9)
POLICY = RoutePolicy(
    network=[ipaddress.ip_network("10.77.0.0/16"), ipaddress.ip_network("fd77::/64")],
    own=[ipaddress.ip_network("10.77.0.2/32"), ipaddress.ip_network("192.168.50.0/24")],
    accept=[
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("192.168.0.0/16"),
        ipaddress.ip_network("fc00::/7"),
    ],
    exits=frozenset({EXIT}),
    connected=[ipaddress.ip_network("192.168.1.0/24")],
    switch_addresses=[ipaddress.ip_address("10.200.0.1")],
)


@pytest.mark.parametrize(
    ("prefix", "peer", "reason"),
    [
        ("10.77.0.3/32", PEER, ""),
        ("fd77::3/128", PEER, ""),
        ("10.77.4.0/24", PEER, "single addresses"),
        ("10.0.0.0/8", PEER, "network's own prefix"),
        ("192.168.8.0/24", PEER, ""),
        ("fd99::/48", PEER, ""),
        ("192.168.1.128/25", PEER, "connected subnet 192.168.1.0/24"),
        ("192.168.0.0/16", PEER, "prefix of this node"),
        ("192.168.50.7/32", PEER, "prefix of this node"),
        ("8.8.8.0/24", PEER, "accept_routes"),
        ("10.200.0.0/24", PEER, "Switch's own address"),
        ("0.0.0.0/0", PEER, "exit"),
        ("0.0.0.0/0", EXIT, ""),
        ("::/0", EXIT, ""),
    ],
)
def test_refusals_have_their_reason(prefix: str, peer: NodeID, reason: str) -> None:
    refusal = POLICY.refusal(ipaddress.ip_network(prefix), peer)
    assert (reason in refusal) if reason else refusal == ""


def test_believed_keeps_only_what_is_not_refused() -> None:
    prefixes = [ipaddress.ip_network(p) for p in ("10.77.0.3/32", "8.8.8.0/24", "192.168.8.0/24")]
    assert POLICY.believed(prefixes, PEER) == [prefixes[0], prefixes[2]]
