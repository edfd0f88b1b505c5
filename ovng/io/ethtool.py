"""Features of network devices as ethtool(8) names them, read through its ioctl; and the devices that lead outside."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from pathlib import Path

_SIOCETHTOOL = 0x8946  # <linux/sockios.h>
_GSTRINGS, _GSSET_INFO, _GFEATURES = 0x1B, 0x37, 0x3A  # <linux/ethtool.h>
_SS_FEATURES = 4
_STRING = 32


def default_devices() -> list[str]:
    """Names of the devices that default routes lead to, IPv4 and IPv6; the receiving side of a tunnel's datagrams."""
    found: set[str] = set()
    for line in _lines("/proc/net/route")[1:]:
        name, destination, *_, mask = line.split()[:8]
        if destination == mask == "00000000":
            found.add(name)
    for line in _lines("/proc/net/ipv6_route"):
        fields = line.split()
        if fields[1] == "00" and int(fields[0], 16) == 0 and fields[-1] != "lo":
            found.add(fields[-1])
    return sorted(found)


def features(device: str) -> dict[str, bool]:
    """Whether each feature of `device` is on, by the kernel's name (`rx-gro`, `rx-udp-gro-forwarding`).

    Raises OSError: no such device, or a driver that does not tell.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        head = struct.pack("=IIQ", _GSSET_INFO, 0, 1 << _SS_FEATURES)
        (count,) = struct.unpack_from("=I", _ask(sock, device, head, 4), len(head))
        head = struct.pack("=III", _GSTRINGS, _SS_FEATURES, count)
        strings = _ask(sock, device, head, count * _STRING)[len(head) :]
        blocks = (count + 31) // 32
        head = struct.pack("=II", _GFEATURES, blocks)
        words = struct.iter_unpack("=IIII", _ask(sock, device, head, 16 * blocks)[len(head) :])
    active = [on for _, _, on, _ in words]
    names = [strings[i * _STRING : (i + 1) * _STRING].split(b"\0")[0].decode() for i in range(count)]
    return {name: bool(active[i // 32] >> i % 32 & 1) for i, name in enumerate(names) if name}


def _ask(sock: socket.socket, device: str, head: bytes, room: int) -> bytes:
    buffer = array.array("B", head + bytes(room))
    fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", os.fsencode(device), buffer.buffer_info()[0]))
    return buffer.tobytes()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
