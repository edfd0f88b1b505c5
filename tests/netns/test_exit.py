"""All of a machine's traffic through another node, and the tunnel's own around it.

web 9.9.9.9 ── bob ── switch ── alice      bob is an exit, alice uses it
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ovng.demo.deployment import Member, Network
from ovng.demo.net import Host, Net
from tests.netns.rig import ping

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

WEB = "9.9.9.9"
HOME, AWAY = ("198.51.100.2/24", "198.51.100.1"), ("198.51.101.2/24", "198.51.101.1")


@contextmanager
def deployed(metric: int) -> Iterator[tuple[Host, Member]]:
    """The machines of the picture; alice's own default route has this metric (DHCP clients give one, people none)."""
    with Net("exit") as net:
        hub, at_alice, at_bob, web = map(net.host, ("switch", "alice", "bob", "web"))
        hub.add_address("lo", "192.0.2.1/32")
        hub.forward()
        net.join(hub, at_alice, [f"{HOME[1]}/24", f"{AWAY[1]}/24"], [HOME[0]])
        net.join(hub, at_bob, ["203.0.113.1/24"], ["203.0.113.2/24"])
        net.join(at_bob, web, ["9.9.9.1/24"], [f"{WEB}/24"])
        default(at_alice, HOME[1], metric)
        at_bob.default_via("203.0.113.1")
        web.default_via("9.9.9.1")
        network = Network(net, "acme", prefixes=["10.77.0.0/16"], switch=["192.0.2.1:5140"])
        switch = network.switch(hub)
        bob = network.node(at_bob, "bob", "--exit", settings="forward: true")
        alice = network.node(at_alice, "alice", "--use-exit", "bob")
        switch.start()
        switch.wait("Switch that serves", kind="switch")
        for node in (bob, alice):
            node.start()
            node.wait(f"attachment of {node.name}", attached=True)
        yield web, alice


def default(host: Host, gateway: str, metric: int) -> None:
    host.ip("route", "add", "default", "via", gateway, "metric", str(metric))


def rules(node: Member) -> str:
    return node.host.ip("rule")


@pytest.mark.parametrize("metric", [0, 100])
def test_everything_leaves_by_the_exit_but_the_way_to_the_switch(metric: int) -> None:
    with deployed(metric) as (web, alice):
        before = web.received_bytes("bob")
        ping(alice, WEB)
        assert web.received_bytes("bob") > before
        assert "dev ovng0" in alice.host.ip("route", "get", WEB)
        assert "dev switch" in alice.host.ip("route", "get", "192.0.2.1")
        assert f"via {HOME[1]} dev switch" in alice.host.ip("route", "show", "default"), (
            "the machine's own is untouched"
        )
        sessions = alice.sessions()
        alice.host.ip("address", "flush", "dev", "switch", "scope", "global")
        alice.host.ip("address", "add", AWAY[0], "dev", "switch")
        default(alice.host, AWAY[1], metric)
        ping(alice, WEB)
        assert alice.sessions() == sessions
        assert alice.stop() == 0
        assert "5140" not in rules(alice) and "111" not in rules(alice)


def test_what_a_killed_one_left_is_cleared() -> None:
    with deployed(100) as (_, alice):
        ping(alice, WEB)
        alice.kill()
        assert "5140" in rules(alice)
        alice.ovng("down", str(alice.profile))
        assert "5140" not in rules(alice) and "111" not in rules(alice)
