"""What of this machine helps or hinders: each check tries the real thing, and knows the command that changes it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from ovng import clock, limits
from ovng.config.mobility import HOOKS
from ovng.errors import OvngError, SystemProblem
from ovng.io import ethtool, niceness, sockets, sysctl
from ovng.io.files import runtime_dir
from ovng.io.hooks import programs

_CAP_NET_ADMIN = 12  # <linux/capability.h>
_UDP_SEGMENT = 103  # <linux/udp.h>
_SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>
_ROUNDS, _CALLS = 5, 400
_MLKEM_OPENSSL = (3, 5)


class State(Enum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """It works, and could be better."""
    MISSING = "missing"
    """ovng cannot work without."""


class Check(NamedTuple):
    """One line of `ovng doctor`."""

    name: str
    state: State
    value: str
    advice: str = ""
    """The command or the change that helps."""


def examine(libcrypto: str | None = None, hooks: Path = HOOKS) -> list[Check]:
    """All checks, in the order they are shown. Makes and removes one TUN interface where it may."""
    groups: tuple[Callable[[], Iterator[Check]], ...] = (
        _kernel,
        _tun,
        _udp,
        lambda: _cryptography(libcrypto),
        _handshakes,
        _network,
        _precedence,
        _buffers,
        _receive_offloads,
        _tcp,
        _forwarding,
        _clock,
        _runtime,
        lambda: _hooks(hooks),
    )
    return [check for group in groups for check in group()]


def _ok(name: str, value: str) -> Check:
    return Check(name, State.OK, value)


def _kernel() -> Iterator[Check]:
    yield _ok(
        "system", f"{platform.system()} {platform.release()}, {platform.machine()}, Python {sys.version.split()[0]}"
    )
    if has_capability(_CAP_NET_ADMIN):
        yield _ok("CAP_NET_ADMIN", "yes")
    else:
        yield Check(
            "CAP_NET_ADMIN", State.MISSING, "no", "run nodes as root or give them CAP_NET_ADMIN; a Switch needs none"
        )


def has_capability(number: int) -> bool:
    """Whether this process has a capability in effect (capabilities(7))."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _precedence() -> Iterator[Check]:
    if niceness.is_permitted():
        yield _ok("nice", f"{limits.NICE}: traffic does not wait for other programs")
    else:
        advice = (
            f"LimitNICE={limits.NICE} in the service's unit, or CAP_SYS_NICE: under load, traffic waits for programs"
        )
        yield Check("nice", State.WARN, f"{limits.NICE} is not permitted", advice)
    if niceness.has_moderation():
        yield _ok("moderation", "senders of many small packets are not interrupted")
    else:
        advice = "permit sched_setscheduler(2): fewer small packets pass where their sender shares the processors"
        yield Check("moderation", State.WARN, "SCHED_BATCH is refused", advice)


def _tun() -> Iterator[Check]:
    from ovng.io.tun import DEVICE, open_tun

    try:
        with open_tun("ovngprobe%d") as tun:
            offloads = tun.offloads
    except OvngError as error:
        yield Check("TUN", State.MISSING, f"{DEVICE} cannot be used", str(error))
        return
    yield _ok("TUN", DEVICE)
    newer = {"vnet_hdr": "Linux 2.6.27", "tso": "Linux 2.6.27", "uso": "Linux 6.2"}
    for name, there in offloads._asdict().items():
        advice = f"{newer[name]} or newer has it: packets pass the TUN one by one without"
        yield _ok(f"TUN {name}", "yes") if there else Check(f"TUN {name}", State.WARN, "no", advice)


def _udp() -> Iterator[Check]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        one_by_one, no_limit = "datagrams are handed over one by one", "datagrams wait as long as the buffer lets them"
        found = (
            ("UDP GSO", _takes(sock, socket.SOL_UDP, _UDP_SEGMENT, 1400), "Linux 4.18", one_by_one),
            ("UDP GRO", sockets.enable_gro(sock), "Linux 5.0", one_by_one),
            ("UDP timestamps", _takes(sock, socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1), "Linux 2.6.22", no_limit),
        )
    for name, there, version, without in found:
        advice = f"{version} or newer has it: {without} without"
        yield _ok(name, "yes") if there else Check(name, State.WARN, "no", advice)


