"""The scenarios, with what each must reach. Limits are in milliseconds or counts and hold at the 95th percentile.

R, the round trip between a node and the hub, is 40 ms here; both uplinks of a node are equally far away. `gap_up` is
what `b` hears of `a`, the end to which it happens, `gap_down` the other way. A scenario's facts are held to be true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.mobility import events, masses, special
from benchmarks.mobility.drive import ROUND_TRIP, Event, Result, repeat
from benchmarks.mobility.systems import Running

R = 1000 * ROUND_TRIP
NOISE = 5.0
"""Milliseconds that a gap may have where none is allowed: the first row shows what probe and machine do alone."""
_MOVE = {"gap_up": R + 20, "gap_down": R + 20, "lost": 0}
ALIVE = ("stream_alive", "idle_alive")
SAME = (*ALIVE, "same_sessions")


@dataclass(frozen=True)
class Scenario:
    """One row."""

    key: str
    title: str
    measure: Callable[[Running, int], Result]
    """With the number of runs."""
    limits: Mapping[str, float] = field(default_factory=dict)
    facts: tuple[str, ...] = SAME
    """What must be true as well; those that another system does not have do not count."""
    both: bool = False
    """Whether LTE is up too."""
    compared: bool = False
    """Whether the other systems take part."""
    settings: str = ""
    """Lines for the profiles of ovng's nodes."""
    runs_max: int = 30
    long: bool = False
    """Only in the long run."""


def _event(make: Callable[[], Event], *, six: bool = False) -> Callable[[Running, int], Result]:
    return lambda running, runs: repeat(running, make(), runs, six=six)


def _removal() -> Event:
    uplink = events.ActiveUplink()
    return Event(uplink.removal, uplink.returned, settle=2.0)


def _death() -> Event:
    uplink = events.ActiveUplink()
    return Event(uplink.death, uplink.healed, settle=2.0)


def _coverage(seconds: float) -> Callable[[Running, int], Result]:
    return _event(lambda: Event(events.CoverageGap(seconds), settle=1.0, patience=30.0))


_S7 = {"gap_up": R + 50, "gap_down": R + 50}
_S11 = {"gap_up": 1000, "gap_down": 1000, "tcp": 1000}
_NARROW = Event(events.narrowing, events.widening, settle=2.0)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("S0", "nothing happens", _event(lambda: Event(events.nothing)), compared=True),
    Scenario(
        "S1",
        "NAT gives another port",
        _event(lambda: Event(events.rebinding)),
        {"gap_up": NOISE, "gap_down": 2 * R + 10, "lost": 0},
        compared=True,
    ),
    Scenario(
        "S2",
        "one end's address changes",
        _event(lambda: Event(events.readdressing)),
        _MOVE,
        compared=True,
    ),
    Scenario(
        "S3",
        "both ends' addresses change",
        _event(lambda: Event(events.readdressing_of_both)),
        _MOVE,
        compared=True,
    ),
    Scenario(
        "S4a",
        "better link, on purpose",
        _event(lambda: Event(events.better_link, settle=1.0)),
        {"gap_up": NOISE, "gap_down": NOISE, "lost": 0},
        both=True,
        compared=True,
    ),
    Scenario(
        "S4b",
        "active uplink removed",
        _event(_removal),
        {"gap_up": NOISE, "gap_down": R + 20, "lost": 0},
        both=True,
        compared=True,
    ),
    Scenario(
        "S5",
        "active uplink silently dead",
        _event(_death),
        {"gap_up": 400, "gap_down": 400},
        both=True,
        compared=True,
    ),
    Scenario(
        "S6",
        "way silently dead while idle",
        special.death_while_idle,
        {"gap_down": 1000 * special.KEEPALIVE, "lost": 0},
        both=True,
        runs_max=2,
        facts=("idle_alive",),
    ),
    Scenario("S7", "10 s without network", _coverage(10), _S7, runs_max=2),
    Scenario("S7 60 s", "60 s without network", _coverage(60), _S7, runs_max=5, long=True),
    Scenario("S7 10 min", "10 min without network", _coverage(600), _S7, runs_max=1, long=True),
    Scenario(
        "S8",
        "hub killed, started again",
        _event(lambda: Event(events.hub_restart, settle=1.5, patience=30.0)),
        {"gap_up": 1000, "gap_down": 1000},
        compared=True,
    ),
    Scenario("S10", "ten address changes", special.many_moves, _MOVE, facts=(*SAME, "hub_calm")),
    Scenario("S11", "path MTU 1280, IPv4 inside", _event(lambda: _NARROW), _S11),
    Scenario("S11 v6", "path MTU 1280, IPv6 inside", _event(lambda: _NARROW, six=True), _S11),
    Scenario("S12", "IPv4-only to IPv6-only", _event(lambda: Event(events.other_family, settle=1.0)), _MOVE),
    Scenario(
        "S13",
        "boots in 1970, clock jumps an hour",
        masses.wrong_clock,
        {"gap_up": NOISE, "gap_down": NOISE, "lost": 0},
        facts=(*SAME, "attached_in_1970", "said_so"),
    ),
    Scenario(
        "S14",
        "1000 nodes return together",
        masses.lost_together,
        {"back": 1_000, "cores": 1.0},
        facts=(),
        runs_max=5,
    ),
    Scenario(
        "S15",
        "report raced, replayed, forged",
        special.raced_report,
        {"gap_up": 1000, "gap_down": 3000, "still_up": NOISE, "still_down": NOISE},
        facts=(*SAME, "raced", "bounded", "unreadable", "not_there"),
    ),
    Scenario(
        "S16",
        "redundant, one uplink loses 20 %",
        special.lossy_uplink,
        {"lost": 0, "duplicated": 0},
        both=True,
        settings="mode: redundant",
    ),
)
