"""The Debian package on Debian machines with their own systemd: set up, used and taken away as people do it.

    alice ───── hub (Switch) ───── bob
    198.51.100.2      192.0.2.1      203.0.113.2

Nothing of the source tree is on them. `make test-deb` runs this, and makes what it needs: dist/*.deb, tools/machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovng.demo.net import Net, run, wait_until
from tests.packaging.machine import BASE, Layer, Machine, booted, need_machines
from tests.quality.sources import ROOT

pytestmark = [pytest.mark.root, pytest.mark.long]

PACKAGE = ROOT / "dist/ovng_0.1.0_amd64.deb"
DOMAIN = "home.example"


@dataclass
class Installed:
    """A file system with the package."""

    layer: Layer
    files_before: set[str]


@dataclass
class Scene:
    """All machines run, and the services on them."""

    hub: Machine
    alice: Machine
    bob: Machine


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Where layers lie: overlayfs needs a real file system for them."""
    need_machines()
    if not PACKAGE.exists():
        pytest.skip(f"needs {PACKAGE}: run `make deb`")
    path = ROOT / f"build/machines-{os.getpid()}"
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def installed(directory: Path) -> Installed:
    layer = Layer(directory / "installed", [BASE])
    with layer.mounted() as top:
        before = _files(top)
        _apt(top, "install", "--yes", "./ovng.deb")  # with what it recommends, as people do: hub keeps the CA
    return Installed(layer, before)


