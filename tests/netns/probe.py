"""Numbered UDP packets: `python -m tests.netns.probe send|receive ADDRESS PORT [RATE]`, until SIGTERM; then JSON.

The sender keeps its rate by the clock, not by counting pauses, so a stall of the machine is caught up. The receiver
waits 0.3 s after the signal for what is still under way.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from types import FrameType

from ovng.clock import now

LATE_SECONDS = 0.3
PAYLOAD = 200


class _Stop:
    asked = False

    def __init__(self) -> None:
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def _tell(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def send(address: str, port: int, rate: int) -> None:
    """One packet every 1/rate seconds."""
    stop, number, failed = _Stop(), 0, 0
    with _socket(address) as sock, socket.socketpair()[0] as pause:
        start = now().mono
        while not stop.asked:
            while number < (now().mono - start) * rate:
                try:
                    sock.sendto(number.to_bytes(8, "big") + bytes(PAYLOAD), (address, port))
                except OSError:
                    failed += 1  # the interface is away: that packet is lost, and counted as sent
                number += 1
            pause.settimeout(1 / rate)
            try:
                pause.recv(1)
            except TimeoutError:
                continue
    _tell({"sent": number, "failed": failed})


def receive(address: str, port: int) -> None:
    """Count, and look for gaps, copies and disorder."""
    stop = _Stop()
    seen: set[int] = set()
    twice = reordered = 0
    highest, last, longest = -1, 0.0, 0.0
    with _socket(address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.bind((address, port))
        sock.settimeout(LATE_SECONDS)
        _tell({"listening": port})
        while True:
            try:
                data = sock.recv(2048)
            except TimeoutError:
                if stop.asked:
                    break
                continue
            at, number = now().mono, int.from_bytes(data[:8], "big")
            twice += number in seen
            reordered += number < highest
            seen.add(number)
            highest = max(highest, number)
            longest = max(longest, at - last) if last else 0.0
            last = at
    _tell(
        {
            "received": len(seen),
            "twice": twice,
            "reordered": reordered,
            "longest_gap_ms": round(longest * 1000, 1),
        }
    )


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        receive(sys.argv[2], int(sys.argv[3]))
