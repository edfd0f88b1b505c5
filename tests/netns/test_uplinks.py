"""Several uplinks in use at once."""

from __future__ import annotations

import pytest

from ovng.clock import now
from ovng.demo.net import wait_until
from tests.netns.rig import Stream, say
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
