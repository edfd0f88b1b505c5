"""Writes the manual pages from the command line's own parsers: `tools/manpages.py DIRECTORY`.

ovng(1) has the verbs, the files and the exit statuses; ovng-VERB(1) has one verb with its actions and options.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ovng import __version__
from ovng.cli.grammar import Argument, Command, read
from ovng.cli.main import whole_parser

FILES = (
    (
        "/etc/ovng/NAME.ovng",
        "the profile of a node or Switch that runs as a service; it holds a private key, mode 0600",
    ),
    ("/etc/ovng/hooks.d", "programs that a node runs when its paths change"),
    (
        "/run/ovng, /run/ovng-switch",
        "sockets, locks and journals of what runs; OVNG_RUNTIME_DIR names another directory",
    ),
    ("/var/lib/ovng-switch", "what the Switch keeps over a restart"),
)
STATUSES = (
    ("0", "it was done, or the service ended as it was told to"),
    ("1", "the machine refuses or lacks something; the one line on standard error says what to do"),
    ("2", "the command line or a profile is wrong"),
    ("3", "another process runs with this profile and has taken over"),
)


def pages() -> Iterator[tuple[str, str]]:
    """Every page: file name and text."""
    top = read(whole_parser())
    yield "ovng.1", "\n".join(_overview(top)) + "\n"
    for verb in top.commands:
        yield f"ovng-{verb.words[0]}.1", "\n".join(_verb(verb)) + "\n"


def _overview(top: Command) -> Iterator[str]:
    yield from _head("ovng", "a tunnel for mobile life", top)
    yield ".SH COMMANDS"
    for verb in top.commands:
        yield from _item(f"\\fBovng\\-{_text(verb.words[0])}\\fR(1)", verb.summary)
    yield from _arguments("OPTIONS", top.options)
    yield from _list("EXIT STATUS", STATUSES)
    yield from _list("FILES", FILES)
    yield ".SH SEE ALSO"
    yield ",\n".join(f".BR ovng\\-{_text(verb.words[0])} (1)" for verb in top.commands).replace(",\n", " ,\n")


def _verb(verb: Command) -> Iterator[str]:
    yield from _head(f"ovng-{verb.words[0]}", verb.summary, verb)
    if verb.positionals:
        yield from _arguments("ARGUMENTS", verb.positionals)
    yield from _arguments("OPTIONS", verb.options)
    if verb.commands:
        yield ".SH ACTIONS"
        for action in verb.commands:
            yield f".SS {_text(' '.join(action.words[1:]))}"
            yield _text(action.description)
            yield ".PP"
            yield from _usage(action)
            for argument in (*action.positionals, *action.options):
                yield from _item(_names(argument), argument.help)
    if verb.epilog:
        yield ".SH NOTES"
        yield _text(verb.epilog)
    yield ".SH SEE ALSO"
    yield ".BR ovng (1)"


def _head(name: str, summary: str, command: Command) -> Iterator[str]:
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    day = datetime.fromtimestamp(int(stamp), UTC).strftime("%Y-%m-%d") if stamp else ""
    yield f'.TH {_text(name.upper())} 1 "{day}" "ovng {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"{_text(name)} \\- {_text(summary)}"
    yield ".SH SYNOPSIS"
    yield from _usage(command)
    yield ".SH DESCRIPTION"
    yield _text(command.description)


def _usage(command: Command) -> Iterator[str]:
    words = command.usage.split()
    count = 1 + len(command.words)
    yield f".B {_text(' '.join(words[:count]))}"
    if words[count:]:
        yield _text(" ".join(words[count:]))


def _arguments(title: str, arguments: tuple[Argument, ...]) -> Iterator[str]:
    yield f".SH {title}"
    for argument in arguments:
        yield from _item(_names(argument), argument.help)


def _names(argument: Argument) -> str:
    value = f" \\fI{_text(argument.metavar)}\\fR" if argument.names and argument.metavar else ""
    names = argument.names or (argument.metavar,)
    return ", ".join(f"\\fB{_text(name)}\\fR{value}" for name in names)


def _list(title: str, entries: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    for name, words in entries:
        yield from _item(f"\\fB{_text(name)}\\fR", words)


def _item(name: str, words: str) -> Iterator[str]:
    yield ".TP"
    yield name
    yield _text(words)


def _text(words: str) -> str:
    """Plain text as roff has it: nothing in it is a request or an escape."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main(directory: Path) -> None:
    """Write all pages into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (directory / name).write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
