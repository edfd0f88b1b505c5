"""ovng on the hosts of a `Net`: a CA's folder, a Switch and nodes, each a real `ovng` process as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ovng
from ovng.demo.net import Host, Net, Process, run, wait_until
from ovng.errors import SystemProblem
from ovng.io.control import ask
from ovng.pki.folder import Folder

COMMAND = [sys.executable, "-m", "ovng.cli.main"]
SOURCE = str(Path(ovng.__file__).parent.parent)
START_SECONDS = 15.0

Status = dict[str, Any]


class Member:
    """A Switch or node: its profile, the host it is at home on, and its process while it runs."""

    def __init__(self, network: Network, host: Host, verb: str, profile: Path) -> None:
        self.network, self.host, self.profile = network, host, profile
        self.name, self._verb = profile.stem, verb
        self.runtime = network.net.directory / f"run-{network.folder.name}-{self.name}"
        self.process: Process | None = None
        self.id = ""
        self.addresses: list[str] = []

    def start(self, *, wrapper: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Process:
        """Run it; `wrapper` stands before the verb in place of `python -m ovng.cli.main`."""
        command = [*(wrapper or COMMAND), self._verb, str(self.profile)]
        self.process = self.host.start(f"ovng-{self.name}", *command, env={**self._environment(), **(env or {})})
        return self.process

    def stop(self) -> int:
        """SIGTERM; its exit status. Raises SystemProblem when it had ended before."""
        process = self._running()
        self.process = None
        return process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._running().kill()
        self.process = None

    def reload(self) -> None:
        """SIGHUP, as systemd does it."""
        self._running().send(signal.SIGHUP)

    def status(self) -> Status:
        """What `ovng status --json` prints, without starting a process for it. Raises SystemProblem."""
        return ask(self.name, {"verb": "status"}, path=self.runtime / f"{self.name}.sock")

    def ovng(self, *arguments: str) -> str:
        """Another `ovng` command on the same host, beside the running one."""
        environment = [f"{key}={value}" for key, value in self._environment().items()]
        return self.host.run("env", *environment, *COMMAND, *arguments)

    def begin(self, *arguments: str) -> Process:
        """As `ovng`, for a command that goes on by itself."""
        return self.host.start(f"ovng-{arguments[0]}", *COMMAND, *arguments, env=self._environment())

    def wait(self, what: str, seconds: float = START_SECONDS, **wanted: Any) -> Status:
        """Poll the status until it has these values; keys of the Switch part are meant where the top has none."""

        def holds() -> Status | None:
            self._running().check()
            try:
                status = self.status()
            except SystemProblem:
                return None
            seen = {**status.get("switch", {}), **status}
            return status if all(seen.get(key) == value for key, value in wanted.items()) else None

        try:
            return wait_until(holds, what, seconds)
        except SystemProblem as error:
            words = self._running().output.strip().splitlines()[-3:]
            raise SystemProblem(f"{error}; {self.name} said last: {' | '.join(words)}") from None

    def sessions(self) -> dict[str, str]:
        """Peer ID → session ID."""
        return {peer["id"]: peer["session"] for peer in self.status()["peers"]}

    def _running(self) -> Process:
        if self.process is None:
            raise SystemProblem(f"{self.name} was not started")
        return self.process

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (SOURCE, os.environ.get("PYTHONPATH"))))
        return {"OVNG_RUNTIME_DIR": str(self.runtime), "PYTHONPATH": path}


class Network:
    """A CA's folder below the net's directory, and everyone that has a profile from it."""

    def __init__(self, net: Net, name: str, *, prefixes: Sequence[str], switch: Sequence[str]) -> None:
        """`switch`: HOST:PORT, best first. As `ovng ca init` has it."""
        self.net, self.folder = net, net.directory / name
        words = [word for prefix in prefixes for word in ("--prefix", prefix)]
        words += [word for endpoint in switch for word in ("--switch", endpoint)]
        self._ovng(net.directory, "ca", "init", name, *words)

    def switch(self, host: Host, settings: str = "") -> Member:
        """The Switch, on `host`."""
        return self._member(host, "switch", self.folder / "switch.ovng", settings)

    def node(self, host: Host, name: str, *options: str, settings: str = "") -> Member:
        """A new node with a profile of its own; `options` of `ca issue`, `settings` are lines added to the profile."""
        profile = self.folder / f"{name}.ovng"
        self.ca("issue", name, *options, "-o", str(profile))
        return self._member(host, "up", profile, settings)

    def ca(self, *arguments: str) -> str:
        """An `ovng ca` command in the folder."""
        return self._ovng(self.folder, "ca", *arguments)

    def _member(self, host: Host, verb: str, profile: Path, settings: str) -> Member:
        if settings:
            with profile.open("a") as file:
                file.write(f"\n{settings}\n")
        member = Member(self, host, verb, profile)
        known = Folder.open(self.folder).read_index().find(member.name)  # as `ovng ca list` shows it
        member.id, member.addresses = str(known.id), list(map(str, known.addresses))
        return member

    def _ovng(self, directory: Path, *arguments: str) -> str:
        return run("env", "-C", str(directory), f"PYTHONPATH={SOURCE}", *COMMAND, *arguments)


def configure(profile: Path, **settings: str) -> None:
    """Set keys of a profile, each on a line of its own."""
    text = profile.read_text()
    for key, value in settings.items():
        text, found = re.subn(rf"(?m)^(# )?{key}:.*$", f"{key}: {value}", text, count=1)
        if not found:
            text += f"\n{key}: {value}\n"
    profile.write_text(text)
