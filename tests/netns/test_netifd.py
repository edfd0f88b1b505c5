"""A node whose interface netifd configures: a stand-in for `ubus` does what netifd would, and packets flow."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovng.config.render import to_json
from ovng.demo.deployment import SOURCE
from ovng.demo.net import wait_until
from ovng.errors import SystemProblem
from tests.netns.rig import LAN, LAN6, Rig, deployed, ping, rss, say

pytestmark = pytest.mark.root

STATUS = Path(__file__).parents[1] / "openwrt" / "status.json"
STANDINS = Path(__file__).parents[1] / "openwrt" / "standins"
UNDER_NETIFD = "configured_by: netifd\ninterface: vpn"


class Router:
    """Alice, a router whose netifd is a recorder."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.calls_file = rig, rig.net.directory / "ubus.calls"

    def configure(self, **keys: object) -> None:
        """Change the profile, which is JSON."""
        profile = self.rig.alice.profile
        profile.write_text(json.dumps(json.loads(profile.read_text()) | keys))

    def start(self, **env: str) -> None:
        """With what a router has: no pyroute2, no cryptography, no PyYAML."""
        path = f"{STANDINS}{os.pathsep}{os.environ['PATH']}"
        packages = os.pathsep.join([str(STANDINS / "absent"), SOURCE])
        environment = {
            "PATH": path,
            "PYTHON": sys.executable,
            "UBUS_CALLS": str(self.calls_file),
            "UBUS_APPLY": "1",
            "PYTHONPATH": packages,
            **env,
        }
        self.rig.alice.start(env=environment)

    def updates(self) -> list[dict[str, Any]]:
        """What netifd was told of the interface."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        calls = [json.loads(line) for line in lines]
        assert all(call[:2] == ["network.interface", "notify_proto"] for call in calls)
        return [call[2] for call in calls]

    def told(self, key: str) -> set[str]:
        """The newest word on it, as prefixes."""
        entries = self.updates()[-1][key]
        return {"/".join(entry.values()) for entry in entries}


@pytest.fixture
def router() -> Iterator[Router]:
    with deployed(alice=UNDER_NETIFD, routes=True, start=False) as rig:
        made = Router(rig)
        rig.alice.profile.write_text(to_json(rig.alice.profile.read_text()))
        rig.switch.start()
        rig.bob.start()
        rig.bob.wait("attachment of bob", attached=True)
        yield made


def held_by(real: Any, sample: Any) -> None:
    """What LuCI's test shows is what nodes say: the sample has no key that a real status lacks."""
    if isinstance(sample, dict) and isinstance(real, dict):
        assert set(sample) <= set(real) | {"counters"}
        for key in sample.keys() - {"counters"}:
            held_by(real[key], sample[key])
    elif isinstance(sample, list) and sample and real:
        held_by(real[0], sample[0])


def test_netifd_gives_addresses_and_routes_and_packets_flow(router: Router) -> None:
    rig = router.rig
    rig.switch.stop()
    router.start()
    rig.alice.wait("alice without a Switch", kind="node", attached=False)
    assert router.updates() == [], "the interface is not up before the Switch has answered"
    rig.switch.start()
    rig.alice.wait("attachment of alice", attached=True)
    wait_until(lambda: router.updates() and router.told("routes") == {LAN}, "the route to bob's network")
    newest = router.updates()[-1]
    assert (newest["action"], newest["interface"], newest["ifname"], newest["link-up"]) == (0, "vpn", "vpn", True)
    assert router.told("ipaddr") == {f"{rig.alice.addresses[0]}/16"}
    assert router.told("ip6addr") == {f"{rig.alice.addresses[1]}/64"}
    assert router.told("routes6") == {LAN6}
    assert newest["data"] == {"switch": ["192.0.2.1"]}
    ping(rig.alice, rig.bob.addresses[0])
    ping(rig.alice, rig.bob.addresses[1])
    ping(rig.alice, "192.168.8.1")
    before = rig.alice.sessions()
    move, told = rig.readdress(rig.alice), len(router.updates())
    move()
    rig.seen_at(rig.alice)
    ping(rig.alice, rig.bob.addresses[0])
    assert rig.alice.sessions() == before
    assert len(router.updates()) == told, "a move is nothing to netifd"
    assert rig.alice.process is not None
    say(f"idle node under netifd: {rss(rig.alice.process) / 1e6:.1f} MB")
    held_by(rig.alice.status(), json.loads(STATUS.read_text()))
    router.configure(accept_routes=["10.0.0.0/8"])
    rig.alice.reload()
    wait_until(lambda: router.told("routes") == set(), "the end of the route")
    wait_until(lambda: "192.168.8" not in rig.alice.host.ip("route"), "the end of the kernel's")
    assert rig.alice.stop() == 0
    assert "vpn" not in rig.alice.host.devices()


def test_a_netifd_that_refuses_ends_the_node(router: Router) -> None:
    router.start(UBUS_FAILS="1")
    process = router.rig.alice.process
    assert process is not None
    assert process.wait() == 1
    assert "netifd refuses: Command failed" in process.output.splitlines()[-1]
    with pytest.raises(SystemProblem, match=r"there is no `ubus`: `configured_by: netifd` is for OpenWrt"):
        router.rig.alice.ovng("up", str(router.rig.alice.profile))
