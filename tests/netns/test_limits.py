"""Generations that come near their limits at full rate, through real nodes and their real rekey.

Others meet a limit after hundreds of gigabytes. Two kinds of nodes meet one every tenth of a second: those whose
generations begin shortly before the real limits, and those whose limits are a small part of the real ones, which have
less time for the rekey, too.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from benchmarks.soak import LOST_TO_REKEY
from ovng.limits import REKEY_BLOCKS, REKEY_PACKETS
from tests.netns.rig import Iperf, deployed, say

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and TUN"),
]

AMOUNT = "500M"
"""Nine of those generations, however busy the machine is."""
SECONDS = 60
PACKETS, BLOCKS = 40_000, 40_000 * 88  # of 1400 bytes: both are met at about the same time
FAR = 1 << 40
MARGIN = 8
"""How often the soft limit fits the hard one: the time that a rekey has. The real ones have 2 for 2^28 packets."""


def with_limits(packets: int, blocks: int) -> str:
    """Statements that lower the limits."""
    return (
        "from ovng import limits;"
        f" limits.REKEY_PACKETS, limits.REKEY_BLOCKS = {packets}, {blocks};"
        f" limits.HARD_PACKETS, limits.HARD_BLOCKS = {packets * MARGIN}, {blocks * MARGIN}"
    )


def beginning_at(packet: int, block: int) -> str:
    """Statements that let every sending generation begin there."""
    return (
        "import functools; from ovng.io.datapath import NodeDataPath as Path;"
        f" begin = dict(first_packet={packet}, first_block={block});"
        " Path.install_send = functools.partialmethod(Path.install_send, **begin)"
    )


def command(prepare: str) -> list[str]:
    """`ovng`, after these statements."""
    return [sys.executable, "-c", f"import sys; {prepare}; from ovng.cli.main import main; sys.exit(main())"]


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(beginning_at(REKEY_PACKETS - PACKETS + 1, 1), id="2^28 packets"),
        pytest.param(beginning_at(1, REKEY_BLOCKS - BLOCKS + 1), id="2^34 blocks", marks=pytest.mark.long),
        pytest.param(with_limits(PACKETS, FAR), id="fewer packets", marks=pytest.mark.long),
        pytest.param(with_limits(FAR, BLOCKS), id="fewer blocks"),
    ],
)
def test_the_rekey_comes_in_time_at_full_rate(prepare: str) -> None:
    with deployed(start=False) as rig:
        rig.switch.start()
        rig.switch.wait("Switch that serves", kind="switch")
        for each in rig.nodes:
            each.start(wrapper=command(prepare))
        for each in rig.nodes:
            each.wait(f"attachment of {each.name}", attached=True)
        before = rig.meet()
        report = Iperf(rig.alice, rig.bob, SECONDS, amount=AMOUNT).finish()
        after = [each.status() for each in rig.nodes]
        assert rig.alice.sessions() == before, "a rekey, not a new session"
        (peer,) = after[0]["peers"]
        sent = peer["tx_packets"]
        least = max(1, sent // (PACKETS * MARGIN))
        assert peer["generation"] > least, "no generation sealed far above its soft limit"
        say(f"{peer['generation']} generations for {sent} packets, {gbit(report):.2f} Gbit/s")
        for status in after:
            lost = {name for name in status["counters"] if name.startswith(LOST_TO_REKEY)}
            assert not lost, "a number used twice, or a packet that a rekey lost"


def gbit(report: dict[str, Any]) -> float:
    """What the receiver counted."""
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
