"""`python -m benchmarks.instructions`: how many instructions a packet costs in each part of the data path.

A count needs no quiet machine. Valgrind (callgrind) runs a process that does each operation for some packets and for
twice as many; the difference is the packets alone, without what a call from Python costs once. Only seal and open,
one call for each packet, have their call in it. Instructions are told apart by the file they lie in: `own` is
`ovng/_fast`, which `instructions.json` bounds and `tests/quality` holds; `libcrypto` and `libc` (copies, clearing) are
told, not held: valgrind's CPU has no AVX-512, so that another code of theirs runs here than elsewhere.

The driver says "next" by calling getppid, where callgrind writes down what it counted and begins anew. Needs no root.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
BOUNDS = Path(__file__).with_suffix(".json")
HEADROOM = 1.1
RENEW = "python -m benchmarks.instructions --renew"

Cost = dict[str, float]
"""Instructions of one packet by the file they lie in: "own", "libcrypto", "libc"."""


class Operation(NamedTuple):
    """`run(packets)` is called with `packets` and with twice as many."""

    name: str
    packets: int
    prepare: Callable[[int], Callable[[], object]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description="Instructions per packet.")
    parser.add_argument("--renew", action="store_true", help=f"write new bounds into {BOUNDS.name}")
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.drive:
        _drive()
        return 0
    costs = measured()
    if options.renew:
        _renew(costs)
    print(render(costs, bounds()))
    return 0


def bounds() -> dict[str, int]:
    """Operation → the most instructions of our own that a packet may cost."""
    read: dict[str, int] = json.loads(BOUNDS.read_text())
    return read


def exceeded(costs: dict[str, Cost], most: dict[str, int]) -> list[str]:
    """What is beyond its bound, or has none, in words."""
    words = []
    for name, cost in costs.items():
        bound = most.get(name, 0)
        if cost["own"] > bound:
            words.append(f"{name}: {cost['own']:.0f} instructions per packet, the bound is {bound} (renew: {RENEW})")
    return words


def render(costs: dict[str, Cost], most: dict[str, int]) -> str:
    """The table."""
    lines = [f"{'instructions per packet':<26}{'own':>8}{'bound':>8}{'libcrypto':>11}{'libc':>8}"]
    for name, cost in costs.items():
        figures = f"{cost['own']:>8.0f}{most.get(name, 0):>8}{cost['libcrypto']:>11.0f}{cost['libc']:>8.0f}"
        lines.append(f"{name:<26}{figures}")
    return "\n".join(lines)


def _renew(costs: dict[str, Cost]) -> None:
    new = {name: round(cost["own"] * HEADROOM) for name, cost in costs.items()}
    BOUNDS.write_text(json.dumps(new, indent=2) + "\n")


# -- Counting


def measured() -> dict[str, Cost]:
    """Operation → cost of one packet, counted now. Raises FileNotFoundError without valgrind."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "count")
        command = ["valgrind", "-q", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"]
        command += ["--compress-strings=no", sys.executable, "-m", "benchmarks.instructions", "--drive"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the driver failed under valgrind: {done.stderr.strip()[-2000:]}")
        # Part 1 is what went before; then each operation once and twice, with what prepared it before each.
        parts = [_instructions(out.with_suffix(f".{number}")) for number in range(2, 2 + 4 * len(OPERATIONS), 2)]
    once, twice = parts[::2], parts[1::2]
    return {
        operation.name: {where: (double[where] - single[where]) / operation.packets for where in _PLACES}
        for operation, single, double in zip(OPERATIONS, once, twice, strict=True)
    }


_PLACES = {"own": r"/ovng/_fast/", "libcrypto": r"/libcrypto", "libc": r"/libc\.so"}


def _instructions(profile: Path) -> Counter[str]:
    """Where the instructions of one part lie (Valgrind manual, "Callgrind Format Specification")."""
    found: Counter[str] = Counter()
    where, inclusive = "", False
    for line in profile.read_text().splitlines():
        if line.startswith("ob="):
            where = next((place for place, pattern in _PLACES.items() if re.search(pattern, line)), "")
        elif line.startswith("calls="):
            inclusive = True  # the next line counts what the called one costs, which stands there, too
        elif re.match(r"[+\-*\d]", line):
            if not inclusive:
                found[where] += int(line.split()[1])
            inclusive = False
    return found


# -- What is counted; runs under valgrind


def _drive() -> None:
    from ovng.io.libcrypto import load_libcrypto

    load_libcrypto()
    for operation in OPERATIONS:
        operation.prepare(operation.packets)()  # what happens only once is over
        for packets in (operation.packets, 2 * operation.packets):
            run = operation.prepare(packets)
            os.getppid()
            run()
            os.getppid()


def _seal(size: int) -> Callable[[int], Callable[[], object]]:
    def prepare(packets: int) -> Callable[[], object]:
        from ovng._fast.aead import AES_256_GCM, Aead

        key, nonce, aad, buffer = Aead(AES_256_GCM, bytes(32)), bytes(12), bytes(28), bytearray(size + 16)
        return lambda: [key.seal_in_place(nonce, aad, buffer, size) for _ in range(packets)]

    return prepare


def _open(size: int) -> Callable[[int], Callable[[], object]]:
    def prepare(packets: int) -> Callable[[], object]:
        from ovng._fast.aead import AES_256_GCM, Aead

        key, nonce, aad = Aead(AES_256_GCM, bytes(32)), bytes(12), bytes(28)
        sealed = [bytearray(key.seal(nonce, aad, bytes(size))) for _ in range(packets)]

        def run() -> None:
            for buffer in sealed:
                if key.open_in_place(nonce, aad, buffer) != size:
                    raise AssertionError("a packet was not opened")

        return run

    return prepare


def _resolve(packets: int) -> Callable[[], object]:
    """Random IDs of a table that is as full as it may be, as a Switch worker asks in batches."""
    import random
    from array import array

    from ovng._fast.table import Table
    from ovng.forwarding.record import RECORD_SIZE

    draw = random.Random(1)
    table = Table(256, bytes(16))
    nodes = [draw.getrandbits(63) + 1 for _ in range(256)]
    for node in nodes:
        table.put(node, bytes(RECORD_SIZE))
        table.set_locators(node, (bytes(10) + b"\xff\xff\xc0\0\2\1\x14\x14", None, None, None), 0, -1, 0)
    ids = array("Q", nodes * (packets // len(nodes))).tobytes()
    return lambda: table.resolve_many(ids, 1428)


def _segments(protocol: int, size: int) -> Callable[[int], Callable[[], object]]:
    def prepare(packets: int) -> Callable[[], object]:
        from ovng._fast.segment import segments
        from tests.unit.packets import Packet

        packet = Packet(bytes(packets * size), protocol=protocol)
        frame = packet.vnet(size) + packet.partial()
        return lambda: segments(frame)

    return prepare


def _coalesce(protocol: int, size: int) -> Callable[[int], Callable[[], object]]:
    """Into /dev/null, which takes all that is written."""

    def prepare(packets: int) -> Callable[[], object]:
        from ovng._fast.coalesce import coalesce
        from tests.unit.packets import Packet, slow_segments

        train = [packet.build() for packet in slow_segments(Packet(bytes(packets * size), protocol=protocol), size)]
        sink = os.open("/dev/null", os.O_WRONLY)
        return lambda: coalesce(sink, train)

    return prepare


TCP, UDP = 6, 17
OPERATIONS = [
    Operation("seal 1400 B", 32, _seal(1400)),
    Operation("seal 64 B", 32, _seal(64)),
    Operation("open 1400 B", 32, _open(1400)),
    Operation("open 64 B", 32, _open(64)),
    Operation("table lookup", 256, _resolve),
    Operation("segment TCP 1348 B", 22, _segments(TCP, 1348)),
    Operation("segment UDP 64 B", 22, _segments(UDP, 64)),
    Operation("coalesce TCP 1348 B", 22, _coalesce(TCP, 1348)),
    Operation("coalesce UDP 64 B", 22, _coalesce(UDP, 64)),
]


if __name__ == "__main__":
    sys.exit(main())
