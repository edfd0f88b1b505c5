"""A Switch and two nodes of another machine, in namespaces of this one: `emulated_services.py ROOT PYTHON`.

ROOT is a chroot in which PYTHON has ovng installed. The services are as users start them, with real TUN devices and
netlink sockets (qemu's user mode hands both to this kernel); `ip` and `ping` are this machine's. Mounts into ROOT, so
run it under `unshare --mount`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from ovng.errors import SystemProblem
from tests.netns.rig import deployed, ping

SECONDS = 90.0
"""Within which an emulated service is expected to do what takes it a second elsewhere."""


def main(root: Path, python: str) -> None:
    with deployed(start=False) as rig:
        _bind(rig.net.directory, root)
        wrapper = ["chroot", str(root), python, "-m", "ovng.cli.main"]
        begun = time.monotonic()
        for member in (rig.switch, *rig.nodes):
            member.start(wrapper=wrapper)
        for node in rig.nodes:
            node.wait(f"attachment of {node.name}", SECONDS, attached=True)
        _told(f"Switch and two nodes attached {time.monotonic() - begun:.1f} s after they were started together")
        for address in rig.bob.addresses:
            ping(rig.alice, address, 3, SECONDS)
        session = rig.alice.sessions()
        _told(f"session {session[rig.bob.id]}, pings over IPv4 and IPv6")
        rig.readdress(rig.bob)()
        rig.seen_at(rig.bob, SECONDS)
        ping(rig.alice, rig.bob.addresses[0], 3, SECONDS)
        if rig.alice.sessions() != session:
            raise SystemProblem("the session did not outlive a move")
        _told("bob moved, the session did not notice")
        for member in (*rig.nodes, rig.switch):
            if status := member.stop():
                raise SystemProblem(f"{member.name} ended with status {status}")


def _bind(directory: Path, root: Path) -> None:
    """Devices, /proc, /sys and the folder with profiles and control sockets, under the same names in `root`."""
    for path in (directory, Path("/dev"), Path("/proc"), Path("/sys")):
        there = root / path.relative_to("/")
        there.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--rbind", path, there], check=True)


def _told(line: str) -> None:
    print(f"   {line}", flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except SystemProblem as error:
        sys.exit(str(error))
