"""The arrangement that every system is measured in: two machines that reach each other through a hub only.

          a ──────────────── hub ──────────────── b
    10.1.0.2        10.1.0.1     10.2.0.1        10.2.0.2

Three network namespaces joined by veths. Sender, tunnel ends, hub and receiver share the machine's cores, so that a
rate says what the whole chain costs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ovng.demo.net import Host, Net

HUB_FROM_A, A = "10.1.0.1", "10.1.0.2"
HUB_FROM_B, B = "10.2.0.1", "10.2.0.2"

_SEGMENTATION = {
    "tcp-segmentation-offload": "tso",
    "generic-segmentation-offload": "gso",
    "tx-udp-segmentation": "tx-udp-segmentation",
}
_RECEIVE = {"generic-receive-offload": "gro"}


@dataclass(frozen=True)
class Star:
    """The hosts. The devices of `a` and `b` are called `hub`, those of the hub `a` and `b`."""

    net: Net
    a: Host
    hub: Host
    b: Host
    hub_from_a: str = HUB_FROM_A
    """Where `a` reaches the hub."""
    hub_from_b: str = HUB_FROM_B

    def veth_offloads(self) -> dict[str, bool]:
        """What the device of `a` has on; all four are alike."""
        (features,) = json.loads(self.a.run("ethtool", "--json", "-k", "hub"))
        return {short: bool(features[name]["active"]) for name, short in {**_SEGMENTATION, **_RECEIVE}.items()}

    def stop_segmentation(self) -> None:
        """Take the segmentation offloads away and turn GRO on, as `star` does without `segmentation`."""
        off = [word for name in _SEGMENTATION.values() for word in (name, "off")]
        for host, device in ((self.a, "hub"), (self.hub, "a"), (self.hub, "b"), (self.b, "hub")):
            host.run("ethtool", "-K", device, *off, "gro", "on")


@contextmanager
def star(*, segmentation: bool = True) -> Iterator[Star]:
    """Build it, and remove it with all that runs in it. Raises SystemProblem.

    Without `segmentation` the veths have no segmentation offloads but join what they receive (GRO): nearer to a real
    network card, which hands over no packets of 64 KB.
    """
    with Net("bench") as net:
        a, hub, b = map(net.host, ("a", "hub", "b"))
        net.join(a, hub, [f"{A}/24"], [f"{HUB_FROM_A}/24"])
        net.join(b, hub, [f"{B}/24"], [f"{HUB_FROM_B}/24"])
        a.default_via(HUB_FROM_A)
        b.default_via(HUB_FROM_B)
        hub.forward()
        made = Star(net, a, hub, b)
        if not segmentation:
            made.stop_segmentation()
        yield made
