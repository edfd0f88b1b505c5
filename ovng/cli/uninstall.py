"""`ovng uninstall-service NAME`: take back all that `install-service` did, and say so."""

from __future__ import annotations

import argparse
import contextlib
import shutil

from ovng.cli import services
from ovng.cli.common import Parser
from ovng.cli.target import parse_target_name
from ovng.errors import SystemProblem


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "uninstall-service",
        description="End a service that install-service made, and remove its files, also the profile in /etc/ovng.",
    )
    parser.add_argument("name", metavar="NAME", help="the profile's name")
    services.add_root_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Uninstall. Raises SystemProblem when there is nothing of this name."""
    place = services.Place(args.root)
    stem = _stem(place, parse_target_name(args.name))
    profile = place.profiles / f"{stem}.ovng"
    node = stem != services.SWITCH_NAME
    unit = f"ovng@{stem}.service" if node else services.SWITCH_UNIT
    place.systemctl("stop", unit, seconds=services.START_SECONDS)
    place.enable(unit, on=False)
    print(f"{unit}: ended, and starts no more")
    key_file = services.key_file_of(place.installed()[stem])
    beside = key_file if node else "crl.der"
    for path in [profile, *([place.profiles / beside] if beside else [])]:
        if path.exists():
            path.unlink()
            print(f"{path}: removed")
    if not node:
        _remove_state(place)
    files = []
    if not any((name != services.SWITCH_NAME) == node for name in place.installed()):
        files = services.written_files(place, node=node)
    for path in files:
        path.unlink()
        print(f"{path}: removed")
    services.reload_neighbours(place, files)
    with contextlib.suppress(SystemProblem):
        place.systemctl("reset-failed", unit)  # which has no such state, mostly
    with contextlib.suppress(OSError):
        place.profiles.rmdir()  # when nothing else is in it
    return 0


def _stem(place: services.Place, name: str) -> str:
    """The file name, without its end, of the installed profile with this name."""
    installed = place.installed()
    if name in installed:
        return name
    switch = installed.get(services.SWITCH_NAME)
    if switch is not None and switch.need("name").text() == name:
        return services.SWITCH_NAME
    known = ", ".join(installed) or "nothing"
    raise SystemProblem(f"{name} is not installed as a service; installed is {known}")


def _remove_state(place: services.Place) -> None:
    """What the Switch kept over a restart: ticket keys, the snapshot."""
    link, real = (place.path(f"var/lib/{name}") for name in ("ovng-switch", "private/ovng-switch"))
    for path in (link, real):
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
            print(f"{path}: removed")
