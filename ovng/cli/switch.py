"""`ovng switch FILE`: run a Switch in the foreground."""

from __future__ import annotations

import argparse
from typing import Any

from ovng.cli.service import add_profile_argument, serve
from ovng.config.profile import SwitchProfile
from ovng.switch.service import SwitchService


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("switch", help="run a Switch in the foreground")
    add_profile_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    return serve(args.profile, SwitchProfile, SwitchService)
