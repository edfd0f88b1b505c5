"""One long TCP transfer that can be checked and watched: `python -m ovng.demo.transfer receive|send HOST PORT …`.

What is sent repeats a marker that a capture can be searched for, and a counter, so that no two blocks are the same.
Both ends hash all of it. The receiver tells on its output, a JSON object per line, how far it is, and at the end the
silences: times in which nothing came for longer than `SILENCE_MS`, on the machine's monotonic clock, which all hosts
here share.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from typing import Any

from ovng.clock import now

MARKER = b"<<ovng demo: if you can read this, it was not encrypted>>"
BLOCK = 1 << 20
SILENCE_MS = 2.0
REPORT_BYTES = 16 << 20
CONNECT_SECONDS = 20.0
STALL_SECONDS = 60.0


def _block(number: int) -> bytes:
    piece = MARKER + number.to_bytes(8, "big").hex().encode()
    return (piece * (BLOCK // len(piece) + 1))[:BLOCK]


def send(host: str, port: int, total: int) -> dict[str, Any]:
    """Connect and send `total` bytes (rounded up to whole blocks)."""
    digest, sent = hashlib.sha256(), 0
    with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as connection:
        connection.settimeout(STALL_SECONDS)
        while sent < total:
            block = _block(sent // BLOCK)
            connection.sendall(block)
            digest.update(block)
            sent += len(block)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # the far end has everything
    return {"bytes": sent, "sha256": digest.hexdigest()}


def receive(host: str, port: int) -> dict[str, Any]:
    """Take one connection and everything it brings."""
    digest, received, told = hashlib.sha256(), 0, 0
    silences: list[tuple[float, float]] = []
    buffer = memoryview(bytearray(BLOCK))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as server:
        _tell({"listening": port})
        server.settimeout(STALL_SECONDS)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(STALL_SECONDS)
            start = last = now().mono
            while size := connection.recv_into(buffer):
                at = now().mono
                if (at - last) * 1000 > SILENCE_MS:
                    silences.append((last, at))
                digest.update(buffer[:size])
                received += size
                last = now().mono  # hashing is no silence
                if received - told >= REPORT_BYTES:
                    told = received
                    _tell({"bytes": received})
    return {
        "bytes": received,
        "sha256": digest.hexdigest(),
        "seconds": last - start,
        "silences": silences,
    }


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """`receive HOST PORT` or `send HOST PORT BYTES`; the last line of output is the result."""
    match arguments:
        case ["receive", host, port]:
            _tell(receive(host, int(port)))
        case ["send", host, port, total]:
            _tell(send(host, int(port), int(total)))
        case _:
            sys.stderr.write("usage: transfer receive HOST PORT | send HOST PORT BYTES\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