def _takes(sock: socket.socket, level: int, option: int, value: int) -> bool:
    """Whether the kernel knows a socket option."""
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def _cryptography(path: str | None) -> Iterator[Check]:
    try:
        from ovng._fast import crypto
        from ovng.io.libcrypto import AES_256_GCM, CHACHA20_POLY1305, load_libcrypto
    except ImportError as error:
        yield Check(
            "compiled part", State.MISSING, str(error), "build it with `make`, or install a wheel for this machine"
        )
        return
    try:
        yield _ok("libcrypto", load_libcrypto(path))
    except OvngError as error:
        yield Check("libcrypto", State.MISSING, "cannot be used", str(error))
        return
    has_aes = crypto.cpu_has_aes()
    yield _ok("AES instructions", "yes" if has_aes else "no: ChaCha20-Poly1305 is used")
    for name, cipher in (("AES-256-GCM", AES_256_GCM), ("ChaCha20-Poly1305", CHACHA20_POLY1305)):
        (seal_small, open_small), (seal_large, open_large) = (_aead_nanoseconds(cipher, size) for size in (64, 1400))
        yield _ok(
            name,
            f"seal {seal_small:.0f} ns for 64 B, {seal_large:.0f} ns for 1400 B;"
            f" open {open_small:.0f} and {open_large:.0f} ns ({1400 * 8 / seal_large:.1f} Gbit/s a core)",
        )


def _aead_nanoseconds(cipher: int, size: int) -> tuple[float, float]:
    """Time of one seal and of one open, the call from Python included (about 200 ns)."""
    from ovng._fast.aead import Aead

    aead, nonce, aad, plain = Aead(cipher, bytes(32)), bytes(12), bytes(28), bytes(size)
    sealed = aead.seal(nonce, aad, plain)
    return (
        _nanoseconds(lambda: aead.seal(nonce, aad, plain)),
        _nanoseconds(lambda: aead.open(nonce, aad, sealed)),
    )


def _nanoseconds(call: Callable[[], object]) -> float:
    """The mean of the best of five rounds, so that what else the machine does counts little."""
    best = float("inf")
    for _ in range(_ROUNDS):
        start = clock.now().mono
        for _ in range(_CALLS):
            call()
        best = min(best, clock.now().mono - start)
    return best / _CALLS * 1e9


def _handshakes() -> Iterator[Check]:
    if ssl.OPENSSL_VERSION_INFO[:2] >= _MLKEM_OPENSSL:
        yield _ok("TLS", f"{ssl.OPENSSL_VERSION}, X25519MLKEM768")
    elif ssl.HAS_TLSv1_3:
        yield _ok("TLS", f"{ssl.OPENSSL_VERSION}, X25519 (3.5 and newer: X25519MLKEM768)")
    else:
        yield Check("TLS", State.MISSING, f"{ssl.OPENSSL_VERSION} without TLS 1.3", "use a Python built with OpenSSL 3")
    from ovng.io.credentials import memfd_path

    try:
        with memfd_path(b"probe") as path:
            Path(path).read_bytes()
        yield _ok("memory files", "yes")
    except (OvngError, OSError) as error:
        yield Check("memory files", State.MISSING, "no", str(error))


def _network() -> Iterator[Check]:
    from ovng.io.rtnetlink import RouteSocket
    from ovng.io.watch import watch_network

    lean = shutil.which("ubus") is not None  # OpenWrt: netifd configures, and pyroute2 is not needed
    try:
        RouteSocket(lean=lean).close()
        yield _ok("netlink", "yes")
    except (OSError, ImportError) as error:
        yield Check("netlink", State.MISSING, "no", str(error))
    try:
        watcher, name, reason = watch_network("", lean=lean)
        watcher.close()
        if reason:
            yield Check("network watcher", State.WARN, name, f"changes are seen late: {reason}")
        else:
            yield _ok("network watcher", name)
    except OvngError as error:
        yield Check("network watcher", State.MISSING, "none", str(error))
    if not sockets.ipv6_available():
        yield Check(
            "IPv6", State.WARN, "no", "the kernel was built or booted without: Switches are reached by IPv4 only"
        )
    elif sysctl.read("net.ipv6.conf.all.disable_ipv6") == "1":
        yield Check("IPv6", State.WARN, "switched off", "sysctl -w net.ipv6.conf.all.disable_ipv6=0")
    else:
        yield _ok("IPv6", "yes")


