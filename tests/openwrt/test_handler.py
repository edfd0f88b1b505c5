"""netifd's handler and the hotplug script, in a router's shell: what netifd is told, and what ovng is given."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from ovng.config.profile import NodeProfile
from ovng.io.credentials import read_profile
from tests.openwrt.router import KINDS, Router
from tests.pki_fixture import Network

RUN, KILL, ERROR, BLOCK = 1, 2, 3, 4


@pytest.fixture(params=KINDS)
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Router:
    return Router(tmp_path, request.param)


def profile_at(path: Path, *prefixes: str) -> None:
    """A real profile of a node that keeps its key."""
    member = Network().node(*(prefixes or ("10.77.0.2/32",)))
    path.with_suffix(".key").write_bytes(member.key)
    path.with_suffix(".key").chmod(0o600)
    text = {
        "ovng": 1,
        "kind": "node",
        "name": "truck",
        "network": "testnet",
        "switch": ["192.0.2.1:5140"],
        "addresses": ["10.77.0.2"],
        "network_prefixes": ["10.77.0.0/16"],
        "ca": member.ca.decode(),
        "certificate": member.certificate.decode(),
        "key_file": f"{path.stem}.key",
    }
    path.write_text(json.dumps(text))
    path.chmod(0o600)


def read(profile: Path, settings: Path | None) -> NodeProfile:
    made = read_profile(profile, settings)
    assert isinstance(made, NodeProfile)
    return made


def test_what_it_says_of_itself(router: Router) -> None:
    said = router.dump()
    assert said["name"] == "ovng"
    flags = {key: bool(said[key]) for key in ("no-device", "no-proto-task", "available", "renew-handler", "lasterror")}
    assert flags == {
        "no-device": True,
        "no-proto-task": False,
        "available": True,
        "renew-handler": True,
        "lasterror": True,
    }
    options = dict(said["config"])
    assert options["profile"] == 3 and options["uplink"] == options["metered"] == 1 and options["mtu"] == 5


def test_setup_runs_the_node_with_what_uci_says(router: Router) -> None:
    profile = router.etc / "ovng0.ovng"
    profile_at(profile)
    config = {
        "uplink": ["wan", "phy*"],
        "metered": ["phy*", "wwan0"],
        "mode": "redundant",
        "fwmark": "0x100",
        "mtu": 1380,
        "nice": -5,
        "accept_routes": ["192.168.0.0/16"],
    }
    router.handler("setup", config=config)
    settings = router.run_dir / "ovng0.json"
    assert router.notified() == [
        {"action": RUN, "command": ["/usr/bin/ovng", "up", "--settings", str(settings), str(profile)]}
    ]
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    node = read(profile, settings)
    assert (node.name, node.interface, node.configured_by) == ("ovng0", "ovng0", "netifd")
    assert (node.mode, node.mark, node.mtu, node.nice) == ("redundant", 0x100, 1380, -5)
    assert list(map(str, node.accept_routes)) == ["192.168.0.0/16"]
    assert [(u.interface, u.priority, u.metered, u.use) for u in node.uplinks] == [
        ("wan", 0, False, True),
        ("phy*", 1, True, True),
        ("wwan0", None, True, True),
        ("*", None, False, False),
    ]


def test_setup_without_settings_leaves_them_to_the_profile(router: Router) -> None:
    profile = router.place / "elsewhere.ovng"
    profile_at(profile)
    router.handler("setup", config={"profile": str(profile)})
    settings = json.loads((router.run_dir / "ovng0.json").read_text())
    assert settings == {"name": "ovng0", "interface": "ovng0", "configured_by": "netifd"}
    assert router.notified()[0]["command"][-1] == str(profile)


def test_a_whole_profile_in_uci(router: Router) -> None:
    member = Network().node("10.77.0.2/32", "192.168.8.0/24")
    for suffix, pem in (("ca", member.ca), ("crt", member.certificate), ("key", member.key)):
        path = router.etc / f"ovng0.{suffix}"
        path.write_bytes(pem)
        path.chmod(0o600)
    config = {
        "network": "testnet",
        "switch": ["vpn.example.net:5140", "[2001:db8::1]:5140"],
        "addresses": ["10.77.0.2"],
        "network_prefixes": ["10.77.0.0/16"],
        "routes": ["192.168.8.0/24"],
    }
    router.handler("setup", config=config)
    made = router.run_dir / "ovng0.json"
    assert router.notified() == [{"action": RUN, "command": ["/usr/bin/ovng", "up", str(made)]}]
    node = read(made, None)
    assert (node.network, list(map(str, node.switch))) == ("testnet", config["switch"])
    assert node.credentials.key.strip() == member.key.strip() and member.key.decode() not in made.read_text()


def test_mwan3_leaves_alone_what_carries_its_mask(router: Router) -> None:
    profile_at(router.etc / "ovng0.ovng")
    script = (router._proto / "ovng.sh").read_text()
    init = router.place / "mwan3"
    init.write_text('#!/bin/sh\n[ "$1" = enabled ]\n')
    init.chmod(0o755)
    (router._proto / "ovng.sh").write_text(script.replace("/etc/init.d/mwan3", str(init)))
    router.handler("setup", UCI_SHOW="mwan3.globals.mmx_mask='0xff00'")
    assert json.loads((router.run_dir / "ovng0.json").read_text())["mark"] == "0xff00"
    router.handler("setup", config={"fwmark": "0x1"}, UCI_SHOW="mwan3.globals.mmx_mask='0xff00'")
    assert json.loads((router.run_dir / "ovng0.json").read_text())["mark"] == "0x1"


@pytest.mark.parametrize(
    ("interface", "config", "error"),
    [
        ("ovng0", {}, ["OVNG_NO_PROFILE", "{etc}/ovng0.ovng"]),
        ("ovng0", {"profile": "/nowhere.ovng"}, ["OVNG_NO_PROFILE", "/nowhere.ovng"]),
        ("a_name_that_is_too_long", {}, ["OVNG_NAME_TOO_LONG"]),
    ],
)
def test_what_cannot_start_waits_for_its_owner(
    router: Router, interface: str, config: dict[str, Any], error: list[str]
) -> None:
    router.handler("setup", interface, config)
    words = [word.format(etc=router.etc) for word in error]
    assert router.notified() == [{"action": ERROR, "error": words}, {"action": BLOCK}]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("", []),
        ("0", []),
        ("2", [{"action": ERROR, "error": ["OVNG_BAD_PROFILE"]}, {"action": BLOCK}]),
        ("3", [{"action": ERROR, "error": ["OVNG_NOT_WANTED"]}, {"action": BLOCK}]),
        ("1", [{"action": ERROR, "error": ["OVNG_FAILED"]}]),
    ],
)
def test_teardown_ends_the_node_and_says_why_it_ended(router: Router, status: str, told: list[dict[str, Any]]) -> None:
    settings = router.run_dir / "ovng0.json"
    settings.write_text("{}")
    environment = {"ERROR": status} if status else {}
    router.handler("teardown", "ovng0", {}, **environment)
    assert router.notified() == [*told, {"action": KILL}]
    assert not settings.exists()


def test_renew_lets_the_node_read_its_profile_again(router: Router) -> None:
    router.handler("renew")
    assert router.notified() == [{"action": KILL, "signal": 1}]


DUMP = {
    "interface": [
        {"interface": "loopback", "up": True, "proto": "static", "route": []},
        {"interface": "lan", "up": True, "proto": "static", "route": [{"target": "192.168.1.0", "mask": 24}]},
        {"interface": "wan", "up": True, "proto": "dhcp", "route": [{"target": "0.0.0.0", "mask": 0}]},
        {"interface": "wan6", "up": True, "proto": "dhcpv6", "route": [{"target": "::", "mask": 0}]},
        {"interface": "wwan", "up": False, "proto": "qmi", "route": [{"target": "0.0.0.0", "mask": 0}]},
        {
            "interface": "ovng0",
            "up": True,
            "proto": "ovng",
            "route": [{"target": "0.0.0.0", "mask": 1}],
            "data": {"switch": ["192.0.2.1", "2001:db8::1"]},
        },
    ]
}


def test_each_uplink_gets_a_host_route_to_the_switch(router: Router) -> None:
    router.answer("network.interface.dump", DUMP)
    for action in ("ifup", "ifupdate"):
        router.hotplug(action, UCI_SHOW="network.ovng0.proto='ovng'")
    routes = [message for path, method, message in router.calls() if (path, method) == ("network", "add_host_route")]
    wanted = [
        {"target": target, "v6": v6, "interface": uplink}
        for target, v6 in (("192.0.2.1", False), ("2001:db8::1", True))
        for uplink in ("wan", "wan6")
    ]
    assert routes == wanted * 2


def test_hotplug_is_quiet_where_it_has_nothing_to_do(router: Router) -> None:
    router.hotplug("ifdown", UCI_SHOW="network.ovng0.proto='ovng'")
    router.hotplug("ifup", UCI_SHOW="network.wan.proto='dhcp'")
    assert router.calls() == []
