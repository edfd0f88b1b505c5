"""Tells systemd how the service is (sd_notify(3)): one datagram to the socket named by NOTIFY_SOCKET, if any."""

from __future__ import annotations

import os
import socket

from ovng.clock import Now


def ready(status: str = "") -> None:
    """The service works (also after a reload)."""
    _send("READY=1", f"STATUS={status}" if status else "")


def reloading(now: Now) -> None:
    """A reload has begun; `ready` ends it. systemd wants the instant on CLOCK_MONOTONIC (Type=notify-reload)."""
    _send("RELOADING=1", f"MONOTONIC_USEC={int(now.mono * 1e6)}")


def stopping() -> None:
    """The service ends."""
    _send("STOPPING=1")


def status(text: str) -> None:
    """One line for `systemctl status`."""
    _send(f"STATUS={text}")


def watchdog() -> None:
    """The service is alive."""
    _send("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Seconds between two `watchdog` calls, half of what systemd allows; None when it does not watch this process."""
    allowed, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not allowed.isdecimal() or int(allowed) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(allowed) / 2e6


def _send(*lines: str) -> None:
    """Send, or not: systemd gone or busy is no reason to fail."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path  # @ is an abstract socket
    text = "\n".join(line.replace("\n", " ") for line in lines if line)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(text.encode(), address)
        except OSError:
            pass
