"""The TUN device: IP packets of this machine's applications, read and written by the data path.

With `IFF_VNET_HDR` every packet carries a 10-byte virtio header in front. It lets the kernel hand over TCP and UDP
super-packets of up to 64 KiB whose segmentation and checksums are still to be done (TSO, USO), and take the same from
us. What the kernel refuses is given up, newest feature first. The device is not persistent: it disappears, with its
addresses and routes, when the last descriptor closes. See Linux Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Mapping
from typing import NamedTuple

from ovng.errors import SystemProblem

DEVICE = "/dev/net/tun"
NAME_MAX = 15  # IFNAMSIZ - 1

# <linux/if_tun.h>; fcntl has no names for them. _IOW('T', n, int), whose direction bits differ on some machines.
_IOW_INT = 0x80040000 if os.uname().machine.startswith(("mips", "ppc", "sparc")) else 0x40040000
_TUNSETIFF = _IOW_INT | 0x54CA
_TUNSETOFFLOAD = _IOW_INT | 0x54D0
_TUNSETVNETHDRSZ = _IOW_INT | 0x54D8
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000
_F_CSUM = 0x01
_F_TSO = 0x02 | 0x04 | 0x08  # TSO4, TSO6, TSO with ECN
_F_USO = 0x20 | 0x40  # USO4, USO6: Linux 6.2
_IFREQ = struct.Struct("16sH22x")
_VNET_HEADER_SIZE = 10


class Offloads(NamedTuple):
    """What one TUN device does for us. `tso` and `uso` need `vnet_hdr`."""

    vnet_hdr: bool
    tso: bool
    uso: bool


class Tun:
    """An open TUN device. Closing it removes the interface."""

    def __init__(self, fd: int, name: str, offloads: Offloads) -> None:
        self._fd = fd
        self.name = name
        self.offloads = offloads

    def fileno(self) -> int:
        """The non-blocking descriptor; -1 after `close`."""
        return self._fd

    def close(self) -> None:
        """Remove the interface. Harmless when done twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Tun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_tun(name: str, wanted: Mapping[str, bool] | None = None) -> Tun:
    """Create the interface `name` (1 … 15 bytes; `%d` is filled in by the kernel) in the current network namespace.

    `wanted` may turn `vnet_hdr`, `tso` or `uso` off (missing = on). Raises SystemProblem with what to do about it.
    """
    wanted = wanted or {}
    if not 1 <= len(name.encode()) <= NAME_MAX or "/" in name or any(c.isspace() for c in name):
        raise SystemProblem(f"{name!r} is not an interface name (1 to {NAME_MAX} bytes, no space, no slash)")
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SystemProblem(_why_no_device(error)) from error
    try:
        vnet_hdr = wanted.get("vnet_hdr", True)
        try:
            actual = _attach(fd, name, _IFF_VNET_HDR if vnet_hdr else 0)
        except OSError as error:
            raise SystemProblem(_why_no_interface(error, name)) from error
        if not vnet_hdr:
            return Tun(fd, actual, Offloads(False, False, False))
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _VNET_HEADER_SIZE))
        return Tun(fd, actual, _negotiate(fd, wanted.get("tso", True), wanted.get("uso", True)))
    except BaseException:
        os.close(fd)
        raise


def _attach(fd: int, name: str, flags: int) -> str:
    request = _IFREQ.pack(name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL | flags)
    answer = fcntl.ioctl(fd, _TUNSETIFF, request)
    return bytes(_IFREQ.unpack(answer)[0]).rstrip(b"\0").decode()


def _negotiate(fd: int, tso: bool, uso: bool) -> Offloads:
    """Ask for less until the kernel agrees."""
    for with_tso, with_uso in ((tso, uso), (tso, False), (False, False)):
        flags = _F_CSUM | (_F_TSO if with_tso else 0) | (_F_USO if with_uso else 0)
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, flags)
        except OSError:
            continue
        return Offloads(True, with_tso, with_uso)
    return Offloads(True, False, False)  # a kernel that fills in every checksum: still correct


def _why_no_device(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission to open {DEVICE}: run as root or give the process CAP_NET_ADMIN"
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"{DEVICE} is missing: load the kernel module (modprobe tun), or give the container that device"
    return f"cannot open {DEVICE}: {error.strerror}"


def _why_no_interface(error: OSError, name: str) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"no permission to create the interface {name}: run as root or give the process CAP_NET_ADMIN"
    if error.errno in (errno.EBUSY, errno.EEXIST, errno.EINVAL):
        return f"the interface {name} exists already: choose another name in the profile (interface:) or remove it"
    return f"cannot create the interface {name}: {error.strerror}"
