"""Hosts as network namespaces, joined by veth pairs: a small internet on one machine, made and removed as a whole.

Every name begins with the prefix the net was given, and processes are started inside, so whatever goes wrong the net
can be found again and removed: on leaving the `with` block, at exit, and by the next net of the same family, which
sweeps away what a killed one left.

Nothing here knows ovng: `deployment` puts it on these hosts.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ovng.clock import now
from ovng.errors import SystemProblem

T = TypeVar("T")

COMMAND_SECONDS = 60.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.01
_NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str, timeout: float = COMMAND_SECONDS, stdin: str | None = None) -> str:
    """A command's standard output. Raises SystemProblem with its last words when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, input=stdin, check=False)
    except FileNotFoundError:
        raise SystemProblem(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise SystemProblem(f"{' '.join(command)}: no end after {timeout:g} s") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise SystemProblem(f"{' '.join(command)}: {words[-1] if words else f'exit status {done.returncode}'}")
    return done.stdout


def wait_until(condition: Callable[[], T | None], what: str, seconds: float = 10.0) -> T:
    """Poll until `condition` gives something true, and return that. Raises SystemProblem after `seconds`."""
    deadline, pause = now().mono + seconds, threading.Event()
    while not (value := condition()):
        if now().mono > deadline:
            raise SystemProblem(f"no {what} within {seconds:g} s")
        pause.wait(POLL_SECONDS)
    return value


class Process:
    """A program that runs on a host, and what it has written so far (both streams, in a file)."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **env}
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """The exit status; negative a signal's number; None while it runs."""
        return self._popen.poll()

    def check(self) -> None:
        """Raises SystemProblem with its last words when it has ended."""
        if self.status is not None:
            words = self.output.strip().splitlines()
            raise SystemProblem(f"{self.name} ended ({self.status}): {words[-1] if words else 'it said nothing'}")

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self, seconds: float = COMMAND_SECONDS) -> int:
        """The exit status, once it has ended. Raises SystemProblem after `seconds`."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise SystemProblem(f"{self.name} still runs after {seconds:g} s") from None

    def finish(self, seconds: float = COMMAND_SECONDS) -> str:
        """Its output, once it has ended well. Raises SystemProblem."""
        if self.wait(seconds):
            self.check()
        return self.output

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, SIGKILL when that does not help; the exit status."""
        if self.status is None:
            self.send(signal.SIGTERM)
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        self._popen.kill()
        self._popen.wait()


