"""Two networks on one machine: each has its profile, its Switch, its interface; neither notices the other."""

from __future__ import annotations

import pytest

from ovng.demo.deployment import Network, configure
from tests.netns.rig import deployed, ping

pytestmark = pytest.mark.root

OTHER_PORT = 5141


def test_two_profiles_at_once() -> None:
    with deployed() as rig:
        switch = f"192.0.2.1:{OTHER_PORT}"
        work = Network(rig.net, "work", prefixes=["10.88.0.0/16"], switch=[switch])
        hub = work.switch(rig.switch.host)
        configure(hub.profile, listen=f'["{switch}"]')
        at_alice = work.node(rig.alice.host, "alice-work", settings="interface: ovng1")
        at_bob = work.node(rig.bob.host, "bob-work", settings="interface: ovng1")
        for member in (hub, at_alice, at_bob):
            member.start()
        for member in (at_alice, at_bob):
            member.wait(f"attachment of {member.name}", attached=True)

        ping(at_alice, at_bob.addresses[0])
        ping(rig.alice, rig.bob.addresses[0])
        uplinks = [path["uplink"] for node in (at_alice, rig.alice) for path in node.status()["paths"]]
        assert not any(name.startswith("ovng") for name in uplinks), "a tunnel is no uplink of the other"
        assert {"ovng0", "ovng1"} <= set(rig.alice.host.devices())

        at_alice.stop()
        ping(rig.alice, rig.bob.addresses[0])
        assert "ovng1" not in rig.alice.host.devices() and "ovng0" in rig.alice.host.devices()
