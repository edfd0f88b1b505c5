"""Has the machine's resolver ask a network's DNS servers, for as long as its interface is there.

systemd-resolved where it runs: the servers belong to the interface, names below the domains go to them and to nobody
else, and all of it ends with the interface. Otherwise resolvconf (Debian's or openresolv): it writes resolv.conf(5),
which knows no such division, so the servers come first for all names and the domains are searched; that must be taken
back.
/etc/resolv.conf itself is nobody's to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovng.errors import SystemProblem
from ovng.ids import IPAddress
from ovng.io import programs

RESOLVED, RESOLVCONF = "systemd-resolved", "resolvconf"
_RESOLVED_SOCKET = Path("/run/systemd/resolve/io.systemd.Resolve")
_TRIES = 5  # it learns of a new interface by netlink, as everybody, and knows none before


def resolver() -> str:
    """Which of the two this machine has; empty when neither."""
    if _RESOLVED_SOCKET.is_socket() and programs.find("resolvectl"):
        return RESOLVED
    found = programs.find("resolvconf")
    return RESOLVCONF if found and Path(found).resolve().name != "resolvectl" else ""


def set_servers(tool: str, interface: str, servers: Sequence[IPAddress], domains: Sequence[str]) -> None:
    """Ask these servers, at least one, for names below `domains` (none: for all). Raises SystemProblem.

    `tool` is one of `resolver`'s.
    """
    if tool == RESOLVED:
        _tell_resolved("dns", interface, *map(str, servers))
        _tell_resolved("domain", interface, *([f"~{domain}" for domain in domains] or [""]))
        _tell_resolved("default-route", interface, "no" if domains else "yes")
    else:
        lines = [f"nameserver {server}" for server in servers]
        lines += [f"search {' '.join(domains)}"] if domains else []
        programs.run("resolvconf", "-a", _record(interface), stdin="\n".join(lines) + "\n")


def remove_servers(tool: str, interface: str) -> None:
    """Take it back. None there is fine. Raises SystemProblem."""
    if tool == RESOLVED:
        _tell_resolved("revert", interface)
    else:
        programs.run("resolvconf", "-d", _record(interface))


def _record(interface: str) -> str:
    """Its name in resolvconf; both of them put tunnels first by such names (interface-order, dynamic_order)."""
    return f"tun0.{interface}"


def _tell_resolved(*words: str) -> None:
    for left in reversed(range(_TRIES)):
        try:
            programs.run("resolvectl", *words)
            return
        except SystemProblem as error:
            if not left or "not known" not in str(error).lower():
                raise
