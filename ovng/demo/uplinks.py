"""The demo's second move: a cable is plugged into the laptop and pulled out again, while it pings through the tunnel.

Plugged in, it is the better uplink: data moves to it while the other still carries what is under way (make before
break). Pulled out, it is gone before anybody knows (break before make). The gap is the longest time without an answer
from then on, less the pause between two pings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from ovng.clock import now
from ovng.demo.deployment import Member
from ovng.demo.net import wait_until

CABLE = "cable"
_PAUSE = 0.005  # seconds
_PINGS = 300
_MORE = 50  # not judged: for its last answer ping(8) waits no longer than for others before, or than one pause
_AT = 100  # pings before the event


@dataclass(frozen=True, slots=True)
class Handover:
    """What a move cost."""

    gap_ms: float
    lost: int


def plug_in(laptop: Member, target: str, gateway: str) -> Handover:
    """The device `cable`, down until now, comes up; the laptop's profile prefers it."""
    host = laptop.host

    def act() -> None:
        host.ip("link", "set", CABLE, "up")
        host.ip("route", "add", "default", "via", gateway, "dev", CABLE, "metric", "100")

    return _across(laptop, target, act, CABLE)


def pull_out(laptop: Member, target: str, other: str) -> Handover:
    """The cable is gone without a word; `other` is the uplink that stays."""
    return _across(laptop, target, lambda: laptop.host.ip("link", "set", CABLE, "down"), other)


def _across(laptop: Member, target: str, act: Callable[[], object], uplink: str) -> Handover:
    words = ["-n", "-D", "-i", f"{_PAUSE:g}", "-c", str(_PINGS + _MORE), "-W", "1", target]
    ping = laptop.host.start("pings", "ping", *words)
    wait_until(lambda: ping.output.count("icmp_seq") >= _AT, "answers")
    began = now().wall
    act()
    wait_until(lambda: _active(laptop) == uplink, f"data by the uplink {uplink}")
    ping.wait()
    times = [float(at) for at in re.findall(r"\[([\d.]+)\] \d+ bytes from", ping.output)]
    gap = max((b - a for a, b in pairwise(times) if b > began), default=0.0) - _PAUSE
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+)", ping.output)}
    return Handover(round(max(0.0, gap) * 1000, 1), len(set(range(1, _PINGS + 1)) - answered))


def _active(laptop: Member) -> str:
    return next((str(path["uplink"]) for path in laptop.status()["paths"] if path["active"]), "")
