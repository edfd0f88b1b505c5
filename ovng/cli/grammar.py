"""What the command line is made of, read from its parsers: for completions and manual pages, which thus are right.

A word is completed by what its metavar says: FILE and DIR are files, NAME may be an installed profile, choices are
themselves; anything else is the user's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ovng.cli.main import VERBS


class Word(Enum):
    """What a word on the command line may be."""

    NONE = "none"
    """There is no word: a switch."""
    FREE = "free"
    FILE = "file"
    DIRECTORY = "directory"
    PROFILE = "profile"
    """A profile's file, or the name of one below /etc/ovng."""
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Argument:
    """An option or a positional word."""

    names: tuple[str, ...]
    """None for a positional word."""
    word: Word
    choices: tuple[str, ...]
    metavar: str
    help: str
    required: bool
    repeats: bool


@dataclass(frozen=True, slots=True)
class Command:
    """`ovng`, a verb, or an action of a verb."""

    words: tuple[str, ...]
    """As typed, without `ovng`."""
    summary: str
    description: str
    epilog: str
    usage: str
    options: tuple[Argument, ...]
    positionals: tuple[Argument, ...]
    commands: tuple[Command, ...]

    def all(self) -> Iterator[Command]:
        """This one and all below it."""
        yield self
        for command in self.commands:
            yield from command.all()


def read(parser: argparse.ArgumentParser, words: tuple[str, ...] = (), summary: str = "") -> Command:
    """The grammar of a parser."""
    options: list[Argument] = []
    positionals: list[Argument] = []
    commands: list[Command] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, sub in action.choices.items():
                line = VERBS[name][1] if not words and name in VERBS else helps.get(name)
                commands.append(read(sub, (*words, name), line or ""))
        elif action.help is not argparse.SUPPRESS:
            (options if action.option_strings else positionals).append(_argument(action, parser))
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return Command(
        words,
        summary or parser.description or "",
        parser.description or f"{summary[:1].upper()}{summary[1:]}.",
        parser.epilog or "",
        usage,
        tuple(options),
        tuple(positionals),
        tuple(commands),
    )


def _argument(action: argparse.Action, parser: argparse.ArgumentParser) -> Argument:
    takes = action.nargs != 0 and not isinstance(action, argparse._VersionAction)
    choices = tuple(map(str, action.choices or ()))
    default = action.dest.replace("_", "-").upper() if action.option_strings else action.dest
    metavar = action.metavar if isinstance(action.metavar, str) else "|".join(choices) or default
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return Argument(
        tuple(action.option_strings),
        _word(metavar, choices) if takes else Word.NONE,
        choices,
        metavar if takes else "",
        " ".join(text.split()),
        action.required,
        isinstance(action, argparse._AppendAction),
    )


def _word(metavar: str, choices: tuple[str, ...]) -> Word:
    if choices:
        return Word.CHOICE
    kinds = {"FILE": Word.FILE, "DIR": Word.DIRECTORY, "DIRECTORY": Word.DIRECTORY, "PROFILE": Word.PROFILE}
    return kinds.get(metavar, Word.PROFILE if metavar == "NAME|FILE" else Word.FREE)
