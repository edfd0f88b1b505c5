"""Several uplinks: both attached, the better one used, and left when it goes (SCENARIOS of the issue: S4, S5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ovng.clock import now
from ovng.demo.net import wait_until
from tests.netns.rig import Rig, Stream, conversation, say
from tests.netns.uplinks import block, lose, two_uplinks

pytestmark = pytest.mark.root


@pytest.fixture
def rig() -> Iterator[Rig]:
    with two_uplinks() as made:
        yield made


def silences(rig: Rig, event: Callable[[], object], seconds: float = 2.0) -> tuple[Stream, Stream, float]:
    """Two streams at 1000 per second across an event."""
    with Stream(rig.alice, rig.bob, 1000) as there, Stream(rig.bob, rig.alice, 1000) as back:
        wait_until(lambda: there.count > 300 and back.count > 300, "streams")
        at = now().mono
        event()
        wait_until(lambda: now().mono > at + seconds, "end")
        for stream in (there, back):
            stream.stop()
    return there, back, at


def tell(what: str, there: Stream, back: Stream, at: float) -> None:
    say(
        f"{what}: silence {there.longest_silence(at) * 1000:.0f} ms out, {back.longest_silence(at) * 1000:.0f} ms in;"
        f" lost {there.lost()} and {back.lost()}, twice {there.duplicates} and {back.duplicates}"
    )


def test_a_removed_uplink_is_left_at_once(rig: Rig) -> None:
    before = conversation(rig.alice.status())
    there, back, at = silences(rig, lambda: rig.alice.host.ip("link", "set", "wifi", "down"))
    tell("uplink removed", there, back, at)
    assert max(there.longest_silence(at), back.longest_silence(at)) < 0.3
    assert conversation(rig.alice.status()) == before


def test_what_was_on_its_way_to_a_removed_uplink_comes_by_the_other(rig: Rig) -> None:
    _, back, at = silences(rig, lambda: rig.alice.host.ip("link", "set", "wifi", "down"))
    assert back.later(at) > 1000
    assert (back.lost(), back.duplicates) == (0, 0)


def test_a_silently_dead_uplink_is_left(rig: Rig) -> None:
    router = next(host for host in rig.net.hosts if host.name == "wifi")
    there, back, at = silences(rig, lambda: block(router, on=True))
    tell("uplink silently dead", there, back, at)
    assert max(there.longest_silence(at), back.longest_silence(at)) < 0.6


def test_a_redundant_node_loses_nothing_to_a_lossy_uplink() -> None:
    """Bob's profile says nothing: he doubles what he sends to her because alice asks him to."""
    with two_uplinks(alice="mode: redundant\n") as rig:
        router = next(host for host in rig.net.hosts if host.name == "wifi")
        there, back, at = silences(rig, lambda: lose(router, 20))
        tell("20 % loss on one of two uplinks, redundant", there, back, at)
        assert (there.lost(), back.lost(), there.duplicates, back.duplicates) == (0, 0, 0, 0)
        assert rig.counter("copied") > 1000
