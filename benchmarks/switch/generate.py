"""The generator: `python -m benchmarks.switch.generate CASE HOST PORT ORDER SECONDS`, on the machine's first core.

Prints `ready` when it begins and {"sent": datagrams, "seconds": how long it took} when it is done.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

from benchmarks.load.batch import BATCH, Outgoing, open_socket
from benchmarks.switch.cases import CASES, SOURCES, Case, Order, messages
from benchmarks.switch.place import source

_SOL_UDP, _UDP_SEGMENT = 17, 103
_TRAINS_PER_CALL = 4


def main() -> None:
    """As the command line says."""
    key, host, port, order, seconds = sys.argv[1:]
    (case,) = (case for case in CASES if case.key == key)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    to = host, int(port)
    ids: Order = "big" if order == "big" else "little"
    pairs = [(_open(case, index, to), Outgoing(messages(case, index, ids))) for index in range(SOURCES)]
    print("ready", flush=True)
    sent, took = _run(pairs, _TRAINS_PER_CALL if case.train else BATCH, float(seconds))
    print(json.dumps({"sent": sent * case.segments, "seconds": took}))


def _open(case: Case, index: int, to: tuple[str, int]) -> socket.socket:
    sock = open_socket(bind=source(index), connect=to)
    if case.train:
        sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, case.size)
    return sock


def _run(pairs: list[tuple[socket.socket, Outgoing]], batch: int, seconds: float) -> tuple[int, float]:
    """The sources take turns, a batch each. How many messages left, and in how many seconds."""
    sent, first, began = 0, 0, time.monotonic()
    while (took := time.monotonic() - began) < seconds:
        for sock, outgoing in pairs:
            sent += outgoing.send(sock, first, batch)
        first = (first + batch) % (len(pairs[0][1]) - batch + 1)
    return sent, took


if __name__ == "__main__":
    main()
