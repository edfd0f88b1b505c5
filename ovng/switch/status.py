"""What `ovng status` shows of a Switch."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

from ovng import __version__
from ovng.clock import Now

if TYPE_CHECKING:
    from ovng.switch.service import SwitchService

NODES_SHOWN = 1_000


def switch_status(service: SwitchService, now: Now) -> dict[str, Any]:
    """The status document; at most 1,000 nodes are listed, all are counted."""
    identity = service.trust.identity
    counters: Counter[str] = Counter(service.path.stats())
    for source in (service.counters, service.registrar.counters, service.sessions.counters):
        counters.update(source)
    return {
        "name": service.profile.name,
        "kind": "switch",
        "id": str(identity.id),
        "network": identity.network,
        "version": __version__,
        "libcrypto": service.libcrypto,
        "nice": service.profile.nice if not service.precedence else None,
        "uptime_seconds": round(now.boot - service.started.boot, 1),
        "listen": [str(address) for address in service.path.addresses],
        "boot": f"{service.registrar.boot_id:016x}",
        "crl_number": service.trust.crl_number,
        "nodes": [
            {
                "id": str(info.node),
                "locators": [str(one) for one in (info.locator, *info.standby) if one is not None],
                "active": str(info.provisional or info.locator or ""),
                "state": "moving" if info.provisional else "attached" if info.locator else "away",
                "grant": info.grant,
                "grant_seconds": round(info.grant_seconds),
                "lease_seconds": round(info.lease_seconds, 1),
            }
            for info in islice(service.registrar.nodes(now), NODES_SHOWN)
        ],
        "node_count": len(service.registrar),
        "counters": dict(sorted(counters.items())),
        "offloads": {"gro": service.path.gro, "gso": service.path.gso_segments, "timestamps": service.path.timestamps},
        "warnings": [*service.precedence, *service.trust.warnings(now.wall)],
        "certificate": {
            "not_after": round(identity.not_after),
            "days_left": int((identity.not_after - now.wall) // 86_400),
        },
    }
