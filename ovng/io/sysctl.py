"""Kernel settings under /proc/sys, by the names that sysctl(8) prints."""

from __future__ import annotations

import socket
from pathlib import Path

from ovng.errors import SystemProblem

_ROOT = Path("/proc/sys")
FORWARD = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
"""By version of IP. That of IPv6 makes the machine ignore router advertisements, unless accept_ra is 2."""
BUFFERS = {"receive": "net.core.rmem_max", "send": "net.core.wmem_max"}
CONGESTION_CONTROL = "net.ipv4.tcp_congestion_control"
CONGESTION_AVAILABLE = "net.ipv4.tcp_available_congestion_control"


def read(name: str) -> str | None:
    """A setting's value, None where the kernel has none of this name."""
    try:
        return _path(name).read_text(encoding="ascii").strip()
    except OSError:
        return None


def write(name: str, value: str) -> str | None:
    """Set it. The value from before, None when nothing had to be changed. Raises SystemProblem."""
    before = read(name)
    if before == value:
        return None
    try:
        _path(name).write_text(value, encoding="ascii")
    except OSError as error:
        raise SystemProblem(
            f"{name} cannot be set ({error.strerror}): run `sysctl -w {name}={value}` as root"
        ) from None
    return before


def ip_forward(version: int) -> bool | None:
    """Whether this machine forwards IPv4 or IPv6; None where it does not speak it."""
    value = read(FORWARD[version])
    return None if value is None else value != "0"


def buffer_limit(direction: str) -> int:
    """The most that SO_RCVBUF (`receive`) or SO_SNDBUF (`send`) gives without CAP_NET_ADMIN, bytes; 0 when unknown."""
    value = read(BUFFERS[direction])
    return int(value) if value is not None and value.isdecimal() else 0


def congestion_control() -> tuple[str, tuple[str, ...]]:
    """TCP's congestion control in use, and those to choose from."""
    return read(CONGESTION_CONTROL) or "", tuple((read(CONGESTION_AVAILABLE) or "").split())


def has_ipv6() -> bool:
    """Whether IPv6 sockets can be made here."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return read("net.ipv6.conf.all.disable_ipv6") == "0"


def _path(name: str) -> Path:
    """`sysctl` writes dots for slashes; an interface's name with a dot in it is written with a slash (sysctl(8))."""
    path = _ROOT / name.replace(".", "\0").replace("/", ".").replace("\0", "/")
    if ".." in path.parts:
        raise ValueError(name)
    return path
