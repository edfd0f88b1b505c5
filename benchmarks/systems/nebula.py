"""nebula: a lighthouse and relay on the hub, which stays blind; nodes on `a` and `b` that reach each other through it.

The hub does not forward IP here, otherwise nebula would find the direct way and nothing would pass through the hub's
process. Certificates come from the `nebula-cert` beside `nebula`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from benchmarks.latency import FirstAnswer
from benchmarks.star import Star
from benchmarks.systems.base import Tunnel, program, version, wait_for_port
from ovng.demo.net import Process, run

VARIABLE = "OVNG_NEBULA"
PORT = 4242
MTU = 1400
ADDRESS = {"hub": "10.80.0.1", "a": "10.80.0.2", "b": "10.80.0.3"}


class Nebula:
    """`nebula` on the PATH, or the one that OVNG_NEBULA names."""

    name = "nebula"

    def missing(self) -> str | None:
        """Whether it is installed."""
        if not program("nebula", VARIABLE):
            return f"nebula is not installed ({VARIABLE} may name it)"
        return None if _cert() else "nebula-cert is not installed"

    def start(self, star: Star) -> Tunnel:
        """A CA, three certificates, three configuration files, three processes."""
        command = program("nebula", VARIABLE) or "nebula"
        hosts = {"hub": (star.hub, ""), "a": (star.a, star.hub_from_a), "b": (star.b, star.hub_from_b)}
        folder = star.net.directory / "nebula"
        folder.mkdir()
        _certificates(folder)
        for name, (_, hub) in hosts.items():
            (folder / f"{name}.yml").write_text(json.dumps(_configuration(folder, name, hub)))
        star.hub.sysctl("net.ipv4.ip_forward", 0)

        def start(name: str) -> Process:
            return hosts[name][0].start("nebula", command, "-config", str(folder / f"{name}.yml"))

        processes = {"hub": start("hub")}
        wait_for_port(star.hub, PORT)
        first = FirstAnswer(star, ADDRESS["b"])
        processes |= {name: start(name) for name in ("a", "b")}
        first_ping = first.wait(*processes.values())
        notes = {
            "version": version(command, "-version", pattern=r"Version: (\S+)"),
            "cipher": "AES-256-GCM",
            "offloads": "its own choice",
            "settings": f"through the hub's relay, MTU {MTU}",
        }
        return Tunnel(ADDRESS["a"], ADDRESS["b"], processes, notes, first_ping, lambda: start("hub"))


def _cert() -> str | None:
    beside = Path(os.environ.get(VARIABLE, "nebula")).with_name("nebula-cert")
    return shutil.which(beside) or shutil.which("nebula-cert")


def _certificates(folder: Path) -> None:
    """As `nebula-cert` makes them, for a day."""
    cert, authority = _cert() or "nebula-cert", (f"{folder}/ca.crt", f"{folder}/ca.key")
    run(cert, "ca", "-name", "bench", "-duration", "48h", "-out-crt", authority[0], "-out-key", authority[1])
    for name, address in ADDRESS.items():
        own = ("-out-crt", f"{folder}/{name}.crt", "-out-key", f"{folder}/{name}.key", "-duration", "24h")
        run(cert, "sign", "-ca-crt", authority[0], "-ca-key", authority[1], "-name", name, "-ip", f"{address}/24", *own)


def _configuration(folder: Path, name: str, hub: str) -> dict[str, object]:
    """A node's file (JSON is YAML); `hub` is empty on the hub itself."""
    return {
        "pki": {"ca": f"{folder}/ca.crt", "cert": f"{folder}/{name}.crt", "key": f"{folder}/{name}.key"},
        "static_host_map": {ADDRESS["hub"]: [f"{hub}:{PORT}"]} if hub else {},
        "lighthouse": {"am_lighthouse": not hub, "hosts": [ADDRESS["hub"]] if hub else []},
        "listen": {"host": "0.0.0.0", "port": PORT},
        "relay": {"am_relay": not hub, "use_relays": True, "relays": [ADDRESS["hub"]] if hub else []},
        "cipher": "aes",
        "tun": {"dev": "nebula0", "mtu": MTU},
        "logging": {"level": "warning"},
        "firewall": {way: [{"port": "any", "proto": "any", "host": "any"}] for way in ("outbound", "inbound")},
    }
