"""wireguard-go: one interface on each host; the hub's kernel routes between its two peers, so it decrypts everything.

Configured over its own socket (the cross-platform user space protocol of wireguard.com/xplatform), so that no other
tool is needed. The socket lies in /run/wireguard whatever the namespace: interface names carry our process number.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from benchmarks.latency import FirstAnswer
from benchmarks.star import Star
from benchmarks.systems.base import Tunnel, program, version
from ovng.demo.net import Process, wait_until
from ovng.errors import SystemProblem

VARIABLE = "OVNG_WIREGUARD_GO"
PORT = 51820
MTU = 1420
NETWORK = "10.79.0.0/24"
ADDRESS = {"hub": "10.79.0.1", "a": "10.79.0.2", "b": "10.79.0.3"}
_SOCKETS = Path("/var/run/wireguard")


class WireGuardGo:
    """`wireguard-go` on the PATH, or the one that OVNG_WIREGUARD_GO names."""

    name = "wireguard-go"

    def missing(self) -> str | None:
        """Whether it is installed."""
        found = program("wireguard-go", VARIABLE)
        return None if found else f"wireguard-go is not installed ({VARIABLE} may name it)"

    def start(self, star: Star) -> Tunnel:
        """Keys, three processes, their peers."""
        command = program("wireguard-go", VARIABLE) or "wireguard-go"
        hosts = {"hub": star.hub, "a": star.a, "b": star.b}
        devices = {name: f"wg{os.getpid()}{name[0]}" for name in hosts}
        keys = {name: X25519PrivateKey.generate() for name in hosts}
        everything = [NETWORK]
        peers = {
            "hub": [_peer(keys[name], [f"{ADDRESS[name]}/32"]) for name in ("a", "b")],
            "a": [_peer(keys["hub"], everything, star.hub_from_a)],
            "b": [_peer(keys["hub"], everything, star.hub_from_b)],
        }

        def start(name: str) -> Process:
            host = hosts[name]
            (_SOCKETS / f"{devices[name]}.sock").unlink(missing_ok=True)  # of one that was killed; its device lingers
            wait_until(lambda: devices[name] not in host.devices(), f"end of {devices[name]}")
            process = host.start("wireguard", command, "-f", devices[name])
            _configure(process, devices[name], [_private(keys[name]), f"listen_port={PORT}", *peers[name]])
            host.ip("link", "set", devices[name], "mtu", str(MTU), "up")
            host.add_address(devices[name], f"{ADDRESS[name]}/24")
            return process

        processes = {"hub": start("hub")}
        first = FirstAnswer(star, ADDRESS["b"])
        processes |= {name: start(name) for name in ("a", "b")}
        first_ping = first.wait(*processes.values())
        notes = {
            "version": version(command, "--version", pattern=r"wireguard-go v?(\S+)"),
            "cipher": "ChaCha20-Poly1305",
            "offloads": "its own choice (TUN and UDP offloads since version 0.0.20230223)",
        }
        return Tunnel(ADDRESS["a"], ADDRESS["b"], processes, notes, first_ping, lambda: start("hub"))


def _configure(process: Process, device: str, lines: list[str]) -> None:
    """One `set` request; the answer ends with an errno. Raises SystemProblem."""
    path = _SOCKETS / f"{device}.sock"

    def there() -> bool:
        process.check()
        return path.exists()

    wait_until(there, f"socket of {process.name}")
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(10.0)
        control.connect(str(path))
        control.sendall("\n".join(["set=1", *lines, "", ""]).encode())
        answer = control.recv(4096).decode().strip()
    if answer != "errno=0":
        raise SystemProblem(f"{process.name} does not take its configuration: {answer}")


def _private(key: X25519PrivateKey) -> str:
    return f"private_key={key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()).hex()}"


def _peer(key: X25519PrivateKey, allowed: list[str], hub: str = "") -> str:
    """A peer's lines: who it is, where it is (if we speak first), what may come from it."""
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    endpoint = [f"endpoint={hub}:{PORT}", "persistent_keepalive_interval=25"] if hub else []
    return "\n".join([f"public_key={public}", *endpoint, *(f"allowed_ip={prefix}" for prefix in allowed)])