def _apt(top: Path, *words: str) -> None:
    """apt-get in a file system, with this machine's network."""
    shutil.copy(PACKAGE, top / "root/ovng.deb")
    shutil.copy("/etc/resolv.conf", top / "etc/resolv.conf.apt")
    (top / "etc/resolv.conf.apt").replace(top / "etc/resolv.conf")
    command = f"cd /root && DEBIAN_FRONTEND=noninteractive apt-get -qq {' '.join(words)}"
    run("chroot", str(top), "sh", "-c", command, timeout=600)
    (top / "etc/resolv.conf").unlink()
    (top / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")


def _files(top: Path) -> set[str]:
    skip = {"dev", "proc", "sys", "run", "tmp"}
    found = set[str]()
    for name in sorted(os.listdir(top)):  # noqa: PTH208
        if name not in skip:
            found.update(str(path.relative_to(top)) for path in (top / name).rglob("*"))
    return found


@pytest.fixture(scope="module")
def scene(installed: Installed, directory: Path) -> Iterator[Scene]:
    """The README's three machines."""
    with Net("deb") as net:
        hub, alice, bob = map(net.host, ("hub", "alice", "bob"))
        net.join(hub, alice, ["198.51.100.1/24"], ["198.51.100.2/24"])
        net.join(hub, bob, ["203.0.113.1/24"], ["203.0.113.2/24"])
        hub.add_address("lo", "192.0.2.1/32")
        alice.default_via("198.51.100.1")
        bob.default_via("203.0.113.1")
        with booted(net, directory / "layers", [installed.layer.upper, BASE], hub, alice, bob) as machines:
            made = Scene(*machines)
            _set_up(made)
            yield made


def _set_up(scene: Scene) -> None:
    hub = scene.hub
    words = "home --prefix 10.77.0.0/16 --prefix fd77::/64 --switch 192.0.2.1:5140"
    _issue(hub, "ca", "init", *words.split())
    _issue(hub, "ca", "-C", "home", "issue", "alice", "--dns", "10.77.0.2", "--domain", DOMAIN)
    _issue(hub, "ca", "-C", "home", "issue", "bob")
    hub.run("ovng", "install-service", "home/switch.ovng")
    for machine in (scene.alice, scene.bob):
        profile = machine.path(f"root/{machine.name}.ovng")
        shutil.copy(hub.path(f"root/home/{machine.name}.ovng"), profile)
        profile.chmod(0o600)
        machine.run("ovng", "install-service", f"{machine.name}.ovng", seconds=120)
    ping(scene.alice, "10.77.0.2")


def _issue(machine: Machine, *words: str) -> None:
    machine.run("ovng", *words)


def ping(machine: Machine, address: str) -> None:
    wait_until(lambda: machine.result("ping", "-c1", "-W1", address)[0] == 0, f"answer of {address}", 60)


def service(machine: Machine, key: str, unit: str) -> str:
    return machine.run("systemctl", "show", "--value", "--property", key, unit).strip()


# -- What the package brings


def test_the_package_goes_without_a_trace(directory: Path, installed: Installed) -> None:
    layer = Layer(directory / "removed", [installed.layer.upper, BASE])
    with layer.mounted() as top:
        assert (top / "usr/bin/ovng").exists() and list((top / "usr/lib/python3/dist-packages/ovng").rglob("*.pyc"))
        (top / "etc/ovng/keep.ovng").write_text("a key")
        _apt(top, "remove", "--yes", "ovng")
        assert (top / "etc/ovng/keep.ovng").exists() and not (top / "usr/bin/ovng").exists()
        (top / "etc/ovng/keep.ovng").unlink()
        _apt(top, "purge", "--yes", "ovng")
        _apt(top, "autoremove", "--purge", "--yes")
        left = {path for path in _files(top) - installed.files_before if "ovng" in path}
        assert left <= {"root/ovng.deb"}, sorted(left)
    shutil.rmtree(directory / "removed")


def test_pages_and_completions_are_found(scene: Scene) -> None:
    assert "install-service" in scene.hub.run("man", "-w", "ovng-install-service")
    ask = "source /usr/share/bash-completion/bash_completion; _completion_loader ovng; complete -p ovng"
    assert "_ovng" in scene.hub.run("bash", "-c", ask)


# -- Services


def test_they_talk(scene: Scene) -> None:
    ping(scene.bob, "10.77.0.1")
    ping(scene.alice, "fd77::2")
    assert "2 nodes" in scene.hub.run("ovng", "status")


def test_the_switch_has_no_power(scene: Scene) -> None:
    pid = service(scene.hub, "MainPID", "ovng-switch")
    status = dict(line.split(":\t", 1) for line in scene.hub.path(f"proc/{pid}/status").read_text().splitlines())
    assert status["Uid"].split()[0] != "0" and int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_a_node_has_two(scene: Scene) -> None:
    pid = service(scene.alice, "MainPID", "ovng@alice")
    status = dict(line.split(":\t", 1) for line in scene.alice.path(f"proc/{pid}/status").read_text().splitlines())
    assert int(status["CapBnd"], 16) == (1 << 12) | (1 << 13)  # CAP_NET_ADMIN, CAP_NET_RAW
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_reload_brings_a_renewed_profile_to_the_switch(scene: Scene) -> None:
    pid = service(scene.hub, "MainPID", "ovng-switch")
    scene.hub.run("ovng", "ca", "-C", "home", "renew", "switch")
    shutil.copy(scene.hub.path("root/home/switch.ovng"), scene.hub.path("etc/ovng/switch.ovng"))
    scene.hub.run("systemctl", "reload", "ovng-switch")
    assert "new certificate in use" in scene.hub.run("journalctl", "-u", "ovng-switch", "-o", "cat")
    assert "as it was at the start" in scene.hub.run("ovng", "reload", "switch")
    assert service(scene.hub, "MainPID", "ovng-switch") == pid


def test_a_killed_switch_comes_back_and_knows_its_nodes(scene: Scene) -> None:
    pid = service(scene.hub, "MainPID", "ovng-switch")
    scene.hub.run("systemctl", "kill", "--signal=KILL", "ovng-switch")
    wait_until(lambda: service(scene.hub, "MainPID", "ovng-switch") not in ("0", pid), "new Switch", 30)
    ping(scene.alice, "10.77.0.2")


def test_hooks_run_in_the_service(scene: Scene) -> None:
    hook = scene.alice.path("etc/ovng/hooks.d/note")
    hook.write_text('#!/bin/sh\necho "$1 $(ip -br link show dev ovng0 | wc -l)" >>/run/note\n')
    hook.chmod(0o755)
    scene.alice.run("systemctl", "restart", "ovng@alice")
    wait_until(lambda: scene.alice.path("run/note").exists(), "words of the hook", 30)
    assert scene.alice.path("run/note").read_text().splitlines()[0].endswith(" 1")
    hook.unlink()
    ping(scene.alice, "10.77.0.2")


def test_a_wrong_profile_is_not_started_again_and_again(scene: Scene) -> None:
    profile = scene.bob.path("etc/ovng/bad.ovng")
    profile.write_text("ovng: 1\nkind: nod\n")
    profile.chmod(0o600)
    assert scene.bob.result("systemctl", "start", "ovng@bad")[0]
    assert (
        service(scene.bob, "NRestarts", "ovng@bad") == "0" and service(scene.bob, "Result", "ovng@bad") == "exit-code"
    )
    profile.unlink()
    scene.bob.run("systemctl", "reset-failed", "ovng@bad")


# -- Neighbours on a laptop


def test_network_manager_leaves_the_interface_alone(scene: Scene) -> None:
    rows = scene.alice.run("nmcli", "-t", "-f", "DEVICE,STATE", "device").splitlines()
    assert "ovng0:unmanaged" in rows, rows
    scene.alice.run("systemctl", "restart", "NetworkManager")
    ping(scene.alice, "10.77.0.2")


def test_networkd_leaves_the_interface_alone(scene: Scene) -> None:
    """Even one that configures every interface it sees."""
    everything = scene.bob.path("etc/systemd/network/80-all.network")
    everything.parent.mkdir(exist_ok=True)
    everything.write_text("[Match]\nName=ovng* nothing*\n[Network]\nDHCP=yes\nAddress=10.99.0.1/24\n")
    scene.bob.run("systemctl", "start", "systemd-networkd")
    try:
        wait_until(
            lambda: "unmanaged" in scene.bob.run("networkctl", "list", "--no-legend", "ovng0"), "word of networkd"
        )
        assert "10.99.0.1" not in scene.bob.run("ip", "address", "show", "dev", "ovng0")
        ping(scene.bob, "10.77.0.1")
    finally:
        scene.bob.run("systemctl", "stop", "systemd-networkd", "systemd-networkd.socket")


def test_names_through_systemd_resolved(scene: Scene) -> None:
    alice, bob = scene.alice, scene.bob
    answer = f"--address=/{DOMAIN}/10.77.0.2"
    words = ["dnsmasq", "--no-resolv", "--no-hosts", answer, "--listen-address=10.77.0.2", "--bind-interfaces"]
    bob.run("systemd-run", "--unit=names", *words, "--keep-in-foreground")
    assert alice.run("resolvectl", "dns", "ovng0").split()[-1] == "10.77.0.2"
    assert alice.run("resolvectl", "domain", "ovng0").split()[-1] == f"~{DOMAIN}"
    asked = lambda: alice.result("getent", "ahostsv4", f"truck.{DOMAIN}")[1].startswith("10.77.0.2")  # noqa: E731
    wait_until(asked, "answer of the network's DNS server", 30)
    alice.run("systemctl", "restart", "systemd-resolved")
    assert alice.run("resolvectl", "dns", "ovng0").split()[-1] == "10.77.0.2", "kept over a restart of the resolver"
    alice.run("systemctl", "stop", "ovng@alice")
    assert "10.77.0.2" not in alice.run("resolvectl", "dns")
    alice.run("systemctl", "start", "ovng@alice")
    bob.run("systemctl", "stop", "names")


@pytest.mark.parametrize("package", ["openresolv", "resolvconf"])
def test_names_through_resolvconf(scene: Scene, package: str) -> None:
    """Last, because it takes bob's systemd-resolved away."""
    bob = scene.bob
    bob.result("dpkg", "--purge", "--force-depends", "libnss-resolve", "systemd-resolved", "openresolv", "resolvconf")
    # What systemd-resolved leaves in /run would be pulled in by resolvconf, as if it were still there.
    bob.run("rm", "-rf", "/etc/resolv.conf", "/run/systemd/resolve")
    bob.run("sh", "-c", "echo nameserver 203.0.113.53 >/etc/resolv.conf")
    bob.run("sh", "-c", f"dpkg -i /root/{package}_*.deb")
    bob.run("sh", "-c", "echo nameserver 203.0.113.53 | resolvconf -a hub.test")
    before = bob.path("etc/resolv.conf").read_text()
    profile = bob.path("etc/ovng/bob.ovng")
    if "\ndns:" not in profile.read_text():
        profile.write_text(profile.read_text() + f"dns: {{servers: [10.77.0.1], domains: [{DOMAIN}]}}\n")
    bob.run("systemctl", "restart", "ovng@bob")
    text = bob.run("cat", "/etc/resolv.conf")
    servers = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver")]
    assert servers == ["10.77.0.1", "203.0.113.53"] and DOMAIN in text, text
    killed = service(bob, "MainPID", "ovng@bob")
    bob.run("systemctl", "kill", "--signal=KILL", "ovng@bob")
    wait_until(lambda: service(bob, "ActiveState", "ovng@bob") != "active", "end of the killed one", 30)
    wait_until(lambda: service(bob, "ActiveState", "ovng@bob") == "active", "new start", 30)
    assert service(bob, "MainPID", "ovng@bob") != killed
    bob.run("systemctl", "kill", "--signal=KILL", "ovng@bob")
    bob.run("systemctl", "stop", "ovng@bob")  # before it starts again, or while it does
    assert bob.run("cat", "/etc/resolv.conf") == before
    bob.run("systemctl", "start", "ovng@bob")


# -- The end


def test_uninstall_takes_all_back(scene: Scene) -> None:
    for machine, name in ((scene.hub, "switch"), (scene.alice, "alice"), (scene.bob, "bob")):
        said = machine.run("ovng", "uninstall-service", name)
        assert "ended, and starts no more" in said and f"/etc/ovng/{name}.ovng: removed" in said
        assert "ovng0" not in machine.run("ip", "-br", "link")
        assert machine.result("systemctl", "list-units", "--all", "--no-legend", "ovng*")[1].count(".service") == 0
    assert not scene.hub.path("var/lib/private/ovng-switch").exists()
