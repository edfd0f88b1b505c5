"""What netifd is told of an interface."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import threading
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from ovng.errors import SystemProblem
from ovng.io.netifd import Netifd, update

SWITCH = [ipaddress.ip_address("192.0.2.1")]


def test_the_message_is_the_whole_state() -> None:
    told = update(
        "vpn",
        "vpn",
        [ip_interface("10.77.0.2/16"), ip_interface("fd77::2/64")],
        [ip_network("192.168.8.0/24"), ip_network("fd08::/64")],
        SWITCH,
    )
    assert told == {
        "action": 0,
        "interface": "vpn",
        "ifname": "vpn",
        "link-up": True,
        "keep": False,
        "ipaddr": [{"ipaddr": "10.77.0.2", "mask": "16"}],
        "ip6addr": [{"ipaddr": "fd77::2", "mask": "64"}],
        "routes": [{"target": "192.168.8.0", "netmask": "24"}],
        "routes6": [{"target": "fd08::", "netmask": "64"}],
        "data": {"switch": ["192.0.2.1"]},
    }


def test_a_default_route_is_told_as_its_halves() -> None:
    told = update("vpn", "vpn", [], [ip_network("0.0.0.0/0"), ip_network("::/0")], [])
    assert told["routes"] == [{"target": "0.0.0.0", "netmask": "1"}, {"target": "128.0.0.0", "netmask": "1"}]
    assert told["routes6"] == [{"target": "::", "netmask": "1"}, {"target": "8000::", "netmask": "1"}]


async def made(file: Path) -> None:
    while not file.exists():
        await asyncio.sleep(0.01)


async def done(netifd: Netifd) -> None:
    while netifd._task is not None:
        await asyncio.sleep(0.01)


def ubus(place: Path, body: str) -> None:
    script = place / "ubus"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_without_ubus_it_says_what_that_means(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemProblem, match="for OpenWrt"):
        Netifd("vpn", print)


def test_while_one_word_is_under_way_the_newest_waits(place: Path) -> None:
    """The first call waits for a file that the test makes; of what is said meanwhile only the newest is told."""
    ubus(place, f'echo "$4" >> {place}/calls\nwhile [ ! -e {place}/go ]; do sleep 0.01; done')
    failures: list[str] = []

    async def talk() -> None:
        netifd = Netifd("vpn", failures.append)
        for number in range(1, 6):
            netifd.tell("vpn", [ip_interface(f"10.77.0.{number}/16")], [], SWITCH)
            while not (place / "calls").exists():
                await asyncio.sleep(0)
        netifd.tell("vpn", [ip_interface("10.77.0.5/16")], [], SWITCH)
        (place / "go").touch()
        await done(netifd)
        netifd.tell("vpn", [ip_interface("10.77.0.5/16")], [], SWITCH)
        assert netifd._task is None, "what it knows it is not told again"

    asyncio.run(talk())
    told = [json.loads(line)["ipaddr"][0]["ipaddr"] for line in (place / "calls").read_text().splitlines()]
    assert (told, failures) == (["10.77.0.1", "10.77.0.5"], [])


def test_a_refusal_is_handed_on_in_one_line(place: Path) -> None:
    ubus(place, "printf 'Command failed: Permission denied\\n' >&2; exit 6")
    failures: list[str] = []

    async def talk() -> None:
        netifd = Netifd("vpn", failures.append)
        netifd.tell("vpn", [], [], SWITCH)
        await done(netifd)

    asyncio.run(talk())
    assert failures == ["netifd refuses: Command failed: Permission denied"]


def test_a_word_under_way_at_the_end_is_gone_with_it(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A loop that closes before it has heard of the end of a process says so in the log."""
    ubus(place, f"echo $$ > {place}/pid.new && mv {place}/pid.new {place}/pid; exec sleep 60")

    async def talk() -> None:
        netifd = Netifd("vpn", print)
        netifd.tell("vpn", [], [], SWITCH)
        await made(place / "pid")
        netifd.close()  # and the loop, which cancels once more

    asyncio.run(talk())
    with pytest.raises(ProcessLookupError):
        os.kill(int((place / "pid").read_text()), 0)
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio-waitpid"):
            thread.join()
    assert not caplog.messages


def test_after_a_refusal_nothing_more_is_told(place: Path) -> None:
    ubus(place, f'echo "$4" >> {place}/calls\nwhile [ ! -e {place}/go ]; do sleep 0.01; done; exit 6')
    failures: list[str] = []

    async def talk() -> None:
        netifd = Netifd("vpn", failures.append)
        netifd.tell("vpn", [ip_interface("10.77.0.1/16")], [], SWITCH)
        await made(place / "calls")
        netifd.tell("vpn", [ip_interface("10.77.0.2/16")], [], SWITCH)
        (place / "go").touch()
        await done(netifd)

    asyncio.run(talk())
    assert len(failures) == len((place / "calls").read_text().splitlines()) == 1
