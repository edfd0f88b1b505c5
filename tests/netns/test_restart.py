"""Ends and beginnings: kill -9 and restart of the Switch and of a node, the same profile twice, signals, systemd."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovng.clock import now
from ovng.demo.deployment import Member, configure
from ovng.demo.net import Host, wait_until
from ovng.errors import SystemProblem
from tests.netns.rig import Rig, Stream, conversation, deployed, ping, say

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with deployed(routes=True, bob="forward: true") as made:
        yield made


def test_the_switch_is_killed_and_started_again(rig: Rig) -> None:
    rig.meet()
    # What the Switch has not told by its end is asked for 15 to 75 s later only (PROTOCOL 7).
    wait_until(lambda: rig.alice.status()["routes"]["taken"], "alice's routes")
    before = [node.status() for node in rig.nodes]
    with Stream(rig.alice, rig.bob, 200) as there, Stream(rig.bob, rig.alice, 200) as back:
        wait_until(lambda: there.count > 50 and back.count > 50, "streams")
        rig.switch.kill()
        count = there.count
        started = now().mono
        rig.switch.start()
        wait_until(lambda: there.later(started) > 20 and back.later(started) > 20, "traffic both ways after it", 30)
        after = [node.status() for node in rig.nodes]
        granted = rig.counter("attach_granted")
        assert there.count > count
    for old, new in zip(before, after, strict=True):
        assert sessions(old) == sessions(new), "a TLS handshake between nodes"
        assert old["switch"]["tls_count"] == new["switch"]["tls_count"], "a TLS handshake with the Switch"
        assert old["switch"]["boot"] != new["switch"]["boot"]
    assert granted == 0, "the Switch attached somebody by TLS"
    gap = max(there.longest_silence(started), back.longest_silence(started))
    say(f"kill -9 of the Switch and restart: traffic was back {there.first(started) - started:.2f} s after the start")
    say(f"command, silence {gap:.2f} s, no TLS")


def test_a_killed_node_talks_again_when_only_its_peer_sends(rig: Rig) -> None:
    """Within 2 s from the start command, Python's own start included; a busy machine has three tries."""
    rig.meet()
    times: list[float] = []
    while not times or (min(times) > 2.0 and len(times) < 3):
        with Stream(rig.alice, rig.bob, 100) as stream:
            wait_until(lambda: stream.count > 20, "stream")
            rig.bob.kill()
            started = now().mono
            rig.bob.start()
            wait_until(lambda: stream.later(started) > 20, "the peer's packets")  # noqa: B023
            times.append(stream.first(started) - started)
        assert rig.bob.sessions() == {rig.alice.id: rig.alice.sessions()[rig.bob.id]}
    say(f"a killed node hears its peer {', '.join(f'{seconds:.2f}' for seconds in times)} s after its start command")
    assert min(times) < 2.0


def test_what_a_killed_node_leaves_goes_with_the_next_up_or_down(rig: Rig) -> None:
    assert forwarding(rig.bob.host) == "1"
    rig.bob.kill()
    assert forwarding(rig.bob.host) == "1", "nothing was left: the test proves nothing"
    rig.bob.start()
    rig.bob.wait("attachment", attached=True)
    assert rig.bob.process is not None
    assert "removed what a killed run left: sysctl net.ipv4.ip_forward back to 0" in rig.bob.process.output
    assert forwarding(rig.bob.host) == "1"

    rig.bob.kill()
    words = rig.bob.ovng("down", rig.bob.name)
    assert "sysctl net.ipv4.ip_forward back to 0" in words
    assert "control socket" in words
    assert forwarding(rig.bob.host) == "0"
    assert runtime_files(rig.bob) == set()
    with pytest.raises(SystemProblem, match="is not running, and left nothing behind"):
        rig.bob.ovng("down", rig.bob.name)
    rig.bob.start()
    rig.bob.wait("attachment", attached=True)


def test_an_interface_that_outlived_its_process_is_removed(rig: Rig) -> None:
    """The kernel removes a TUN device with its process; one that another program keeps is ours to remove."""
    rig.bob.kill()
    wait_until(lambda: "ovng0" not in rig.bob.host.devices(), "end of the interface")
    rig.bob.host.ip("tuntap", "add", "dev", "ovng0", "mode", "tun")
    rig.bob.start()
    rig.bob.wait("attachment", attached=True)
    rig.meet()


