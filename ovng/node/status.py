"""What `ovng status` shows of a node."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ovng import __version__
from ovng.clock import Now
from ovng.node.news import handover_fields

if TYPE_CHECKING:
    from ovng.node.service import NodeService
    from ovng.session.events import SessionInfo

CIPHERS = {1: "AES-256-GCM", 2: "ChaCha20-Poly1305"}


def node_status(service: NodeService, now: Now) -> dict[str, Any]:
    """The status document."""
    identity = service.trust.identity
    stats = service.path.stats()
    counters: Counter[str] = Counter(stats["drops"])
    for source in (service.counters, service.overlay.counters, service.sessions.counters, service.client.counters):
        counters.update(source)
    counters["pending_dropped"] = service.overlay.dropped
    return {
        "name": service.profile.name,
        "kind": "node",
        "id": str(service.me),
        "network": identity.network,
        "version": __version__,
        "libcrypto": service.libcrypto,
        "nice": service.profile.nice if not service.precedence else None,
        "moderation": stats["moderation"],
        "uptime_seconds": round(now.boot - service.started.boot, 1),
        "interface": service.tunnel.tun.name,
        "addresses": [str(address) for address in service.profile.addresses],
        "crl_number": service.trust.crl_number,
        "switch": _switch(service),
        "peers": [_peer(service, info) for info in service.sessions.sessions()],
        "routes": {
            "taken": [
                {"prefix": str(prefix), "via": str(peer)}
                for prefix, peer in service.routing.plan.taken
                if prefix not in service.routing.errors
            ],
            "refused": [
                {"prefix": str(prefix), "via": str(peer), "reason": reason}
                for prefix, peer, reason in service.routing.plan.refused
            ]
            + [{"prefix": str(prefix), "via": "", "reason": why} for prefix, why in service.routing.errors.items()],
        },
        "paths": [_path(service, slot, now) for slot in sorted(service.moving.roamer.paths)],
        "handovers": [handover_fields(done) for done in service.moving.news.handovers.last],
        "locators": [
            {"locator": str(stay.observed), "since": round(stay.since, 3), "gap_ms": stay.gap_ms}
            for stay in service.client.history.stays()
        ],
        "traffic": {
            key: stats[key] for key in stats if key.startswith(("sent_", "received_", "tun_", "cut", "oversize"))
        },
        "held": service.overlay.held,
        "counters": {name: count for name, count in sorted(counters.items()) if count},
        "offloads": stats["offloads"] | {"gso": stats["gso_segments"] if stats["gso_segments"] > 1 else False},
        "warnings": [
            *service.routing.warnings,
            *_dns(service),
            *service.precedence,
            *service.trust.warnings(now.wall),
            *_newer(counters),
            *_hooks(service),
        ],
        "certificate": {
            "not_after": round(identity.not_after),
            "days_left": int((identity.not_after - now.wall) // 86_400),
        },
    }


def _newer(counters: Counter[str]) -> list[str]:
    count = counters["version"] + counters["datagram_version"]
    return [f"a peer is newer: {count} datagrams of another protocol version were dropped"] if count else []


def _dns(service: NodeService) -> list[str]:
    return [service.tunnel.dns_warning] if service.tunnel.dns_warning else []


def _hooks(service: NodeService) -> list[str]:
    return [f"hooks: refused: {line}" for line in service.hooks.refused]


def _switch(service: NodeService) -> dict[str, Any]:
    held, current = service.client.grant, service.switch.current
    return {
        "id": str(held.switch_id) if held else None,
        "locator": str(current) if current else None,
        "rtt_ms": _ms(service.client.rtt.srtt),
        "attached": service.client.attached,
        "boot": f"{held.boot_id:016x}" if held else None,
        "grant": held.grant if held else None,
        "group": service.attach_group,
        "attach_ms": _ms(service.attach_seconds),
        "tls_count": service.attach_count,
    }


def _path(service: NodeService, slot: int, now: Now) -> dict[str, Any]:
    held, known = service.moving.roamer.paths[slot], service.client.path(slot)
    figures, address = service.path.path_stats(slot), service.switch.address(slot)
    return {
        "path": slot,
        "uplink": held.uplink.name,
        "state": held.path.state.value,
        "active": slot == service.moving.roamer.active,
        "priority": held.uplink.priority,
        "metered": held.uplink.metered,
        "switch": str(address) if address else None,
        "observed": str(known.observed) if known and known.observed else None,
        "rtt_ms": _ms(known.rtt.srtt) if known else None,
        "loss": known.reporter.loss.share(now.mono) if known else None,
        "mtu": service.moving.mtu(slot),
        "black_holes": known.size.black_holes if known else 0,
        "keepalive_seconds": known.keepalive.seconds if known else None,
        "nat_holds_seconds": round(known.keepalive.life.good, 1) or None if known else None,
        "probes_lost": known.prober.lost if known else 0,
        "tx_datagrams": figures.sent_datagrams if figures else 0,
        "tx_bytes": figures.sent_bytes if figures else 0,
        "rx_datagrams": figures.received_datagrams if figures else 0,
        "rx_bytes": figures.received_bytes if figures else 0,
    }


def _peer(service: NodeService, info: SessionInfo) -> dict[str, Any]:
    figures = service.path.peer_stats(info.peer) or {}
    return {
        "id": str(info.peer),
        "session": f"{info.session_id:016x}",
        "generation": info.generation,
        "age_seconds": round(info.age, 1),
        "cipher": CIPHERS[info.cipher],
        "tls_cipher": info.tls_cipher,
        "group": info.group,
        "handshake_ms": _ms(info.handshake_seconds),
        "rtt_ms": _ms(info.ping_rtt if info.ping_rtt is not None else info.srtt),
        "rx_packets": figures.get("received_packets", 0),
        "tx_packets": figures.get("sent_packets", 0),
        "rx_bytes": figures.get("received_bytes", 0),
        "tx_bytes": figures.get("sent_bytes", 0),
        "mtu": service.sizes.fits(info.peer),
        "prefixes": [str(prefix) for prefix in info.identity.prefixes],
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
