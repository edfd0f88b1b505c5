"""Several uplinks in use at once."""

from __future__ import annotations

import pytest

from ovng.clock import now
from ovng.demo.net import wait_until
from ovng.limits import UNKNOWN_PLACE_BYTES
from tests.netns.rig import Rig, Stream, say
from tests.netns.uplinks import lose, two_uplinks

pytestmark = [pytest.mark.root, pytest.mark.alone]


def test_a_redundant_node_loses_nothing_to_a_lossy_uplink() -> None:
    """Bob's profile says nothing: he doubles what he sends to her because alice asks him to."""
    with two_uplinks(alice="mode: redundant\n") as rig:
        router = next(host for host in rig.net.hosts if host.name == "wifi")
        with Stream(rig.alice, rig.bob, 1000) as there, Stream(rig.bob, rig.alice, 1000) as back:
            wait_until(lambda: there.count > 300 and back.count > 300, "streams")
            at = now().mono
            lose(router, 20)
            wait_until(lambda: now().mono > at + 2.0, "end")
            for stream in (there, back):
                stream.stop()
        say(f"20 % loss on one of two uplinks: {there.lost()} and {back.lost()} of {there.sent} and {back.sent} lost")
        assert (there.lost(), back.lost(), there.duplicates, back.duplicates) == (0, 0, 0, 0)
        assert rig.counter("copied") > 1000


def sent_again(rig: Rig) -> int:
    return int(rig.alice.status()["traffic"]["sent_again"])


def test_all_that_a_lost_uplink_took_leaves_again() -> None:
    """90 KB in 100 ms: the newest half of the Switch's credit at once, the rest after its answer."""
    size = 900
    with two_uplinks() as rig, Stream(rig.alice, rig.bob, 1000, text=bytes(size)) as there:
        wait_until(lambda: there.count > 300, "stream")
        rig.alice.host.ip("link", "set", "wifi", "down")
        wait_until(lambda: sent_again(rig) > 2 * UNKNOWN_PLACE_BYTES / size, "the rest")
        there.stop()
        assert (there.lost(), there.duplicates) == (0, 0)
