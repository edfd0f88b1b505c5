"""`ovng`: finds the verb, runs it, and turns whatever happens into an exit status and at most one line.

A verb is a module with `add_parser(subparsers)` and `run(args) -> int`. Only the one asked for is imported, so
`--help` is fast and a node runs without what the CA needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import ssl
import sys
import traceback
from collections.abc import Callable, Sequence

import ovng
from ovng.cli.common import Parser
from ovng.errors import OvngError, SystemProblem

VERBS = {
    "ca": ("ovng.cli.ca", "make a network; issue, renew, revoke and list its members"),
    "request": ("ovng.cli.request", "make a key that stays on this device, and a request for `ovng ca sign`"),
    "switch": ("ovng.cli.switch", "run a Switch in the foreground"),
    "up": ("ovng.cli.up", "run a node in the foreground"),
    "reload": ("ovng.cli.reload", "make a running node or Switch read its profile again"),
    "down": ("ovng.cli.down", "end a running node, and clear away what a killed one left"),
    "status": ("ovng.cli.status", "show what a running node or Switch does"),
    "events": ("ovng.cli.events", "tell what happens to a running node, as JSON lines"),
    "doctor": ("ovng.cli.doctor", "tell what of this machine helps or hinders"),
    "install-service": ("ovng.cli.install", "make a profile a service of systemd, and start it"),
    "uninstall-service": ("ovng.cli.uninstall", "take back what install-service did"),
    "completion": ("ovng.cli.completion", "print what completes these commands in a shell"),
    "demo": ("ovng.cli.demo", "build a whole network in namespaces and move a node in it"),
}
"""Verb → module, and its line in `ovng --help`."""

Run = Callable[[argparse.Namespace], int]

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status. Never raises for what a user or a network can cause."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments[:1]
    try:
        status = _run(arguments[1:] if debug else arguments)
        sys.stdout.flush()
        return status
    except OvngError as error:
        if debug:
            traceback.print_exc()
        print(f"ovng: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        text = " ".join(str(error).split())
        hint = "" if debug else "; `ovng --debug …` shows where"
        print(f"ovng: internal error: {type(error).__name__}: {text}{hint}", file=sys.stderr)
        return 1


def whole_parser() -> Parser:
    """The parser with all verbs, for what is made from it: completions and manual pages. Raises SystemProblem."""
    parser, subparsers = _top()
    for verb, (module, _) in VERBS.items():
        _import(verb, module, subparsers)
    return parser


def _top() -> tuple[Parser, argparse._SubParsersAction[Parser]]:
    parser = Parser(
        prog="ovng",
        description="A tunnel for mobile life: nodes that talk through a Switch, wherever they are.",
        epilog="`ovng VERB --help` tells more. `ovng --debug VERB …` shows tracebacks.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the versions of ovng and its cryptography")
    return parser, parser.add_subparsers(metavar="VERB", dest="verb", parser_class=Parser)


def _run(arguments: list[str]) -> int:
    run, args = _parsed(arguments)
    return run(args)


def _parsed(arguments: list[str]) -> tuple[Run, argparse.Namespace]:
    """The parsers are gone when the verb runs, which may be for months."""
    parser, subparsers = _top()
    verb = arguments[0] if arguments else ""
    if verb in VERBS:
        run = _import(verb, VERBS[verb][0], subparsers)
        return run, parser.parse_args(arguments)
    for verb, (_, summary) in VERBS.items():
        subparsers.add_parser(verb, help=summary)
    parser.parse_args(arguments)  # help, or an error

    def show_help(_: argparse.Namespace) -> int:
        parser.print_help()
        return 2

    return show_help, argparse.Namespace()


def _import(verb: str, module: str, subparsers: argparse._SubParsersAction[Parser]) -> Run:
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise SystemProblem(f"this ovng was installed without `ovng {verb}`: install it anew") from None
        raise SystemProblem(f"`ovng {verb}` needs the Python package {error.name}: install it") from None
    loaded.add_parser(subparsers)
    run: Run = loaded.run
    return run


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"ovng {ovng.__version__}")
        print(f"libcrypto (data): {_libcrypto()}")
        print(f"ssl (handshakes): {ssl.OPENSSL_VERSION}")
        parser.exit()


def _libcrypto() -> str:
    try:
        from ovng.io.libcrypto import load_libcrypto  # compiled code, which not every verb needs

        return load_libcrypto()
    except ImportError:
        return "not usable: ovng's compiled part is missing, run `make`"
    except SystemProblem as error:
        return f"not usable: {error}"


if __name__ == "__main__":
    sys.exit(main())
