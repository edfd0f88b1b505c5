"""The generator: `python -m benchmarks.load.send HOST PORT SIZE RATE SECONDS`; RATE is per second, 0 for all it can.

Prints {"sent": datagrams, "seconds": how long it took} when it is done.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.load.batch import BATCH, Outgoing, open_socket

BURST_SECONDS = 0.0005
"""Datagrams of half a millisecond go out together, 64 at most: no sleep is much shorter."""


def main() -> None:
    """As the command line says."""
    host, port, size, rate, seconds = sys.argv[1:]
    sent, took = send((host, int(port)), int(size), float(rate), float(seconds))
    print(json.dumps({"sent": sent, "seconds": took}))


def send(to: tuple[str, int], size: int, rate: float, seconds: float) -> tuple[int, float]:
    """How many datagrams of `size` bytes left, and in how many seconds."""
    outgoing, burst = Outgoing([bytes(size)] * BATCH), BATCH
    if rate:
        burst = max(1, min(BATCH, round(rate * BURST_SECONDS)))
    with open_socket(connect=to) as sock:
        sent, began = 0, time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            early = (sent + burst) / rate - elapsed if rate else 0.0
            if early > 0:
                time.sleep(early)
            sent += outgoing.send(sock, 0, burst)
        return sent, time.monotonic() - began


if __name__ == "__main__":
    main()
