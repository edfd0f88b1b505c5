"""The whole way with OpenWrt's own ubusd, netifd and jshn, where a machine has them (below OPENWRT_PREFIX, or /)."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ovng.demo.deployment import SOURCE
from ovng.demo.net import wait_until
from ovng.errors import SystemProblem
from tests.netns.rig import LAN, Rig, deployed, ping
from tests.openwrt.router import FILES, PREFIX

pytestmark = pytest.mark.root

TOOLS = os.pathsep.join(f"{PREFIX}/{place}" for place in ("bin", "sbin", "usr/bin", "usr/sbin"))
NEEDED = ("ubusd", "ubus", "netifd", "jshn", "uci")
WAN = """
config interface 'wan'
	option device 'switch'
	option proto 'static'
	option ipaddr '198.51.100.2'
	option netmask '255.255.255.0'
	option gateway '198.51.100.1'
"""


class Netifd:
    """Alice is a router: her uplink and her tunnel are interfaces of netifd."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.place = rig, rig.net.directory / "openwrt"
        self.main, self.config, self.run_dir = (self.place / name for name in ("netifd", "config", "run"))
        for directory in (self.main / "proto", self.config, self.run_dir, self.place / "bin"):
            directory.mkdir(parents=True)
        self.socket = self.place / "ubus.sock"
        shutil.copy(FILES / "ovng.sh", self.main / "proto")
        share = next(path for path in (PREFIX / "share", PREFIX / "usr/share") if (path / "libubox/jshn.sh").exists())
        self.jshn = share / "libubox" / "jshn.sh"
        for name in ("netifd-proto.sh", "utils.sh"):
            text = (PREFIX / "lib/netifd" / name).read_text()
            (self.main / name).write_text(text.replace("/usr/local/share/libubox/jshn.sh", str(self.jshn)))
        self._script("ubus", f'exec {shutil.which("ubus", path=TOOLS)} -s {self.socket} "$@"')
        self._script("uci", f'exec {shutil.which("uci", path=TOOLS)} -c {self.config} "$@"')
        self._script("ovng", f'exec {sys.executable} -m ovng.cli.main "$@"')
        self.env = {
            "PATH": os.pathsep.join([str(self.place / "bin"), TOOLS, os.environ["PATH"]]),
            "PYTHONPATH": SOURCE,
            "NETIFD_MAIN_DIR": str(self.main),
            "OVNG": str(self.place / "bin" / "ovng"),
            "OVNG_RUN": str(self.run_dir),
            "OVNG_RUNTIME_DIR": str(self.run_dir),
            "JSHN": str(self.jshn),
        }

    def _script(self, name: str, line: str) -> None:
        path = self.place / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def start(self) -> None:
        """ubusd and netifd on alice's host, with what /etc/config/network would say."""
        host, profile = self.rig.alice.host, self.rig.alice.profile
        tunnel = f"\nconfig interface 'vpn'\n\toption proto 'ovng'\n\toption profile '{profile}'\n"
        (self.config / "network").write_text(WAN + tunnel)
        self.ubusd = host.start("ubusd", str(shutil.which("ubusd", path=TOOLS)), "-s", str(self.socket))
        wait_until(self.socket.exists, "ubusd")
        words = [
            "-s",
            self.socket,
            "-p",
            self.main,
            "-c",
            self.config,
            "-r",
            self.place / "resolv.conf",
            "-h",
            "/bin/true",
        ]
        self.netifd = host.start(
            "netifd", str(shutil.which("netifd", path=TOOLS)), *map(str, words), "-S", env=self.env
        )
        wait_until(lambda: self.status("vpn"), "netifd")

    def ubus(self, *words: str) -> str:
        return self.rig.alice.host.run(str(self.place / "bin" / "ubus"), *words)

    def status(self, interface: str) -> dict[str, Any]:
        """As `ifstatus` has it; empty where there is no such interface (yet)."""
        try:
            told: dict[str, Any] = json.loads(self.ubus("call", f"network.interface.{interface}", "status"))
        except SystemProblem:
            return {}
        return told

    def wait_up(self) -> dict[str, Any]:
        return wait_until(lambda: (told := self.status("vpn")).get("up") and told, "interface vpn up", 20)

    def pid(self) -> int:
        """Of the node's process."""
        return int((self.run_dir / "vpn.lock").read_text())


@pytest.fixture
def router() -> Iterator[Netifd]:
    missing = [name for name in NEEDED if shutil.which(name, path=TOOLS) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} are not on this machine: OpenWrt's own programs (OPENWRT_PREFIX)")
    with deployed(routes=True, start=False) as rig:
        rig.switch.start()
        rig.bob.start()
        rig.bob.wait("attachment of bob", attached=True)
        made = Netifd(rig)
        made.start()
        yield made


def test_a_router_with_netifd(router: Netifd) -> None:
    rig, host = router.rig, router.rig.alice.host
    told = router.wait_up()
    assert told["l3_device"] == "vpn"
    assert {f"{entry['address']}/{entry['mask']}" for entry in told["ipv4-address"]} == {f"{rig.alice.addresses[0]}/16"}
    assert told["data"]["switch"] == ["192.0.2.1"]
    ping(host, rig.bob.addresses[0])
    wait_until(lambda: LAN in host.ip("route", "show", "dev", "vpn"), "the route to bob's network")
    ping(host, "192.168.8.1")

    host.run(
        "env",
        *(f"{key}={value}" for key, value in router.env.items()),
        "ACTION=ifup",
        "sh",
        str(FILES / "ovng.hotplug"),
    )
    wait_until(lambda: "192.0.2.1 via 198.51.100.1" in host.ip("route"), "a host route to the Switch")

    first = router.pid()
    router.ubus("call", "network.interface.vpn", "renew")
    os.kill(first, 0)
    os.kill(first, 9)
    wait_until(lambda: (router.run_dir / "vpn.lock").exists() and router.pid() != first, "another process", 20)
    router.wait_up()
    ping(host, rig.bob.addresses[0])

    router.ubus("call", "network.interface.vpn", "down")
    wait_until(lambda: "vpn" not in host.devices(), "end of the interface")
    assert not router.status("vpn")["up"]
    router.ubus("call", "network.interface.vpn", "up")
    router.wait_up()
    ping(host, rig.bob.addresses[0])


def test_a_profile_that_cannot_be_used_waits_for_its_owner(router: Netifd) -> None:
    router.wait_up()
    profile = router.rig.alice.profile
    text = profile.read_text()
    profile.write_text(text + "\nmtu: 1\n")
    router.ubus("call", "network.interface.vpn", "down")
    router.ubus("call", "network.interface.vpn", "up")
    told = wait_until(lambda: (told := router.status("vpn")).get("errors") and told, "word of the error")
    assert [entry["code"] for entry in told["errors"]] == ["OVNG_BAD_PROFILE"]
    assert not told["up"] and not told["autostart"]
    profile.write_text(text)
    router.ubus("call", "network.interface.vpn", "up")
    router.wait_up()
