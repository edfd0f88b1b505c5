"""A deployment whose alice has two uplinks, each with a router and a NAT of its own between her and the Switch.

alice ─ wifi ─ switch ─ bob          wifi, lte: routers with NAT (IPv4)
    └── lte ──┘
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ovng.demo.net import Host, wait_until
from tests.netns.rig import Rig, deployed

UPLINKS = {"wifi": ("10.1.0", "198.18.1", 100), "lte": ("10.2.0", "198.18.2", 200)}


@contextmanager
def two_uplinks(alice: str = "", bob: str = "") -> Iterator[Rig]:
    """Both nodes attached, alice by both paths and active on the first. Her old cable to the Switch is gone."""
    with deployed(alice=alice, bob=bob, start=False) as rig:
        at_alice, hub = rig.alice.host, rig.switch.host
        at_alice.ip("link", "delete", "switch")
        for name, (inside, outside, metric) in UPLINKS.items():
            router = rig.net.host(name)
            rig.net.join(at_alice, router, [f"{inside}.2/24"], [f"{inside}.1/24"])
            rig.net.join(router, hub, [f"{outside}.2/24"], [f"{outside}.1/24"])
            router.default_via(f"{outside}.1")
            router.forward()
            router.nft(
                "table ip nat { chain out { type nat hook postrouting priority 100;"
                f" oifname {hub.name} masquerade; }}\n}}\n"
            )
            at_alice.ip("route", "add", "default", "via", f"{inside}.1", "dev", name, "metric", str(metric))
        rig.start()
        wait_until(lambda: len(rig.table()[rig.alice.id]["locators"]) == 2, "second path of alice")
        rig.meet()
        yield rig


def lose(router: Host, percent: int) -> None:
    """Let the router drop this share of what it forwards, each way, at random."""
    router.nft(
        "table inet weather { chain some { type filter hook forward priority 0;"
        f" numgen random mod 100 < {percent} drop; }}\n}}\n"
    )


def block(router: Host, *, on: bool) -> None:
    """Let the router swallow everything, or end it: the links stay up."""
    if on:
        router.nft("table inet hole { chain swallow { type filter hook forward priority 0; policy drop; }\n}\n")
    else:
        router.run("nft", "delete", "table", "inet", "hole")
