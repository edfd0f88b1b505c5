"""`ovng status`: what a running node or Switch does. The service answers the document; here it is only shown."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ovng.cli.common import Parser, show_json
from ovng.cli.render import bytes_text, columns, duration, printable
from ovng.cli.target import add_target_argument, the_running_one
from ovng.cli.watch import watch
from ovng.errors import ConfigError
from ovng.io.control import ask

WATCH_SECONDS = 1.0
_LOCATORS_SHOWN = 5
_ENDS = (("before_uplink", "before_path"), ("uplink", "path"))
_COST = (("held", "held"), ("sent_later", "sent later"), ("replayed", "replayed"), ("lost", "lost"))


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("status", description="Show what a running node or Switch does.")
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")
    parser.add_argument(
        "--watch",
        nargs="?",
        const=str(WATCH_SECONDS),
        metavar="SECONDS",
        help="again and again until interrupted, every second if nothing else is said; with --json a line each time",
    )
    add_target_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and show. Raises SystemProblem when nothing answers."""
    seconds, target = _watching(args.watch, args.target)
    name = the_running_one(target)
    if seconds is not None:
        return watch(name, seconds, None if args.json else lines)
    status = ask(name, {"verb": "status"})
    if args.json:
        show_json(status)
    else:
        print("\n".join(lines(status)))
    return 0


def _watching(value: str | None, target: str | None) -> tuple[float | None, str | None]:
    """How often to look (None: once), and at whom: in `--watch truck` the word is no number, so it is the target."""
    if value is None:
        return None, target
    try:
        seconds = float(value)
    except ValueError:
        if target is not None:
            raise ConfigError(f"--watch: {value} is no number of seconds") from None
        return WATCH_SECONDS, value
    if not 0.1 <= seconds <= 86_400:
        raise ConfigError("--watch: seconds are 0.1 to 86400")
    return seconds, target


def lines(status: dict[str, Any]) -> Iterator[str]:
    """The human view. What is missing in the document is left out: the service may be of another version."""
    for line in (
        *_head(status),
        *(_of_switch(status) if status.get("kind") == "switch" else _of_node(status)),
        *_tail(status),
    ):
        yield printable(line)


def _head(status: dict[str, Any]) -> Iterator[str]:
    kind, name, node = status.get("kind", "node"), status.get("name", "-"), status.get("id", "-")
    up = duration(status.get("uptime_seconds"))
    yield f"{kind} {name}  {node}  network {status.get('network', '-')}  up {up}"


def _of_node(status: dict[str, Any]) -> Iterator[str]:
    switch = status.get("switch") or {}
    state = "attached" if switch.get("attached") else "NOT ATTACHED"
    yield f"switch {switch.get('id') or '-'}  {switch.get('locator') or '-'}  rtt {_ms(switch.get('rtt_ms'))}  {state}"
    yield from _paths(status.get("paths") or [])
    yield from _handovers(status.get("handovers") or [])
    locators = status.get("locators") or []
    if locators:
        yield ""
        yield from columns(
            ("SEEN BY THE SWITCH AS", "SINCE", "GAP"),
            [
                (str(entry.get("locator", "-")), _when(entry.get("since")), _ms(entry.get("gap_ms")))
                for entry in locators[-_LOCATORS_SHOWN:]
            ],
        )
    peers = status.get("peers") or []
    yield ""
    yield from (
        columns(
            ("PEER", "SESSION", "AGE", "CIPHER", "GROUP", "RTT", "RECEIVED", "SENT", "PREFIXES"),
            [
                (
                    str(peer.get("name") or peer.get("id", "-")),
                    f"{peer.get('session', '-')}.{peer.get('generation', '-')}",
                    duration(peer.get("age_seconds")),
                    str(peer.get("cipher", "-")),
                    str(peer.get("group", "-")),
                    _ms(peer.get("rtt_ms")),
                    bytes_text(peer.get("rx_bytes")),
                    bytes_text(peer.get("tx_bytes")),
                    ", ".join(map(str, peer.get("prefixes") or [])) or "-",
                )
                for peer in peers
            ],
        )
        if peers
        else iter(("no sessions",))
    )
    routes = status.get("routes") or {}
    taken, refused = routes.get("taken") or [], routes.get("refused") or []
    if taken or refused:
        yield ""
        yield from columns(
            ("ROUTE", "VIA", ""),
            [(str(entry.get("prefix")), str(entry.get("via")), "") for entry in taken]
            + [
                (str(entry.get("prefix")), str(entry.get("via")), f"refused: {entry.get('reason')}")
                for entry in refused
            ],
        )


def _paths(paths: list[dict[str, Any]]) -> Iterator[str]:
    if not paths:
        return
    yield ""
    yield from columns(
        ("PATH", "UPLINK", "STATE", "RTT", "LOSS", "MTU", "SEEN AS", "SENT", "RECEIVED"),
        [
            (
                f"{entry.get('path', '-')}{'*' if entry.get('active') else ''}",
                f"{entry.get('uplink') or 'any'}{' (metered)' if entry.get('metered') else ''}",
                str(entry.get("state", "-")),
                _ms(entry.get("rtt_ms")),
                _percent(entry.get("loss")),
                str(entry.get("mtu") or "-"),
                str(entry.get("observed") or "-"),
                bytes_text(entry.get("tx_bytes")),
                bytes_text(entry.get("rx_bytes")),
            )
            for entry in paths
        ],
    )


def _handovers(handovers: list[dict[str, Any]]) -> Iterator[str]:
    """The last one."""
    if not handovers:
        return
    last = handovers[-1]
    ways = (f"{last.get(key) or 'any'} (path {last.get(path, '-')})" for key, path in _ENDS)
    cost = ", ".join(f"{_count(last.get(key))} {words}" for key, words in _COST)
    yield ""
    yield f"handover {last.get('handover', '-')}  {_when(last.get('at'))}  {' → '.join(ways)}: {last.get('cause', '-')}"
    yield f"  gap {_ms(last.get('gap_out_ms'))} out, {_ms(last.get('gap_back_ms'))} back; {cost}"


def _of_switch(status: dict[str, Any]) -> Iterator[str]:
    nodes, count = status.get("nodes") or [], status.get("node_count") or 0
    yield f"{count} node{'' if count == 1 else 's'}{f', {len(nodes)} of them shown' if len(nodes) < count else ''}"
    if nodes:
        yield ""
        yield from columns(
            ("NODE", "LOCATOR", "STATE", "LEASE"),
            [
                (
                    str(node.get("id")),
                    str(node.get("active") or "-"),
                    str(node.get("state", "-")),
                    duration(node.get("lease_seconds")),
                )
                for node in nodes
            ],
        )


def _tail(status: dict[str, Any]) -> Iterator[str]:
    counters = {name: count for name, count in (status.get("counters") or {}).items() if count}
    if counters:
        yield ""
        yield from columns(("COUNTER", ""), [(name, str(count)) for name, count in sorted(counters.items())])
    offloads = status.get("offloads") or {}
    certificate = status.get("certificate") or {}
    yield ""
    if offloads:
        yield "offloads: " + ", ".join(f"{name} {_shown(value)}" for name, value in offloads.items())
    if "days_left" in certificate:
        yield f"certificate: {certificate['days_left']} days left"
    for warning in status.get("warnings") or []:
        yield f"warning: {warning}"


def _shown(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.0f} %"


def _count(value: object) -> str:
    return "?" if value is None else str(value)


def _when(wall: object) -> str:
    """An instant in local time."""
    try:
        return datetime.fromtimestamp(float(str(wall))).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "-"
