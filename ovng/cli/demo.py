"""`ovng demo`: build a whole network in namespaces and move a node in it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from ovng.cli.common import whole_number
from ovng.clock import now
from ovng.demo import story
from ovng.demo.net import run as run_command
from ovng.errors import SystemProblem

_INSIDE = "OVNG_DEMO_USER_NAMESPACE"
_GIGABYTES_MAX = 1_000


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("demo", help="build a whole network in namespaces and move a node in it")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    parser.add_argument(
        "--gigabytes", type=whole_number(1, _GIGABYTES_MAX), default=1, metavar="N", help="to transfer (default: 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Tell the story; 0 when everything was as it must be."""
    _own_network()
    started = now().mono

    def say(line: str) -> None:
        print(f"[{now().mono - started:6.2f} s] {line}", flush=True)

    result = story.tell(say, max(story.TRANSFER_BYTES * args.gigabytes, args.gigabytes * 1_000_000_000))
    faults = result.faults()
    for fault in faults:
        print(f"ovng: demo: {fault}", file=sys.stderr)
    sys.stderr.flush()
    if args.json:
        print(json.dumps(result.to_dict()), flush=True)
    return 1 if faults else 0


def _own_network() -> None:
    """Go on in a user namespace with a network of its own when we are not root. Raises SystemProblem.

    There we keep our own user ID, and all capabilities: as its root we could not, since tcpdump would try to become
    another user, of which such a namespace has none.
    """
    if os.environ.get(_INSIDE):
        run_command("mount", "-t", "tmpfs", "tmpfs", "/run")  # where network namespaces have their names; ours alone
        return
    if os.geteuid() == 0:
        return
    unshare = ["unshare", "-Unm", "--keep-caps", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}"]
    try:
        allowed = subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        raise SystemProblem("the demo makes network namespaces: run it as root (user namespaces are not allowed here)")
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", [*unshare, sys.executable, "-m", "ovng.cli.main", *sys.argv[1:]])  # noqa: S606
