"""`make soak`: ten minutes at full rate in both directions, with a rekey every 30 s: what is lost, what grows?

The star of the benchmarks, with the services as a user runs them. Every ten seconds a line; at the end a verdict:

* the session is the one of the beginning, and has as many generations as the time asks for,
* no packet was lost to a rekey: no counter that a rekey could raise has risen,
* memory: after the first minute no process grows by more than 2 MiB.

Ends with status 1 when one of them does not hold.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.command import exit_status
from benchmarks.star import HUB_FROM_A, Star, star
from benchmarks.systems.base import Tunnel
from benchmarks.table import aligned
from benchmarks.tcp import TcpMeter
from benchmarks.usage import Resident, growth, resident_memory
from ovng.demo.deployment import Member, Network
from ovng.demo.net import Process
from ovng.errors import SystemProblem

PORT = 5140
REKEY_SECONDS = 30
REKEY_LATE = 0.25  # part of the interval: jitter, and the time a rekey takes
SAMPLE_SECONDS = 10
MARGIN_SECONDS = 30  # traffic outlives the last sample
LOST_TO_REKEY = ("replay_", "aead_", "unknown_key", "no_session", "pending_", "event_r", "inject_", "seal_failed")
"""How the drop counters begin that a rekey could raise."""


@dataclass(frozen=True)
class Sample(Resident):
    """And the generation, and the packets that `a` has received."""

    generation: int
    received: int


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Full rate, many rekeys.")
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    return exit_status(lambda: _run(minutes * 60))


def _run(seconds: float) -> int:
    with star() as here:
        faults = _soak(here, seconds)
    print("\n".join(faults) if faults else "nothing lost to a rekey, nothing grows")
    return 1 if faults else 0


def _soak(here: Star, seconds: float) -> list[str]:
    network = Network(here.net, "soak", prefixes=["10.77.0.0/16"], switch=[f"{HUB_FROM_A}:{PORT}"])
    settings = f"rekey_seconds: {REKEY_SECONDS}"
    hub = network.switch(here.hub)
    a, b = network.node(here.a, "a", settings=settings), network.node(here.b, "b", settings=settings)
    members = {"hub": hub, "a": a, "b": b}
    processes = {name: member.start() for name, member in members.items()}
    hub.wait("Switch that serves", kind="switch")
    for node in (a, b):
        node.wait("attachment", attached=True)
    meter = TcpMeter(here, Tunnel(a.addresses[0], b.addresses[0]))
    traffic = meter.start(int(seconds) + MARGIN_SECONDS, both=True)
    began, first = time.monotonic(), _peer(a)
    before = {name: _counters(member) for name, member in members.items()}
    samples = []
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(SAMPLE_SECONDS, seconds - passed))
        traffic.check()
        samples.append(_sample(a, processes, time.monotonic() - began))
        _show(samples)
    last, after = _peer(a), {name: _counters(member) for name, member in members.items()}
    return [
        *session_faults(first, last, seconds),
        *(fault for name in members for fault in losses(name, before[name], after[name])),
        *growth(samples),
    ]


def _peer(node: Member) -> dict[str, Any]:
    peers = node.status()["peers"]
    if len(peers) != 1:
        raise SystemProblem(f"{node.name} has {len(peers)} sessions where one is expected")
    return dict(peers[0])


def _counters(member: Member) -> dict[str, int]:
    return {name: int(count) for name, count in member.status()["counters"].items()}


def _sample(a: Member, processes: dict[str, Process], seconds: float) -> Sample:
    peer = _peer(a)
    memory = {name: resident_memory(process.pid) for name, process in processes.items()}
    return Sample(seconds, memory, peer["generation"], peer["rx_packets"])


def _show(samples: list[Sample]) -> None:
    names = list(samples[-1].memory)
    header = ["seconds", "generation", "a received", *(f"{name} MiB" for name in names)]
    last = samples[-1]
    row = [f"{last.seconds:.0f}", str(last.generation), f"{last.received:,}"]
    row += [f"{last.memory[name]:.1f}" for name in names]
    widths = [" " * (14 - len(cell)) + cell for cell in row]
    if len(samples) == 1:
        print(aligned([title.rjust(14) for title in header], [widths]), flush=True)
    else:
        print("  ".join(widths), flush=True)


def session_faults(first: dict[str, Any], last: dict[str, Any], seconds: float) -> list[str]:
    faults = []
    if first["session"] != last["session"]:
        faults.append(f"session {first['session']} became {last['session']}: a handshake, not a rekey")
    wanted = int(seconds / (REKEY_SECONDS * (1 + REKEY_LATE)))
    if last["generation"] - first["generation"] < wanted:
        faults.append(f"{last['generation'] - first['generation']} rekeys where {wanted} were due")
    return faults


def losses(name: str, before: dict[str, int], after: dict[str, int]) -> list[str]:
    risen = {key: after[key] - before.get(key, 0) for key in after if key.startswith(LOST_TO_REKEY)}
    return [f"{name}: {key} rose by {count}" for key, count in risen.items() if count > 0]


if __name__ == "__main__":
    sys.exit(main())
