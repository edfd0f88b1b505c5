"""`make footprint`: what ovng takes of a small machine: memory, start-up time, bytes on disk.

The services run as a user has them: from a wheel, in an environment that holds nothing else, each on a host of its own
in the star of the benchmarks. Memory is resident memory (RSS) and the part of it that no other process shares; the node
under netifd is as on an OpenWrt router: a JSON profile, and `ubus` of the tests, which does what netifd would. Start-up
is from `exec` until the Switch has taken the node in, the CPU time of that, and until the first ping comes back from
another node, both started together; beside them what the imports alone take. With `--chroot` the imports and the bytes
on another machine, emulated: that takes 10 to 50 times longer than on a real one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.command import exit_status
from benchmarks.latency import FirstAnswer
from benchmarks.machine import describe
from benchmarks.star import HUB_FROM_A, Star, star
from benchmarks.systems.base import Tunnel
from benchmarks.table import aligned, described, figure, write
from benchmarks.tcp import TcpMeter
from benchmarks.usage import peak_memory, process_seconds
from ovng.demo.deployment import Member, Network
from ovng.demo.net import Process

PORT = 5140
STARTS = 5
IDLE_SECONDS = 5.0
LOAD_SECONDS = 5
LIMITS = {"node, idle": 40.0, "node under netifd, idle": 28.0}
"""MiB of resident memory."""
UBUS = Path(__file__).resolve().parent.parent / "tests/openwrt/standins"

_SIZES = """
import importlib.metadata, json, sys
found = {}
for distribution in importlib.metadata.distributions():
    files = (distribution.locate_file(file) for file in distribution.files or ())
    found[distribution.name.lower()] = sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps(found))
"""
_PACKAGES = ("ovng", "pyyaml", "pyroute2", "cryptography", "cffi", "pycparser", "netifaces")


def main() -> int:
    """The exit status: 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description="Memory, start-up, bytes.")
    parser.add_argument("python", type=Path, help="the Python of an environment with ovng in it, and nothing else")
    parser.add_argument("--chroot", type=Path, help="another machine, as `make test-wheels` leaves it")
    arguments = parser.parse_args()
    return exit_status(lambda: _run(arguments.python.absolute(), arguments.chroot))


def _run(python: Path, chroot: Path | None) -> int:
    document: dict[str, Any] = {"machine": describe()}
    print(described(document["machine"]), flush=True)
    with star() as here:
        document["memory"] = memory(here, [str(python), "-m", "ovng.cli.main"])
    _show("memory, MiB", ["resident", "private"], document["memory"])
    with star() as here:
        document["start_seconds"] = start_up(here, [str(python), "-m", "ovng.cli.main"])
    machines = {"this machine": [str(python)]}
    if chroot is not None:
        machines[chroot.name] = ["chroot", str(chroot), "/root/v/bin/python"]
    document["start_seconds"] |= {f"imports, {name}": imports(command) for name, command in machines.items()}
    _show("start-up, s", ["seconds"], {name: {"seconds": value} for name, value in document["start_seconds"].items()})
    document["bytes"] = {name: sizes(command) for name, command in machines.items()}
    for name, found in document["bytes"].items():
        _show(f"installed on {name}, kB", ["kB"], {package: {"kB": size / 1e3} for package, size in found.items()})
    print(f"\nwritten to {write(document, 'footprint')}")
    over = [
        f"{role}: {document['memory'][role]['resident']:.1f} MiB, more than {limit:g}"
        for role, limit in LIMITS.items()
        if document["memory"][role]["resident"] > limit
    ]
    print("\n".join(over) or "within the limits")
    return 1 if over else 0


