"""Two nodes and a Switch as the README sets them up: ping, iperf3 both ways, a host behind a node, IPv4 and IPv6."""

from __future__ import annotations

import json
import sys

import pytest

from ovng.demo.capture import Capture
from ovng.demo.net import wait_until
from tests.netns.rig import PORT, Rig, eventually, iperf, ping, star

pytestmark = pytest.mark.root

GIGABYTE = 1_000_000_000
LAN4, LAN6 = "192.168.8", "fd08:8::"


@pytest.mark.parametrize("outer", [4, 6])
def test_ping_iperf_and_a_host_behind_a_node(outer: int) -> None:
    with star("a", outer=outer) as rig:
        router = rig.add("b", "--route", f"{LAN4}.0/24", "--route", f"{LAN6}/64")
        with router.profile.open("a") as profile:
            profile.write("\nforward: true\n")
        box = rig.net.host("box")
        rig.net.join(rig.hosts["b"], box, [f"{LAN4}.1/24", f"{LAN6}1/64"], [f"{LAN4}.9/24", f"{LAN6}9/64"])
        box.default_via(f"{LAN4}.1", f"{LAN6}1")
        rig.start("b")
        a, b = rig.hosts["a"], rig.hosts["b"]

        seen = Capture(rig.hub, "a", snaplen=200)
        for address in router.addresses:
            assert ping(a, address, count=5) < 50
        for address in rig["a"].addresses:
            ping(b, address)
        assert iperf(b, a, router.addresses[0]) > 0.2
        assert iperf(b, a, router.addresses[0], 2.0, "--reverse") > 0.2
        assert iperf(b, a, router.addresses[1]) > 0.2

        wait_until(lambda: len(rig["a"].status()["routes"]["taken"]) == 2, "routes to the LAN")
        ping(a, f"{LAN4}.9")
        ping(a, f"{LAN6}9")
        _download(rig, f"http://{LAN4}.9:8000/file")

        (session,) = rig["a"].sessions().values()
        assert rig["b"].sessions() == {rig["a"].id: session}
        assert {locator.rsplit(":", 1)[0] for locator in rig.locators().values()} == {
            f"[{rig.address(name)}]" if outer == 6 else rig.address(name) for name in "ab"
        }
        seen.stop()
        _only_the_switch(seen, outer)


def _download(rig: Rig, url: str) -> None:
    """A gigabyte by `curl` on node a, from a web server that knows nothing of ovng."""
    box = rig.net.hosts[-1]
    folder = rig.net.directory / "www"
    folder.mkdir()
    with (folder / "file").open("wb") as file:
        file.truncate(GIGABYTE)
    box.start("www", sys.executable, "-u", "-m", "http.server", "-d", str(folder), "8000")
    eventually(lambda: ":8000" in box.run("ss", "-Hltn"), "web server")
    words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download} %{http_code}", url]
    assert rig.hosts["a"].run(*words, timeout=120) == f"{GIGABYTE} 200"


def _only_the_switch(capture: Capture, outer: int) -> None:
    """Whatever passed between node and Switch is UDP to or from the one port; ARP and neighbour discovery apart."""
    count = 0
    for frame in capture.packets():
        kind = int.from_bytes(frame[12:14], "big")
        if kind == 0x0806 or (kind == 0x86DD and frame[20] == 58):
            continue
        assert kind == (0x86DD if outer == 6 else 0x0800), frame[:60].hex()
        transport = frame[54:] if outer == 6 else frame[14 + 4 * (frame[14] & 15) :]
        assert frame[20 if outer == 6 else 23] == 17, frame[:60].hex()
        assert PORT in (int.from_bytes(transport[:2], "big"), int.from_bytes(transport[2:4], "big"))
        count += 1
    assert count > 100


def test_status_from_the_command_line() -> None:
    with star("a", "b") as rig:
        rig.meet("a", "b")
        status = json.loads(rig["a"].ovng("status", "--json"))
        assert (status["name"], status["kind"], status["network"]) == ("a", "node", "home")
        assert status["switch"]["id"] == rig.switch.id and status["switch"]["attached"]
        (peer,) = status["peers"]
        assert peer["id"] == rig["b"].id and peer["cipher"] and peer["group"]
        assert status["locators"][-1]["locator"].startswith(rig.address("a"))
        switch = json.loads(rig.switch.ovng("status", "--json"))
        assert switch["node_count"] == 2 and {node["id"] for node in switch["nodes"]} == {rig["a"].id, rig["b"].id}
        for words in (rig["a"].ovng("status"), rig.switch.ovng("status")):
            assert rig["a"].id in words


def test_the_interface_goes_with_the_process() -> None:
    with star("a") as rig:
        host = rig.hosts["a"]
        assert "ovng0" in host.devices()
        assert rig["a"].stop() == 0
        assert "ovng0" not in host.devices()
        assert "10.77" not in host.ip("route", "show", "table", "all")
        assert rig.switch.stop() == 0


def test_down_ends_a_node() -> None:
    with star("a") as rig:
        process = rig["a"].process
        rig["a"].ovng("down")
        assert process is not None and process.wait(10) == 0
        assert "ovng0" not in rig.hosts["a"].devices()


def test_what_a_killed_node_left_is_taken_away() -> None:
    with star("a", "b", settings={"b": "forward: true"}) as rig:
        for again in ("down", "up"):
            rig["a"].kill()
            if again == "down":
                rig["a"].ovng("down", "a")
                assert "ovng0" not in rig.hosts["a"].devices()
            rig.start("a")
            rig.meet("a", "b")


def test_ip_forward_off_is_said_by_name() -> None:
    with star(start=False) as rig:
        rig.add("a", "--route", "192.168.8.0/24")
        rig.start()
        process = rig["a"].process
        assert process is not None
        eventually(lambda: "ip_forward" in process.output, "warning")
        assert any("ip_forward" in line for line in rig["a"].status()["warnings"])
        with rig.hosts["a"].inside():
            from pathlib import Path

            assert Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "0"
