"""UDP sockets as both services want them: dual-stack, non-blocking, with large buffers, and a clear error each.

An IPv6 wildcard carries IPv4 too (mapped addresses). Buffers are asked for beyond the machine's limit (root may), then
up to it. GRO hands whole trains over in one receive; a kernel without it delivers datagrams one by one.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from typing import NamedTuple

from ovng.errors import SystemProblem
from ovng.ids import Locator
from ovng.limits import MAX_CONTROL_DATAGRAM

BUFFER_BYTES = 16 << 20  # 10 ms at 13 Gbit/s; unused buffer costs nothing
UDP_GRO = 104  # <linux/udp.h>; Python has no name for it
SO_SNDBUFFORCE = 31 if os.uname().machine.startswith("mips") else 32  # <asm/socket.h>; there 32 is SO_BROADCAST
SO_RCVBUFFORCE = 33
NO_ADDRESS = bytes(16)
IP_PKTINFO = 8  # <linux/in.h>
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
PMTUDISC_DONT, PMTUDISC_PROBE = 0, 3
IFNAMSIZ = 16  # <linux/if.h>
SO_MARK = 36  # <asm-generic/socket.h>


class UdpSocket(NamedTuple):
    """A bound socket and what it can do."""

    sock: socket.socket
    gro: bool
    reaches_v4: bool
    reaches_v6: bool
    wildcard: bool
    """Bound to no address: answers must name the one they leave from (`reply_from`)."""


def ipv6_available() -> bool:
    """Whether this kernel makes IPv6 sockets (it may have been booted without)."""
    if not socket.has_ipv6:
        return False
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


def open_udp(host: str, port: int, *, reuse_port: bool = False, v6_only: bool = False, gro: bool = True) -> UdpSocket:
    """A UDP socket bound to a numeric `host` ("::" = every address, IPv4 too unless `v6_only`) and `port` (0 = any).

    Where the kernel has no IPv6, "::" means every IPv4 address. Raises SystemProblem with what to do.
    """
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        raise SystemProblem(f"cannot listen on {host!r}: write a numeric address, or [::] for all") from None
    if address == ipaddress.IPv6Address("::") and not v6_only and not ipv6_available():
        address, host = ipaddress.IPv4Address("0.0.0.0"), "0.0.0.0"
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    dual = family == socket.AF_INET6 and address.is_unspecified and not v6_only
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise SystemProblem(f"no UDP socket for {_show(host, port)}: {error.strerror}") from None
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        grow_buffers(sock)
        if address.is_unspecified:
            _tell_local_address(sock)
        _bind(sock, host, port)
        return UdpSocket(
            sock,
            gro and enable_gro(sock),
            family == socket.AF_INET or dual,
            family == socket.AF_INET6,
            address.is_unspecified,
        )
    except BaseException:
        sock.close()
        raise


def open_uplink(interface: str, port: int = 0, mark: int = 0) -> UdpSocket:
    """A UDP socket that sends and hears on one interface only, for IPv4 and IPv6; `port` 0 = the kernel chooses.

    The kernel chooses the source among that interface's addresses. `mark` (32 bits, 0 = none) is what rules for routes
    and firewalls see on each packet. Raises SystemProblem with what to do.
    """
    name = interface.encode()
    udp = open_udp("::", port)
    try:
        if not 0 < len(name) < IFNAMSIZ:  # the kernel would take "" as every one, and cut a longer one
            raise OSError(errno.ENODEV, "")
        udp.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        if mark:
            udp.sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark.to_bytes(4, sys.byteorder))
    except OSError as error:
        udp.sock.close()
        match error.errno:
            case errno.ENODEV:
                advice = f"there is no interface {interface!r}: `ip link` shows those there are"
            case errno.EPERM:
                advice = f"no permission to use the interface {interface!r} alone: run as root, or with CAP_NET_RAW"
                advice += " and CAP_NET_ADMIN"
            case _:
                advice = f"cannot use the interface {interface!r}: {error.strerror}"
        raise SystemProblem(advice) from None
    return udp


def check_port_free(host: str, port: int, *, v6_only: bool = False) -> None:
    """Raise SystemProblem when another process is bound there, also one that would share the port."""
    open_udp(host, port, v6_only=v6_only, gro=False).sock.close()


def grow_buffers(sock: socket.socket, size: int = BUFFER_BYTES) -> None:
    """Ask for `size` bytes each way: beyond the machine's limit where permitted, else up to it. Never fails."""
    pairs = ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF))
    for force, plain in pairs:
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, size)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, size)


def enable_gro(sock: socket.socket) -> bool:
    """Whether the kernel (Linux 5.0 or newer) will hand over whole trains."""
    try:
        sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def send_to(sock: socket.socket, datagram: bytes, to: Locator, local: bytes = NO_ADDRESS) -> bool:
    """Send one datagram, from `local` (16 bytes, zeros = the kernel chooses). False: as good as lost on the way.

    One that is larger than any but a probe of the path's size leaves in one piece or not at all. (DATA that another
    thread sends by the same socket in these microseconds does so, too.)
    """
    if sock.family == socket.AF_INET:
        if to.ip.version != 4:
            return False
        host = str(to.ip)
    else:
        host = socket.inet_ntop(socket.AF_INET6, to.address)
    probe = len(datagram) > MAX_CONTROL_DATAGRAM
    try:
        if probe:
            set_fragments(sock, allowed=False)
        sock.sendmsg([datagram], reply_from(sock.family, local), socket.MSG_DONTWAIT, (host, to.port))
    except OSError:  # full buffer, no route, a firewall, larger than the interface's MTU
        return False
    finally:
        if probe:
            set_fragments(sock, allowed=True)
    return True


def set_fragments(sock: socket.socket, *, allowed: bool) -> None:
    """Whether the outer IP layer may fragment; if not, the path's MTU as the kernel knows it does not count (RFC 4821).

    Raises OSError when the kernel refuses.
    """
    how = PMTUDISC_DONT if allowed else PMTUDISC_PROBE
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, how)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, how)


def reply_from(family: socket.AddressFamily, local: bytes) -> list[tuple[int, int, bytes]]:
    """Ancillary data with which `sendmsg` sends from `local` (16 bytes; zeros = the kernel chooses)."""
    if not any(local):
        return []
    if family == socket.AF_INET6:
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, local + bytes(4))]  # struct in6_pktinfo, any interface
    return [(socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + local[12:] + bytes(4))]  # struct in_pktinfo


def _tell_local_address(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def _bind(sock: socket.socket, host: str, port: int) -> None:
    try:
        sock.bind((host, port))
    except OSError as error:
        where = _show(host, port)
        match error.errno:
            case errno.EADDRINUSE:
                advice = f"UDP {where} is in use: stop the other process (`ss -ulpn` shows it) or choose another port"
            case errno.EADDRNOTAVAIL:
                advice = f"{host} is not an address of this machine: write one that is, or [::] for all"
            case errno.EACCES | errno.EPERM:
                advice = f"no permission to listen on UDP {where}: run as root, or choose a port above 1023"
            case _:
                advice = f"cannot listen on UDP {where}: {error.strerror}"
        raise SystemProblem(advice) from None


def _show(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
