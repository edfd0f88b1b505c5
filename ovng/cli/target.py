"""Which service a verb is about: named, found by its profile, or the only one that runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ovng.config.values import parse_name
from ovng.config.yamlfile import parse_yaml, read_private_file
from ovng.errors import ConfigError, SystemProblem
from ovng.io.control import list_running


def add_target_argument(parser: argparse.ArgumentParser) -> None:
    """NAME or FILE, which may be left out when one service runs."""
    parser.add_argument(
        "target", nargs="?", metavar="NAME|FILE", help="the profile or its name (default: the only one that runs)"
    )


def name_of(target: str) -> str:
    """The name of a profile given by name or file. Of a file only the name is read: it may have expired.

    Raises ConfigError.
    """
    if "/" in target or target.endswith(".ovng"):
        path = Path(target)
        return parse_yaml(read_private_file(path), str(path)).need("name").map(parse_name)
    return parse_target_name(target)


def parse_target_name(text: str) -> str:
    """The name of a profile. Raises ConfigError."""
    try:
        return parse_name(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def the_running_one(target: str | None) -> str:
    """The name meant by `target`; without one, what runs here. Raises SystemProblem when that is none or several."""
    if target is not None:
        return name_of(target)
    names = list_running()
    if not names:
        raise SystemProblem("nothing runs here: start a node with `ovng up FILE`, a Switch with `ovng switch FILE`")
    if len(names) > 1:
        raise SystemProblem(f"several run here: name one of {', '.join(names)}")
    return names[0]
