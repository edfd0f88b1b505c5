"""up, status, reload, down and doctor of real services in a namespace; what a killed one leaves is cleared away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovng.clock import now

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

OVNG = [sys.executable, "-m", "ovng.cli.main"]
REPOSITORY = Path(__file__).parents[2]
PATIENCE = 20.0


class Machine:
    """A namespace with profiles of one network."""

    def __init__(self, folder: Path) -> None:
        self.namespace, self.folder = f"verbs-{os.getpid()}-0-system", folder
        self.environment = {**os.environ, "OVNG_RUNTIME_DIR": str(folder / "run"), "PYTHONPATH": str(REPOSITORY)}
        self._services: list[subprocess.Popen[str]] = []
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)

    def close(self) -> None:
        for service in self._services:
            service.kill()
            service.communicate()
        subprocess.run(["ip", "netns", "del", self.namespace], check=True)

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(words),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment,
            cwd=self.folder,
        )

    def ovng(self, *words: str) -> str:
        done = self.run(*OVNG, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a service, and wait until it answers."""
        service = subprocess.Popen(
            self._command((*OVNG, *words)), stderr=subprocess.PIPE, text=True, env=self.environment, cwd=self.folder
        )
        self._services.append(service)
        end = now().mono + PATIENCE
        while self.run(*OVNG, "status", "--json", words[-1]).returncode != 0:
            assert service.poll() is None, service.communicate()[1]
            assert now().mono < end, "it never answered"
        return service

    def status(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.ovng("status", "--json", name))
        return document

    def interfaces(self) -> set[str]:
        return {entry["ifname"] for entry in json.loads(self.run("ip", "-j", "link").stdout)}

    def left(self) -> set[str]:
        return {path.name for path in (self.folder / "run").iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    try:
        machine.run("ip", "link", "set", "lo", "up")
        machine.ovng("ca", "init", "lab", "--prefix", "10.77.0.0/16", "--switch", "127.0.0.1:5140")
        machine.ovng("ca", "-C", "lab", "issue", "truck", "-o", "truck.ovng")
        yield machine
    finally:
        machine.close()


def test_the_life_of_a_node(machine: Machine) -> None:
    service = machine.start("up", "truck.ovng")
    status = machine.status("truck")
    assert (status["name"], status["kind"], status["network"]) == ("truck", "node", "lab")
    assert "ovng0" in machine.interfaces()
    assert "NOT ATTACHED" in machine.ovng("status")
    assert "is already running (pid" in machine.run(*OVNG, "up", "truck.ovng").stderr
    assert machine.ovng("reload") == "truck: reloaded\n"
    assert machine.ovng("down") == "truck: ended\n"
    assert service.wait(PATIENCE) == 0
    assert "ovng0" not in machine.interfaces()
    assert machine.left() == set()


def test_a_node_and_its_switch(machine: Machine) -> None:
    machine.start("switch", "lab/switch.ovng")
    machine.start("up", "truck.ovng")
    end = now().mono + PATIENCE
    while not machine.status("truck")["switch"]["attached"]:
        assert now().mono < end, machine.status("truck")
    node = machine.status("truck")
    hub = machine.status("lab/switch.ovng")
    assert hub["kind"] == "switch"
    assert hub["node_count"] == 1
    assert hub["nodes"][0]["id"] == node["id"]
    assert node["switch"]["id"] == hub["id"]
    assert node["id"] in machine.ovng("status", hub["name"])
    assert "several run here: name one of" in machine.run(*OVNG, "down").stderr
    machine.ovng("down", "truck.ovng")
    machine.ovng("down", "lab/switch.ovng")
    assert machine.left() == set()


def test_one_that_runs_leaves_nothing(machine: Machine) -> None:
    """What systemd calls after each end: another that runs under the name, or nothing at all, is no reason to do so."""
    machine.start("up", "truck.ovng")
    assert machine.ovng("down", "--leftovers", "truck.ovng") == ""
    assert machine.status("truck")["name"] == "truck"
    machine.ovng("down")
    assert machine.ovng("down", "--leftovers", "truck.ovng") == ""


@pytest.mark.parametrize("verb", ["up", "down", "down --leftovers"])
def test_what_a_killed_one_left_is_cleared(machine: Machine, verb: str) -> None:
    """The kernel takes the TUN device away with its process. Where it cannot, as here where another took the name and
    routes of ours are still there, the next `up` or `down` does."""
    service = machine.start("up", "truck.ovng")
    pid = int((machine.folder / "run" / "truck.lock").read_text())
    os.kill(pid, signal.SIGKILL)
    service.wait(PATIENCE)
    machine.run("ip", "tuntap", "add", "ovng0", "mode", "tun")
    machine.run("ip", "link", "set", "ovng0", "up")
    machine.run("ip", "route", "add", "10.99.0.0/16", "dev", "ovng0", "proto", "111")
    assert machine.left() == {"truck.lock", "truck.sock", "truck.journal"}
    if verb == "up":
        machine.start("up", "truck.ovng")
        assert "10.99.0.0/16" not in machine.run("ip", "route").stdout
        assert "ovng0" in machine.interfaces()
        assert machine.ovng("down") == "truck: ended\n"
    else:
        told = machine.ovng(*verb.split(), "truck.ovng")
        assert "truck: removed route to 10.99.0.0/16 through ovng0" in told
        assert "truck: removed interface ovng0" in told
    assert "ovng0" not in machine.interfaces()
    assert machine.left() == set()


@pytest.mark.parametrize(
    ("verb", "profile", "name"), [("switch", "lab/switch.ovng", "switch"), ("up", "truck.ovng", "truck")]
)
def test_a_wrong_profile_at_reload_ends_nothing(machine: Machine, verb: str, profile: str, name: str) -> None:
    """By `ovng reload` and by SIGHUP, as systemd does it: told in the log, and everything goes on."""
    service = machine.start(verb, profile)
    path = machine.folder / profile
    good = path.read_text()
    path.write_text(good + "\nno_such_key: 1\n")
    asked = machine.run(*OVNG, "reload", profile)
    assert asked.returncode != 0 and "no_such_key" in asked.stderr
    os.kill(int((machine.folder / "run" / f"{name}.lock").read_text()), signal.SIGHUP)
    end = now().mono + 3
    while now().mono < end:
        assert service.poll() is None, "it ended"
        machine.status(profile)
    path.write_text(good)
    assert machine.ovng("reload", profile) == f"{name}: reloaded\n"
    machine.ovng("down", profile)
    assert service.wait(PATIENCE) == 0
    assert service.stderr is not None
    assert service.stderr.read().count("reload refused") == 1


def test_a_crl_of_another_ca_is_refused_by_name(machine: Machine) -> None:
    """Who revokes somebody and is not heard must know."""
    machine.start("switch", "lab/switch.ovng")
    before = machine.status("lab/switch.ovng")["crl_number"]
    machine.ovng("ca", "init", "other", "--prefix", "10.78.0.0/16", "--switch", "127.0.0.1:5141")
    for name in ("one", "two"):
        machine.ovng("ca", "-C", "other", "issue", name, "-o", f"{name}.ovng")
        machine.ovng("ca", "-C", "other", "revoke", name)
    (machine.folder / "lab" / "crl.der").write_bytes((machine.folder / "other" / "crl.der").read_bytes())
    asked = machine.run(*OVNG, "reload", "lab/switch.ovng")
    assert asked.returncode != 0
    assert "crl.der: is no revocation list of this network's CA" in asked.stderr
    assert machine.status("lab/switch.ovng")["crl_number"] == before


def test_sigterm_is_a_clean_end(machine: Machine) -> None:
    service = machine.start("up", "truck.ovng")
    os.kill(int((machine.folder / "run" / "truck.lock").read_text()), signal.SIGTERM)
    assert service.wait(PATIENCE) == 0
    assert machine.interfaces() == {"lo"}
    assert machine.left() == set()


def test_doctor_makes_nothing(machine: Machine) -> None:
    assert json.loads(machine.ovng("doctor", "--json"))["ok"]
    assert machine.interfaces() == {"lo"}
    assert not (machine.folder / "run").exists()
