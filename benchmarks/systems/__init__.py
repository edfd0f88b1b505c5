"""The systems under test, one file each, in the order of the table."""

from __future__ import annotations

from benchmarks.systems.base import System, Tunnel
from benchmarks.systems.n2n import N2n
from benchmarks.systems.nebula import Nebula
from benchmarks.systems.openvpn import OpenVpn
from benchmarks.systems.ovng import Ovng
from benchmarks.systems.plain import Plain
from benchmarks.systems.prototype import Prototype
from benchmarks.systems.wireguard import WireGuardGo

__all__ = ["SYSTEMS", "System", "Tunnel"]

SYSTEMS: tuple[System, ...] = (
    Plain(),
    Ovng(),
    Ovng(other=True),
    OpenVpn(),
    WireGuardGo(),
    N2n(),
    Nebula(),
    Prototype(),
    Prototype(other=True),
)
