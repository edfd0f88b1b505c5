"""`python -m benchmarks.micro`: the parts, one after another, each beside its reference in the same run.

Prints a table and writes `benchmarks/out/micro.json`. Needs no root. Takes half a minute.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from collections.abc import Sequence

from cryptography.hazmat.backends.openssl.backend import backend

from benchmarks import machine
from benchmarks.micro import handshake, lookup, reports, sealing
from benchmarks.micro.timing import Contest, measure, medians
from benchmarks.table import Document, aligned, described, figure, write
from ovng.errors import OvngError
from ovng.io.libcrypto import load_libcrypto

ROUNDS = 5


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description="The parts, side by side.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns that each takes ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=0.1, help="CPU time of one turn (0.1)")
    parser.add_argument("--libcrypto", help="path of the libcrypto that ovng shall use")
    options = parser.parse_args()
    try:
        facts = {
            **machine.describe(),
            "libcrypto": load_libcrypto(options.libcrypto),
            "AESGCM of cryptography": backend.openssl_version_text(),
            "bare ssl objects": ssl.OPENSSL_VERSION,
            "time": f"CPU time of one thread, median of {options.rounds} turns",
        }
    except OvngError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    contests = [*sealing.contests(), *lookup.contests(), *handshake.contests(), *reports.contests()]
    samples = measure(contests, options.rounds, options.seconds)
    print(described(facts), "", render(contests, samples), "", sep="\n")
    print(f"all samples: {write(document(facts, contests, samples), 'micro')}")
    return 0


def render(contests: Sequence[Contest], samples: Sequence[dict[str, list[float]]]) -> str:
    """The table of medians; the ratio is how many times as fast ours is."""
    rows = []
    for contest, sample in zip(contests, samples, strict=True):
        ours, other = medians(sample)
        speed = other / ours if contest.unit == "ns" else ours / other
        rows.append([contest.title, contest.unit, figure(ours), figure(other), figure(speed), contest.other_name])
    return aligned(["", "", "ovng", "beside it", "ratio", "what is beside it"], rows)


def document(facts: dict[str, str], contests: Sequence[Contest], samples: Sequence[dict[str, list[float]]]) -> Document:
    """What the JSON holds."""
    parts = {
        contest.key: {"unit": contest.unit, "beside": contest.other_name, "samples": sample}
        for contest, sample in zip(contests, samples, strict=True)
    }
    return {"machine": facts, "parts": parts}


if __name__ == "__main__":
    sys.exit(main())
