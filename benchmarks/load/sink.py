"""The sink: `python -m benchmarks.load.sink HOST PORT` counts datagrams until none has come for a quarter of a second.

Prints `ready`, then {"received": datagrams, "seconds": from the first batch to the last}. Gives up waiting for the
first after five seconds.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

from benchmarks.load.batch import Incoming, open_socket

SILENCE_SECONDS = 0.25
FIRST_SECONDS = 5.0


def main() -> None:
    """As the command line says."""
    host, port = sys.argv[1:]
    with open_socket(bind=(host, int(port))) as sock:
        print("ready", flush=True)
        received, took = count(sock)
    print(json.dumps({"received": received, "seconds": took}))


def count(sock: socket.socket) -> tuple[int, float]:
    """How many came, and how long it was from the first batch to the last."""
    incoming = Incoming()
    _patience(sock, FIRST_SECONDS)
    received = incoming.receive(sock)
    began = last = time.monotonic()
    _patience(sock, SILENCE_SECONDS)
    while got := incoming.receive(sock):
        received += got
        last = time.monotonic()
    return received, last - began


def _patience(sock: socket.socket, seconds: float) -> None:
    """A socket's timeout in the kernel: Python's own would make it non-blocking."""
    whole = int(seconds)
    timeout = struct.pack("ll", whole, round((seconds - whole) * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)


if __name__ == "__main__":
    main()
