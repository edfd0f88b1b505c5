"""`ovng up FILE`: run a node in the foreground."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ovng.cli.service import add_profile_argument, serve
from ovng.config.profile import NodeProfile
from ovng.node.service import NodeService


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("up", help="run a node in the foreground")
    add_profile_argument(parser)
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="another file, whose keys count before those of the profile"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    return serve(args.profile, NodeProfile, NodeService, args.settings)
