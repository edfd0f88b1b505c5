"""`ovng request NAME`: make this device's key, which stays here, and the request that goes to the CA's machine."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ovng.cli.common import Parser, argument
from ovng.config.values import parse_name
from ovng.errors import ConfigError
from ovng.io.files import write_private


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "request", description="Make a key, which stays on this device, and the request that the CA signs."
    )
    parser.add_argument("name", metavar="NAME", type=argument(parse_name), help="the node's name in the network")
    parser.add_argument(
        "-C", "--directory", type=Path, default=Path(), help="where NAME.key and NAME.csr go (default: here)"
    )


def run(args: argparse.Namespace) -> int:
    """Make both files. Raises ConfigError when there is a key already, which is kept."""
    from ovng.io.csr import make_request

    key, csr = args.directory / f"{args.name}.key", args.directory / f"{args.name}.csr"
    if os.path.lexists(key):
        raise ConfigError(
            "is already there: another NAME, or remove it and with it the node that it was", file=str(key)
        )
    made = make_request(args.name)
    try:
        write_private(key, bytes(made.key))
    finally:
        made.key[:] = bytes(len(made.key))
    write_private(csr, made.csr)
    print(f"wrote {key}: it stays here, nobody else needs it")
    print(f"wrote {csr}: on the CA's machine run `ovng ca sign {csr.name}`, and bring {args.name}.ovng back beside it")
    return 0