def _buffers() -> Iterator[Check]:
    wanted, forced = sockets.BUFFER_BYTES, has_capability(_CAP_NET_ADMIN)
    for direction, name in sysctl.BUFFERS.items():
        limit = sysctl.buffer_limit(direction)
        value = f"{limit} bytes"
        if limit >= wanted or forced:
            yield _ok(f"UDP {direction} buffer", value if limit >= wanted else f"{value}, not a limit for this user")
        else:
            yield Check(f"UDP {direction} buffer", State.WARN, value, f"sysctl -w {name}={wanted}")


def _receive_offloads() -> Iterator[Check]:
    """Of the devices that datagrams come in by: without these they come one by one, each with its own cost."""
    for device in ethtool.default_devices():
        try:
            found = ethtool.features(device)
        except OSError as error:
            yield Check(f"{device} offloads", State.WARN, f"unknown: {error.strerror}", f"see `ethtool -k {device}`")
            continue
        for feature, option in (("rx-gro", "gro"), ("rx-udp-gro-forwarding", "rx-udp-gro-forwarding")):
            name = f"{device} {feature}"
            if found.get(feature):
                yield _ok(name, "on")
            elif feature in found:
                yield Check(name, State.WARN, "off", f"ethtool -K {device} {option} on")
            else:
                yield Check(name, State.WARN, "not there", "Linux 5.12 or newer has it")


def _tcp() -> Iterator[Check]:
    used, available = sysctl.congestion_control()
    name = "TCP congestion control"
    if not used:
        yield Check(name, State.WARN, "unknown", "mount /proc")
    elif used == "reno":
        better = next((entry for entry in ("bbr", "cubic") if entry in available), "cubic")
        yield Check(name, State.WARN, used, f"sysctl -w {sysctl.CONGESTION_CONTROL}={better}")
    else:
        yield _ok(name, f"{used} (of {', '.join(available)})")


def _forwarding() -> Iterator[Check]:
    for version, name in sysctl.FORWARD.items():
        forwards = sysctl.ip_forward(version)
        if forwards is not None:
            off = f"off; a node with routes behind it needs `forward: true`, or sysctl -w {name}=1"
            yield _ok(f"forwarding IPv{version}", "on" if forwards else off)


def _clock() -> Iterator[Check]:
    """A clock that is behind the installation of this very file is wrong."""
    wall, installed = clock.now().wall, Path(__file__).stat().st_mtime
    shown = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if wall < installed - 86_400:
        advice = "set it (`timedatectl set-ntp true`): ovng works, but cannot tell what has expired"
        yield Check("clock", State.WARN, f"{shown}: is wrong", advice)
    else:
        yield _ok("clock", shown)


def _runtime() -> Iterator[Check]:
    try:
        path = runtime_dir(create=False)
        existing = next(entry for entry in (path, *path.absolute().parents) if entry.exists())
        if not os.access(existing, os.W_OK):
            raise SystemProblem("run as root, or set OVNG_RUNTIME_DIR to a directory of yours")
        yield _ok("runtime directory", str(path))
    except OvngError as error:
        yield Check("runtime directory", State.MISSING, "cannot be written", str(error))


def _hooks(directory: Path) -> Iterator[Check]:
    good, refused = programs(directory)
    value = f"{', '.join(path.name for path in good) or 'none'} in {directory}"
    if refused:
        yield Check("hooks", State.WARN, f"{value}, {len(refused)} refused", "; ".join(refused))
    else:
        yield _ok("hooks", value)
