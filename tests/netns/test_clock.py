"""Wrong clocks: a machine that boots in 1970 or is an hour off attaches and talks, and is told that its clock is wrong.

Only the wall clock of one process is shifted (`wallclock`): what counts time in ovng must not notice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from ovng.demo.deployment import Member
from tests.netns.rig import Rig, deployed, ping, say
from tests.netns.wallclock import WallClock, to_1970

pytestmark = pytest.mark.root

HOUR = 3_600


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with deployed(start=False) as made:
        yield made


WRONG = {"1970": None, "an hour behind": -HOUR, "an hour ahead": HOUR}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("whose", ["the nodes'", "the Switch's"])
def test_a_wrong_clock_keeps_nobody_away(rig: Rig, whose: str, wrong: str) -> None:
    shift = WRONG[wrong] or to_1970()
    clock = WallClock(rig.net.directory)
    clock.shift(shift)
    off = (rig.switch,) if whose == "the Switch's" else (rig.alice,)  # bob's is always right
    members = (rig.switch, *rig.nodes)
    try:
        for member in members:
            member.start(env=clock.env if member in off else None)
            member.wait("start", kind="switch" if member is rig.switch else "node")
        for node in rig.nodes:
            node.wait("attachment", attached=True)
        ping(rig.alice, rig.bob.addresses[0])
        ping(rig.bob, rig.alice.addresses[1])
        for member in members:
            if member not in off:
                assert not told(member), "a right clock was called wrong"
            elif shift < 0:
                assert told(member), "nobody says that this clock is wrong"
                assert "clock is wrong" in (member.process.output if member.process else "")
        (wrong_one,) = off
        assert wrong_one.process is not None
        year = re.match(r"\d{4}", wrong_one.process.output)
        assert year and year[0] == time.strftime("%Y", time.gmtime(time.time() + shift)), "the shim did not work"
        say(f"{whose} clock {wrong}: all attached, ping both ways; {told(wrong_one) or ['not noticed']}")
    finally:
        for member in reversed(members):
            if member.process is not None:
                member.stop()


def told(member: Member) -> list[str]:
    """What its status says about its clock."""
    return [line for line in member.status()["warnings"] if "clock is wrong" in line]
