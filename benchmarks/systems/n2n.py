"""n2n 3: a supernode on the hub, edges on `a` and `b` that always send through it; AES, TAP devices.

The supernode passes packets on without opening them. The MTU is n2n's own, 1290 bytes: with its headers and an Ethernet
frame inside, packets of 1400 would not fit. So UDP of 1372 B travels in two fragments here.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.latency import FirstAnswer
from benchmarks.star import Star
from benchmarks.systems.base import Tunnel, program, version, wait_for_port
from ovng.demo.net import Process

VARIABLE = "OVNG_N2N"
PORT = 7654
ADDRESS = {"a": "10.82.0.2", "b": "10.82.0.3"}


class N2n:
    """`edge` on the PATH, or the one that OVNG_N2N names; `supernode` beside it. Version 3 or newer."""

    name = "n2n"

    def missing(self) -> str | None:
        """Whether it is installed, and new enough to be told to use the supernode always."""
        edge = program("edge", VARIABLE)
        if not edge or not _supernode(edge):
            return f"n2n is not installed ({VARIABLE} may name its edge)"
        found = _version(edge)
        return None if found and int(found.split(".")[0]) >= 3 else f"n2n {found} is too old: 3 or newer"

    def start(self, star: Star) -> Tunnel:
        """A supernode, two edges; the key is in their environment."""
        edge = program("edge", VARIABLE) or "edge"
        processes = {"hub": star.hub.start("supernode", _supernode(edge) or "supernode", "-f", "-p", str(PORT))}
        wait_for_port(star.hub, PORT)
        ends = {"a": (star.a, star.hub_from_a), "b": (star.b, star.hub_from_b)}

        def start(name: str) -> Process:
            host, hub = ends[name]
            where = ["-d", "n2n0", "-a", f"{ADDRESS[name]}/24", "-c", "bench", "-l", f"{hub}:{PORT}"]
            options = [*where, "-S1", "-A3", "-f", "-u", "0", "-g", "0"]
            return host.start("edge", edge, *options, env={"N2N_KEY": "of-the-benchmark"})

        first = FirstAnswer(star, ADDRESS["b"])
        processes |= {name: start(name) for name in ends}
        first_ping = first.wait(*processes.values())
        notes = {
            "version": _version(edge),
            "cipher": "AES-CBC",
            "offloads": "none (it has none in user space)",
            "settings": "through the supernode, TAP, MTU 1290",
        }
        return Tunnel(ADDRESS["a"], ADDRESS["b"], processes, notes, first_ping)


def _supernode(edge: str) -> str | None:
    return shutil.which(Path(edge).with_name("supernode"), mode=os.X_OK) or program("supernode")


def _version(edge: str) -> str:
    return version("sh", "-c", f"'{edge}' --help 2>&1 || true", pattern=r"n2n v\.?([\d.]+)")