def test_the_same_profile_twice(rig: Rig) -> None:
    """The later one wins: traffic goes there. The earlier one says why it ends, and exits 3."""
    rig.meet()
    twin_host = rig.net.host("twin")
    rig.net.join(rig.switch.host, twin_host, ["198.51.105.1/24"], ["198.51.105.2/24"])
    twin_host.default_via("198.51.105.1")
    folder = rig.net.directory / "twin"
    folder.mkdir()
    profile = shutil.copy2(rig.bob.profile, folder / "twin.ovng")
    twin = Member(rig.network, twin_host, "up", Path(profile))
    twin.name, twin.id, twin.addresses = rig.bob.name, rig.bob.id, rig.bob.addresses
    earlier = rig.bob.process
    assert earlier is not None
    twin.start()
    try:
        wait_until(lambda: earlier.status is not None, "end of the earlier process")
        assert earlier.status == 3
        assert "another process runs with this profile and has taken over" in earlier.output.splitlines()[-1]
        assert rig.bob.host.devices() == ["box", "switch"], "it left its interface behind"
        twin.wait("attachment of the later one", attached=True)
        (locator,) = rig.table()[rig.bob.id]["locators"]
        assert locator.startswith("198.51.105.2:")
        ping(rig.alice, rig.bob.addresses[0])
        assert twin.status()["peers"][0]["rx_packets"] >= 1
    finally:
        twin.stop()
    rig.bob.process = None
    rig.bob.start()
    rig.bob.wait("attachment", attached=True)
    rig.meet()


def test_sigterm_leaves_nothing(rig: Rig) -> None:
    rig.meet()
    wait_until(lambda: rig.alice.status()["routes"]["taken"], "alice's routes")
    assert "ovng0" in rig.alice.host.devices()
    assert "192.168.8.0/24" in rig.alice.host.ip("route")
    assert runtime_files(rig.alice) == {"alice.lock", "alice.sock", "alice.journal"}
    assert rig.alice.stop() == 0
    assert rig.alice.host.devices() == ["switch"]
    assert "192.168.8.0/24" not in rig.alice.host.ip("route")
    assert runtime_files(rig.alice) == set()
    wait_until(lambda: rig.table()[rig.alice.id]["state"] == "away", "alice away in the Switch's table")
    wait_until(lambda: rig.alice.id not in rig.bob.sessions(), "end of the session at bob")
    rig.alice.start()
    rig.alice.wait("attachment", attached=True)


def test_sighup_reloads_the_profile(rig: Rig) -> None:
    configure(rig.alice.profile, accept_routes='["10.0.0.0/8"]')
    wait_until(lambda: "192.168.8.0/24" in rig.alice.host.ip("route"), "the route")
    before = conversation(rig.alice.status())
    rig.alice.reload()
    wait_until(lambda: "192.168.8.0/24" not in rig.alice.host.ip("route"), "end of the route")
    refused = rig.alice.status()["routes"]["refused"]
    assert any(entry["prefix"] == "192.168.8.0/24" for entry in refused)
    assert conversation(rig.alice.status()) == before

    configure(rig.alice.profile, accept_routes="[1]")
    rig.alice.reload()
    process = rig.alice.process
    assert process is not None
    wait_until(lambda: "reload refused, everything goes on as before" in process.output, "refusal in the log")
    assert re.search(r"alice\.ovng:\d+: accept_routes: ", process.output.splitlines()[-1])

    configure(rig.alice.profile, accept_routes='["192.168.0.0/16"]')
    assert "reloaded" in rig.alice.ovng("reload", "alice")
    wait_until(lambda: "192.168.8.0/24" in rig.alice.host.ip("route"), "the route again")


def test_systemd_is_told(rig: Rig) -> None:
    """READY=1 once it works, RELOADING=1 with a time and READY=1 again, STOPPING=1."""
    for member in (rig.alice, rig.switch):
        path = rig.net.directory / f"notify-{member.name}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(path))
            systemd.settimeout(15)
            member.stop()
            member.start(env={"NOTIFY_SOCKET": str(path)})
            words = systemd.recv(4096).decode()
            assert words.startswith("READY=1\nSTATUS="), "the first word is not READY"
            while ("attached to" if member is rig.alice else "listening on") not in words:
                words = systemd.recv(4096).decode()
            member.reload()
            assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", systemd.recv(4096).decode())
            assert systemd.recv(4096).decode().startswith("READY=1")
            member.stop()
            assert systemd.recv(4096).decode() == "STOPPING=1"
        member.start()
        member.wait("start", kind="node" if member is rig.alice else "switch")


# -- Means


def sessions(status: dict[str, object]) -> list[tuple[str, str, int]]:
    """Peer, session and generation."""
    peers = status["peers"]
    assert isinstance(peers, list)
    return sorted((peer["id"], peer["session"], peer["generation"]) for peer in peers)


def forwarding(host: Host) -> str:
    """The host's net.ipv4.ip_forward."""
    return host.run("sysctl", "-n", "net.ipv4.ip_forward").strip()


def runtime_files(member: Member) -> set[str]:
    """What it has in its runtime directory, which goes with the last of it."""
    return {path.name for path in member.runtime.iterdir()} if member.runtime.is_dir() else set()
