"""A prototype in C of this design, as a yardstick: what a node and a Switch cost that do nothing but the data path.

OVNG_BENCH_PROTOTYPE names the folder with its programs `node` and `sw`. It has a fixed key, IPv4 outside, no sessions
and no handshakes; it uses the offloads of TUN and UDP, one thread per direction, and completes and verifies checksums
as ovng does.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.latency import FirstAnswer
from benchmarks.star import HUB_FROM_A, HUB_FROM_B, A, B, Star
from benchmarks.systems.base import ALT, LIBCRYPTO, Tunnel, other_libcrypto, wait_for_port
from ovng.demo.net import Host, Process, wait_until

VARIABLE = "OVNG_BENCH_PROTOTYPE"
NODE_OPTIONS = ("mode=c", "csum=full", "threads=2")
SWITCH_OPTIONS = ("mode=c", "group=1")
SWITCH_PORT, PORT = 4000, 4001
MTU = 1400
DEVICE = "tun0"
ADDRESS = {"a": "10.81.0.1", "b": "10.81.0.2"}


class Prototype:
    """The programs in the folder that OVNG_BENCH_PROTOTYPE names; as `other` with the other libcrypto."""

    def __init__(self, *, other: bool = False) -> None:
        self.name = "prototype" + (ALT if other else "")
        self._other = other

    def missing(self) -> str | None:
        """Whether it is named, and the other libcrypto where it is meant."""
        if not program("node") or not program("sw"):
            return f"{VARIABLE} names no folder with the prototype's node and sw"
        return f"{LIBCRYPTO} names no other libcrypto" if self._other and not other_libcrypto() else None

    def start(self, star: Star) -> Tunnel:
        """Three processes and two TUN devices."""
        environment = _environment(star.net.directory / "lib") if self._other else {}
        maps = [f"map={number},{address}:{PORT}" for number, address in ((1, A), (2, B))]
        switch = [program("sw"), *SWITCH_OPTIONS, f"local=0.0.0.0:{SWITCH_PORT}", *maps]
        processes = {"hub": star.hub.start("sw", *switch)}
        wait_for_port(star.hub, SWITCH_PORT)
        first = FirstAnswer(star, ADDRESS["b"])
        for name, host, own, hub, number in (("a", star.a, A, HUB_FROM_A, 1), ("b", star.b, B, HUB_FROM_B, 2)):
            addresses = [f"local={own}:{PORT}", f"sw={hub}:{SWITCH_PORT}", f"id={number}", f"peer={3 - number}"]
            command = [program("node"), *NODE_OPTIONS, f"tun={DEVICE}", *addresses]
            processes[name] = host.start("node", *command, env=environment)
            _bring_up(host, processes[name], ADDRESS[name])
        first_ping = first.wait(*processes.values())
        notes = {
            "cipher": "AES-256-GCM",
            "libcrypto": f"that of ovng{ALT}" if self._other else "the system's",
            "offloads": "vnet_hdr, tso, uso, gso, gro",
            "settings": " ".join((*NODE_OPTIONS, *SWITCH_OPTIONS)),
        }
        return Tunnel(ADDRESS["a"], ADDRESS["b"], processes, notes, first_ping)


def program(name: str) -> str:
    """Path of one of its programs; empty when it is not there."""
    folder = os.environ.get(VARIABLE)
    path = Path(folder or "/nonexistent", name)
    return str(path) if path.is_file() else ""


def _bring_up(host: Host, process: Process, address: str) -> None:
    def there() -> bool:
        process.check()
        return DEVICE in host.devices()

    wait_until(there, f"{DEVICE} on {host.name}")
    host.add_address(DEVICE, f"{address}/24")
    host.ip("link", "set", DEVICE, "mtu", str(MTU), "up")


def _environment(folder: Path) -> dict[str, str]:
    """So that its programs, linked against libcrypto.so.3, find the other one first."""
    folder.mkdir()
    (folder / "libcrypto.so.3").symlink_to(other_libcrypto() or "")
    return {"LD_LIBRARY_PATH": str(folder)}
