"""`ovng doctor`: what of this machine helps or hinders. The checks are in `ovng.io.machine`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ovng.cli.common import Parser, show_json
from ovng.cli.render import printable
from ovng.config.mobility import HOOKS
from ovng.io.machine import State, examine


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("doctor", description="Tell what of this machine helps or hinders.")
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")
    parser.add_argument(
        "--hooks", metavar="DIR", type=Path, default=HOOKS, help=f"examine this directory of hooks (default: {HOOKS})"
    )
    parser.add_argument("--libcrypto", metavar="FILE", help="examine this libcrypto (default: as a service finds it)")


def run(args: argparse.Namespace) -> int:
    """Examine and show; 1 when something is missing that ovng cannot do without."""
    checks = examine(args.libcrypto, args.hooks)
    complete = all(check.state is not State.MISSING for check in checks)
    if args.json:
        documents = [{**check._asdict(), "state": check.state.value} for check in checks]
        show_json({"ok": complete, "checks": documents})
        return 0 if complete else 1
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(printable(f"{check.state.value:<7}  {check.name:<{width}}  {check.value}"))
        if check.advice:
            print(printable(f"{'':<{width + 9}}  → {check.advice}"))
    return 0 if complete else 1
