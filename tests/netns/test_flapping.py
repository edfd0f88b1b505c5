"""The preferred uplink comes and goes every 100 ms: traffic stays on the other one, and nobody is kept busy by it."""

from __future__ import annotations

import re
import time

import pytest

from benchmarks.usage import cpu_used
from tests.netns.rig import say
from tests.netns.uplinks import two_uplinks

pytestmark = [pytest.mark.root, pytest.mark.alone]

TIMES = 25
EVERY = 0.02
"""Seconds between two pings."""
MORE = 10
"""Pings that are not judged: for the answer to the last one ping(8) hardly waits."""
FIRST = 2.0
"""Seconds in which it is not known yet that the uplink flaps: the first return is taken."""


def test_an_uplink_that_comes_and_goes_starves_nobody() -> None:
    with two_uplinks() as rig:
        router = next(host for host in rig.net.hosts if host.name == "wifi")
        alice, switch = rig.alice, rig.switch
        assert alice.process is not None and switch.process is not None
        handovers = len(alice.status()["handovers"])
        seconds = TIMES * 0.2 + 1.0
        count = round(seconds / EVERY)
        ping = alice.host.start(
            "ping", "ping", "-n", "-i", str(EVERY), "-c", str(count + MORE), "-W", "1", rig.bob.addresses[0]
        )
        with cpu_used({"alice": alice.process, "switch": switch.process}) as used:
            flips = 0
            while flips < 2 * TIMES:
                router.ip("link", "set", "dev", "alice", ("down", "up")[flips % 2])
                flips += 1
                time.sleep(0.1)
        ping.wait(seconds + 10)
        heard = {int(number) for number in re.findall(r"icmp_seq=(\d+)", ping.output)}
        lost = sorted(set(range(1, count + 1)) - heard)
        moved = len(alice.status()["handovers"]) - handovers
        say(f"{TIMES} times: {moved} handovers, {len(lost)} of {count} pings lost {lost}; CPU seconds {used.processes}")
        (active,) = [path for path in alice.status()["paths"] if path["active"]]
        assert active["uplink"] == "lte"
        assert not [number for number in lost if number > FIRST / EVERY], "later than the first moves"
        assert len(lost) <= 10
        assert 1 <= moved <= 5
        assert used.processes["alice"] < TIMES * 0.2 / 2
        assert used.processes["switch"] < TIMES * 0.2 / 2
