"""`ovng reload`: make a running service read its profile again, as SIGHUP does, and say what came of it."""

from __future__ import annotations

import argparse

from ovng.cli.common import Parser
from ovng.cli.render import printable
from ovng.cli.target import add_target_argument, the_running_one
from ovng.io.control import ask


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("reload", description="Make a running node or Switch read its profile again.")
    add_target_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for it. Raises SystemProblem when nothing runs, or when the service cannot use what it read."""
    name = the_running_one(args.target)
    answer = ask(name, {"verb": "reload"})
    print(f"{name}: reloaded")
    for line in answer.get("notes") or []:
        print(printable(f"{name}: {line}"))
    return 0
