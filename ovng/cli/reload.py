"""`ovng reload`: make a running service read its profile again, as SIGHUP does, and say what came of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ovng.cli.common import Parser
from ovng.cli.render import printable
from ovng.cli.target import add_target_argument, name_of, the_running_one
from ovng.config.yamlfile import read_private_file
from ovng.errors import ConfigError
from ovng.io.control import REQUEST_MAX, ask

_ROOM = 1024  # in a request, for what is not the profile


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("reload", description="Make a running node or Switch read its profile again.")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="hand this profile to a Switch whose user may not read it"
    )
    add_target_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for it. Raises SystemProblem when nothing runs, or when the service cannot use what it read."""
    request = {"verb": "reload"}
    if args.profile is None:
        name = the_running_one(args.target)
    else:
        name = name_of(args.target or str(args.profile))
        request["profile"] = _text_of(args.profile)
    answer = ask(name, request)
    print(f"{name}: reloaded")
    for line in answer.get("notes") or []:
        print(printable(f"{name}: {line}"))
    return 0


def _text_of(path: Path) -> str:
    data = read_private_file(path)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", file=str(path)) from None
    if len(json.dumps(text)) > REQUEST_MAX - _ROOM:
        raise ConfigError("is too long to be handed over: restart the Switch", file=str(path))
    return text
