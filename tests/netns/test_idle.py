"""What an idle node costs the machine, as the kernel counts it: context switches of all its threads, and datagrams."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ovng.demo.deployment import Member
from ovng.forwarding.keepalive import STANDBY_FACTOR
from tests.netns.rig import Rig, say
from tests.netns.uplinks import two_uplinks

pytestmark = pytest.mark.root

SETTLED = 15.0  # traffic is remembered for ten seconds, and a new interface makes the kernel solicit routers
WATCHED = 120.0
LOOK = 0.2
"""What happens between two looks, or in two that follow each other, is one wake-up."""
SHORT = "nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"
SHORT_SECONDS = 20


def switches(member: Member) -> dict[str, int]:
    """Thread → how often it went to sleep by itself (proc_pid_status(5))."""
    assert member.process is not None
    found = {}
    for thread in Path(f"/proc/{member.process.pid}/task").iterdir():
        lines = (thread / "status").read_text().splitlines()
        count = next(line for line in lines if line.startswith("voluntary_ctxt_switches"))
        found[thread.name] = int(count.split()[1])
    return found


def paths(rig: Rig) -> dict[str, dict[str, Any]]:
    """Alice's, by uplink."""
    return {path["uplink"]: path for path in rig.alice.status()["paths"]}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_idle_node_sleeps_and_learns_how_long_its_nats_hold() -> None:
    """Alice has two uplinks, and the NAT of the second one forgets after 20 s; bob has one, without a NAT."""
    with two_uplinks() as rig:
        router = next(host for host in rig.net.hosts if host.name == "lte")
        for key in SHORT:
            router.sysctl(f"net.netfilter.{key}", SHORT_SECONDS)
        rig.alice.stop()  # mappings that exist keep the time they were made with
        rig.alice.start()
        rig.alice.wait("attachment", attached=True)
        rig.meet()
        settled = time.monotonic() + SETTLED
        while time.monotonic() < settled:
            time.sleep(LOOK)
        began = {node.name: switches(node) for node in rig.nodes}
        last, wakes, awake = began, dict.fromkeys(began, 0), dict.fromkeys(began, False)
        until = time.monotonic() + WATCHED
        while time.monotonic() < until:
            time.sleep(LOOK)
            seen = {node.name: switches(node) for node in rig.nodes}
            for name, threads in seen.items():
                moved = threads != last[name]
                wakes[name] += moved and not awake[name]
                awake[name] = moved
            last = seen
        for name, threads in last.items():
            slept = sum(threads.values()) - sum(began[name].values())
            say(f"{name}: {wakes[name]} wake-ups, {slept} context switches in {WATCHED:.0f} s")
        assert 1 <= wakes["bob"] <= WATCHED / 20
        assert 1 <= wakes["alice"] <= WATCHED / 10, "two paths that still learn"
        learned = paths(rig)
        say(", ".join(f"{name}: {one['nat_holds_seconds']} s held" for name, one in learned.items()))
        assert learned["wifi"]["nat_holds_seconds"] >= 25
        assert learned["lte"]["nat_holds_seconds"] is None
        assert learned["lte"]["keepalive_seconds"] <= STANDBY_FACTOR * SHORT_SECONDS
