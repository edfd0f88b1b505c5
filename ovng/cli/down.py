"""`ovng down`: end a running service and wait for its end; clear away what a killed one left."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal

from ovng.cli.common import Parser
from ovng.cli.target import add_target_argument, name_of
from ovng.errors import SystemProblem
from ovng.io.control import ask, is_running, list_running, socket_path
from ovng.io.files import ProfileLock, holder_pid, is_locked, journal_names, lock_path
from ovng.io.process import wait_for_exit

PATIENCE = 10.0  # seconds: goodbyes to the peers and the Switch, then interface and routes


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "down", description="End a running node or Switch, and clear away what a killed one left."
    )
    add_target_argument(parser)
    parser.add_argument(
        "--leftovers", action="store_true", help="end nothing: only clear away what a killed one left, if it did"
    )


def run(args: argparse.Namespace) -> int:
    """End and clear. Raises SystemProblem when there is nothing to do (but for leftovers), or when it does not end."""
    name = name_of(args.target) if args.target is not None else _the_only_one()
    ran = is_locked(name)
    if ran and args.leftovers:
        return 0
    if not ran and is_running(name):
        raise SystemProblem(f"{name} runs as another user: run `systemctl stop ovng-switch`")
    if ran:
        _end(name)
        print(f"{name}: ended")
    cleared = _clear(name)
    for line in cleared:
        print(f"{name}: removed {line}")
    if not ran and not cleared and not args.leftovers:
        raise SystemProblem(f"{name} is not running, and left nothing behind")
    return 0


def _the_only_one() -> str:
    names = sorted({*list_running(), *journal_names()})
    if not names:
        raise SystemProblem("nothing runs here, and nothing was left behind")
    if len(names) > 1:
        raise SystemProblem(f"several run here: name one of {', '.join(names)}")
    return names[0]


def _end(name: str) -> None:
    """Ask on the control socket; a service that does not answer there gets SIGTERM."""
    pid = holder_pid(lock_path(name))
    if pid is None:
        raise SystemProblem(f"{name} is starting or ending: try again")
    try:
        ask(name, {"verb": "down"})
    except SystemProblem:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    if not wait_for_exit(pid, PATIENCE):
        raise SystemProblem(f"{name} (pid {pid}) does not end: run `kill -9 {pid}`, then `ovng down {name}`")


def _clear(name: str) -> list[str]:
    """What a killed service left: interface, routes, settings, socket."""
    from ovng.node.tunnel import clear_leftovers

    with ProfileLock(name):
        cleared = clear_leftovers(name)
        if socket_path(name).exists():
            socket_path(name).unlink()
            cleared.append("its control socket")
    return cleared
