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
from pathlib import Path
from typing import Any

from benchmarks.star import HUB_FROM_A, Star, star
from benchmarks.table import aligned
from ovng.demo.deployment import Member, Network
from ovng.demo.net import Process, wait_until
from ovng.errors import OvngError, SystemProblem

PORT = 5140
REKEY_SECONDS = 30
REKEY_LATE = 0.25  # part of the interval: jitter, and the time a rekey takes
SAMPLE_SECONDS = 10
SETTLED_SECONDS = 60
GROWTH_MAX = 2.0  # MiB
LOST_TO_REKEY = ("replay_", "aead_", "unknown_", "no_session", "pending_", "event_", "hard_")


@dataclass(frozen=True)
class Sample:
    """At one moment: seconds since the start, generation, packets that `a` has received, MiB of each process."""

    seconds: float
    generation: int
    received: int
    memory: dict[str, float]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Full rate, many rekeys.")
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    try:
        with star() as here:
            faults = _soak(here, minutes * 60)
    except OvngError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; everything is taken down", file=sys.stderr)
        return 130
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
    traffic = _traffic(here, a, b, seconds)
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
        *_session_faults(first, last, seconds),
        *(fault for name in members for fault in _losses(name, before[name], after[name])),
        *_growth(samples),
    ]


def _traffic(here: Star, a: Member, b: Member, seconds: float) -> Process:
    """One cubic stream each way, and they run when this returns."""
    server = here.b.start("iperf3-server", "iperf3", "--server", "--bind", b.addresses[0])
    wait_until(lambda: ":5201 " in here.b.run("ss", "-Hltn"), f"iperf3 server ({server.name})")
    command = ["iperf3", "--client", b.addresses[0], "--bind", a.addresses[0], "--bidir", "--congestion", "cubic"]
    client = here.a.start("iperf3", *command, "--time", str(int(seconds) + 30))
    wait_until(lambda: a.status()["peers"] and _peer(a)["rx_packets"] > 1000, "traffic")
    return client


def _peer(node: Member) -> dict[str, Any]:
    peers = node.status()["peers"]
    if len(peers) != 1:
        raise SystemProblem(f"{node.name} has {len(peers)} sessions where one is expected")
    return dict(peers[0])


def _counters(member: Member) -> dict[str, int]:
    return {name: int(count) for name, count in member.status()["counters"].items()}


def _sample(a: Member, processes: dict[str, Process], seconds: float) -> Sample:
    peer = _peer(a)
    memory = {name: _resident(process.pid) for name, process in processes.items()}
    return Sample(seconds, peer["generation"], peer["rx_packets"], memory)


def _resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


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


def _session_faults(first: dict[str, Any], last: dict[str, Any], seconds: float) -> list[str]:
    faults = []
    if first["session"] != last["session"]:
        faults.append(f"session {first['session']} became {last['session']}: a handshake, not a rekey")
    wanted = int(seconds / (REKEY_SECONDS * (1 + REKEY_LATE)))
    if last["generation"] - first["generation"] < wanted:
        faults.append(f"{last['generation'] - first['generation']} rekeys where {wanted} were due")
    return faults


def _losses(name: str, before: dict[str, int], after: dict[str, int]) -> list[str]:
    risen = {key: after[key] - before.get(key, 0) for key in after if key.startswith(LOST_TO_REKEY)}
    return [f"{name}: {key} rose by {count}" for key, count in risen.items() if count > 0]


def _growth(samples: list[Sample]) -> list[str]:
    settled = [sample for sample in samples if sample.seconds >= SETTLED_SECONDS]
    if len(settled) < 2:
        return []
    first, last = settled[0].memory, settled[-1].memory
    return [
        f"{name}: memory grew from {first[name]:.1f} to {last[name]:.1f} MiB"
        for name in first
        if last[name] - first[name] > GROWTH_MAX
    ]


if __name__ == "__main__":
    sys.exit(main())
