"""Generations that come near their limits at full rate, through real nodes and their real rekey.

A node whose limits are a ten-thousandth of the real ones meets in a second what others meet in a terabyte.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from tests.netns.rig import Iperf, deployed, say

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and TUN"),
]

SECONDS = 4
PACKETS, BLOCKS = 40_000, 40_000 * 88  # of 1400 bytes: both are met at about the same time
FAR = 1 << 40
MARGIN = 8
"""How often the soft limit fits the hard one: the time that a rekey has. The real ones have 2 for 2^28 packets."""


def node(packets: int, blocks: int) -> list[str]:
    """The `ovng` command with other limits."""
    set_limits = (
        f"limits.REKEY_PACKETS, limits.REKEY_BLOCKS = {packets}, {blocks};"
        f" limits.HARD_PACKETS, limits.HARD_BLOCKS = {packets * MARGIN}, {blocks * MARGIN}"
    )
    program = f"import sys; from ovng import limits; {set_limits}; from ovng.cli.main import main; sys.exit(main())"
    return [sys.executable, "-c", program]


@pytest.mark.parametrize(("packets", "blocks"), [(PACKETS, FAR), (FAR, BLOCKS)], ids=["packets", "blocks"])
def test_the_rekey_comes_in_time_at_full_rate(packets: int, blocks: int) -> None:
    with deployed(start=False) as rig:
        rig.switch.start()
        rig.switch.wait("Switch that serves", kind="switch")
        for each in rig.nodes:
            each.start(wrapper=node(packets, blocks))
        for each in rig.nodes:
            each.wait(f"attachment of {each.name}", attached=True)
        before = rig.meet()
        report = Iperf(rig.alice, rig.bob, SECONDS).finish()
        after = [each.status() for each in rig.nodes]
        assert rig.alice.sessions() == before, "a rekey, not a new session"
        (peer,) = after[0]["peers"]
        sent = peer["tx_packets"]
        least = max(1, sent // ((packets if packets != FAR else PACKETS) * MARGIN))
        assert peer["generation"] > least, "no generation sealed up to its hard limit"
        say(f"{peer['generation']} generations for {sent} packets, {gbit(report):.2f} Gbit/s")
        for status in after:
            lost = {
                name for name in status["counters"] if name.startswith(("replay_", "aead_", "unknown_", "pending_"))
            }
            assert not lost, "a number used twice, or a packet that a rekey lost"


def gbit(report: dict[str, Any]) -> float:
    """What the receiver counted."""
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