class Deployment:
    """A Switch on the hub and nodes on `a` and `b`, from an installed ovng."""

    def __init__(self, here: Star, command: Sequence[str]) -> None:
        network = Network(here.net, "bench", prefixes=["10.77.0.0/16"], switch=[f"{HUB_FROM_A}:{PORT}"])
        self.hub = network.switch(here.hub)
        self.a, self.b = network.node(here.a, "a"), network.node(here.b, "b")
        self._command = command

    def start(self, member: Member, **env: str) -> Process:
        """Not from this repository: PYTHONPATH is empty."""
        return member.start(wrapper=self._command, env={"PYTHONPATH": "", **env})

    def start_router(self, member: Member) -> Process:
        """A node under netifd."""
        profile = yaml.safe_load(member.profile.read_text())
        member.profile.write_text(json.dumps(profile | {"configured_by": "netifd"}))
        told = member.network.net.directory / "ubus"
        path = f"{UBUS}{os.pathsep}{os.environ['PATH']}"
        return self.start(member, PATH=path, PYTHON=sys.executable, UBUS_CALLS=str(told), UBUS_APPLY="1")

    def start_switch(self) -> Process:
        """Returns when it serves."""
        process = self.start(self.hub)
        self.hub.wait("Switch that serves", kind="switch")
        return process


def memory(here: Star, command: Sequence[str]) -> dict[str, dict[str, float]]:
    """Role → MiB, of nodes that have a session and nothing to do, of one with four streams each way, of the Switch."""
    made = Deployment(here, command)
    processes = {
        "Switch": made.start_switch(),
        "node": made.start(made.a),
        "node under netifd": made.start_router(made.b),
    }
    first = FirstAnswer(here, made.b.addresses[0])
    first.wait(*processes.values())
    time.sleep(IDLE_SECONDS)
    found = {f"{role}, idle": _memory(processes[role]) for role in ("node", "node under netifd", "Switch")}
    for process in processes.values():
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak begins here (proc_pid_clear_refs(5))
    meter = TcpMeter(here, Tunnel(made.a.addresses[0], made.b.addresses[0]))
    for reverse in (False, True):
        meter.transfer(LOAD_SECONDS, 4, reverse=reverse)
    for role in ("node", "Switch"):
        found[f"{role}, under load"] = _memory(processes[role]) | {"resident": peak_memory(processes[role].pid)}
    return found


def _memory(process: Process) -> dict[str, float]:
    """MiB now."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"resident": kilobytes["Rss"] / 1024, "private": private / 1024}


def start_up(here: Star, command: Sequence[str]) -> dict[str, float]:
    """The shortest of several starts: what else runs here only adds to it."""
    made = Deployment(here, command)
    samples: dict[str, list[float]] = {}
    hub = made.start_switch()
    for _ in range(STARTS):
        begun = time.monotonic()
        a = made.start(made.a)
        made.a.wait("node", attached=True)
        samples.setdefault("node, until attached", []).append(time.monotonic() - begun)
        samples.setdefault("node, CPU until attached", []).append(process_seconds(a.pid))
        made.a.stop()
    for _ in range(STARTS):
        first = FirstAnswer(here, made.b.addresses[0])
        processes = [made.start(made.a), made.start(made.b)]
        samples.setdefault("two nodes, until the first ping", []).append(first.wait(hub, *processes))
        made.a.stop()
        made.b.stop()
    return {name: min(values) for name, values in samples.items()}


def imports(command: Sequence[str]) -> float:
    """Seconds of the shortest `python -c` that imports all that a node needs."""
    code = "import ovng.cli.main, ovng.cli.up; from ovng.io.rtnetlink import RouteSocket; RouteSocket().close()"
    return min(_seconds([*command, "-c", code]) for _ in range(STARTS))


def _seconds(command: Sequence[str]) -> float:
    begun = time.monotonic()
    subprocess.run(command, check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    return time.monotonic() - begun


def sizes(command: Sequence[str]) -> dict[str, int]:
    """Package → bytes of its files, compiled ones included; of those that a node or its extras need."""
    done = subprocess.run([*command, "-c", _SIZES], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return {name: found[name] for name in _PACKAGES if name in found}


def _show(title: str, columns: Sequence[str], rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{aligned([title, *columns], [[name, *(figure(row[c]) for c in columns)] for name, row in rows.items()])}")


if __name__ == "__main__":
    sys.exit(main())