class Host:
    """One network namespace with a loopback that is up; IPv6 addresses are usable at once (no duplicate detection)."""

    def __init__(self, net: Net, name: str) -> None:
        self.net, self.name = net, name
        self.namespace = f"{net.prefix}-{name}"
        self._processes: list[Process] = []
        run("ip", "netns", "add", self.namespace)
        self.ip("link", "set", "lo", "up")
        for scope in ("all", "default"):
            self.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)

    # -- Commands

    def command(self, *command: str) -> list[str]:
        """What to execute so that `command` runs here."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def run(self, *command: str, timeout: float = COMMAND_SECONDS, stdin: str | None = None) -> str:
        """As `run`, here."""
        return run(*self.command(*command), timeout=timeout, stdin=stdin)

    def start(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a program that goes on by itself; it ends with the net."""
        log = self.net.directory / f"{self.name}-{name}-{len(self._processes)}.log"
        process = Process(f"{name} on {self.name}", self.command(*command), log, env or {})
        self._processes.append(process)
        return process

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is on this host meanwhile: what it opens belongs here."""
        with inside(self.namespace):
            yield

    # -- Set-up

    def ip(self, *arguments: str) -> str:
        """`ip` of iproute2, here."""
        return run("ip", "-n", self.namespace, *arguments)

    def nft(self, rules: str) -> None:
        """Load a ruleset."""
        self.run("nft", "-f", "-", stdin=rules)

    def sysctl(self, key: str, value: int) -> None:
        """Set a kernel parameter of this namespace."""
        with self.inside():
            Path("/proc/sys", key.replace(".", "/")).write_text(f"{value}\n")

    def forward(self) -> None:
        """Be a router."""
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def add_address(self, device: str, *addresses: str) -> None:
        """Give `device` addresses (with prefix length)."""
        for address in addresses:
            self.ip("address", "add", address, "dev", device)

    def default_via(self, *gateways: str) -> None:
        """Set the default routes, one per family."""
        for gateway in gateways:
            self.ip("-6" if ":" in gateway else "-4", "route", "replace", "default", "via", gateway)

    def readdress(self, device: str, addresses: Sequence[str], gateways: Sequence[str]) -> None:
        """Break before make: the old addresses of `device`, and the routes over them, are gone first."""
        lines = [f"address flush dev {device} scope global"]
        lines += [f"address add {address} dev {device}" for address in addresses]
        for gateway in gateways:  # `ip -batch` has no family switch per line; the address itself says which
            lines.append(f"route replace {'::/0' if ':' in gateway else '0.0.0.0/0'} via {gateway}")
        run("ip", "-n", self.namespace, "-batch", "-", stdin="\n".join(lines) + "\n")

    def lose(self, percent: int, device: str) -> None:
        """Drop at random what arrives on `device`; 0 ends it."""
        with contextlib.suppress(SystemProblem):
            self.run("nft", "delete", "table", "netdev", "loss")
        if percent:
            self.nft(
                f"table netdev loss {{ chain in {{ type filter hook ingress device {device} priority 0;"
                f" numgen random mod 100 < {percent} drop; }} }}"
            )

    # -- What can be seen

    def devices(self) -> list[str]:
        """Names of the network devices, without the loopback."""
        return sorted(link["ifname"] for link in json.loads(self.ip("-json", "link")) if link["ifname"] != "lo")

    def received_bytes(self, device: str) -> int:
        """What has arrived on `device` since it exists."""
        (link,) = json.loads(self.ip("-json", "-statistics", "link", "show", "dev", device))
        return int(link["stats64"]["rx"]["bytes"])

    # -- End

    def stop(self) -> None:
        """End what runs here."""
        for process in reversed(self._processes):
            process.stop()

    def close(self) -> None:
        """Remove the namespace and with it its devices; nothing runs here any more."""
        _remove(self.namespace)


class Batch:
    """Commands of `ip` for one host, given to a process that already waits for them: the call takes milliseconds."""

    def __init__(self, host: Host, lines: Sequence[str]) -> None:
        self._text = "\n".join(lines) + "\n"
        self._process = subprocess.Popen(
            ["ip", "-n", host.namespace, "-batch", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __call__(self) -> None:
        _, errors = self._process.communicate(self._text, timeout=STOP_SECONDS)
        if self._process.returncode:
            raise SystemProblem(f"ip: {errors.strip()}")


class Net:
    """Hosts and the links between them; `with Net("family") as net`. Needs root, if only of a user namespace."""

    def __init__(self, family: str) -> None:
        _sweep(family)
        self.prefix = f"{family}-{os.getpid()}-{next(_numbers)}"
        self.hosts: list[Host] = []
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.prefix}-", dir=_roomy())
        self.directory = Path(self._temporary.name)
        atexit.register(self.close)

    def host(self, name: str) -> Host:
        """A new host without links."""
        host = Host(self, name)
        self.hosts.append(host)
        return host

    def join(self, a: Host, b: Host, a_addresses: Sequence[str] = (), b_addresses: Sequence[str] = ()) -> None:
        """A cable between two hosts; each end is named after the host at the other."""
        a.ip("link", "add", "name", b.name, "type", "veth", "peer", "name", a.name, "netns", b.namespace)
        for host, device, addresses in ((a, b.name, a_addresses), (b, a.name, b_addresses)):
            host.ip("link", "set", "dev", device, "up")
            host.add_address(device, *addresses)

    def close(self) -> None:
        """Remove everything; may be called again."""
        atexit.unregister(self.close)
        for host in reversed(self.hosts):  # all before the first network goes: who ends has goodbyes to say
            host.stop()
        for host in reversed(self.hosts):
            host.close()
        self.hosts.clear()
        self._temporary.cleanup()

    def __enter__(self) -> Net:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


_numbers = iter(range(1, 1 << 30))


def _roomy() -> str | None:
    """Where captures of a gigabyte fit: /tmp is often memory, /var/tmp never."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else None)  # noqa: S108


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """The calling thread is in a named network namespace meanwhile."""
    with _opened("/proc/thread-self/ns/net") as home, _opened(f"{_NETNS}/{namespace}") as here:
        _enter(here)
        try:
            yield
        finally:
            _enter(home)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise SystemProblem(f"cannot enter a network namespace: {os.strerror(number)}")


def _sweep(family: str) -> None:
    """Remove the namespaces of nets of this family whose process is gone."""
    for path in _NETNS.glob(f"{family}-*") if _NETNS.is_dir() else ():
        found = re.match(rf"{re.escape(family)}-(\d+)-\d+-", path.name)
        if found and not Path("/proc", found[1]).exists():
            _remove(path.name)


def _remove(namespace: str) -> None:
    """Kill what still runs there: a namespace lives as long as its last process."""
    if not (_NETNS / namespace).exists():
        return
    for pid in _inhabitants(namespace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _inhabitants(namespace), f"end of the processes in {namespace}")
    run("ip", "netns", "delete", namespace)


def _inhabitants(namespace: str) -> set[int]:
    return {int(pid) for pid in run("ip", "netns", "pids", namespace).split()} - {os.getpid()}
