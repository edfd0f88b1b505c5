"""`ovng events`: what a running node tells as it happens, one JSON object a line. `docs/events.md` lists them."""

from __future__ import annotations

import argparse
import json
import sys

from ovng.cli.common import Parser
from ovng.cli.target import add_target_argument, the_running_one
from ovng.errors import SystemProblem
from ovng.io.control import follow


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "events",
        description="Tell what happens to a running node as it happens, one JSON object a line, until it ends.",
        epilog="Each line has number, time and event; the first is `following`. docs/events.md lists all.",
    )
    add_target_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Follow; 0 when interrupted. Raises SystemProblem when nothing answers, and when the node ends."""
    name = the_running_one(args.target)
    try:
        for event in follow(name, {"verb": "events"}):
            print(json.dumps(event))
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 0
    raise SystemProblem(f"{name} has ended")
