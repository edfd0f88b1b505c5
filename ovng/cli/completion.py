"""`ovng completion`: what completes our commands in bash, zsh and fish, written from the parsers themselves."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

from ovng.cli.common import Parser
from ovng.cli.grammar import Argument, Command, Word, read
from ovng.cli.main import whole_parser

_NAMES = "/etc/ovng/*.ovng"


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "completion",
        description="Print what completes these commands in a shell.",
        epilog="bash: source <(ovng completion bash). zsh: write it to a file _ovng in a directory of $fpath. "
        "fish: write it to ~/.config/fish/completions/ovng.fish.",
    )
    parser.add_argument("shell", choices=sorted(_SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print it."""
    print("\n".join(_SHELLS[args.shell](read(whole_parser()))))
    return 0


# -- bash


def _bash(top: Command) -> Iterator[str]:
    commands = list(top.all())
    yield "# bash completion of ovng, made by `ovng completion bash`"
    yield "_ovng() {"
    yield '    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at=ovng i words="" kind="" names'
    yield "    for ((i = 1; i < COMP_CWORD; i++)); do"
    yield '        case "$at ${COMP_WORDS[i]}" in'
    yield f"            {_bash_any(_path(command) for command in commands if command.words)})"
    yield '                at+=" ${COMP_WORDS[i]}" ;;'
    yield "        esac"
    yield "    done"
    yield '    case "$at $prev" in'
    for command in commands:
        for option in command.options:
            if option.word is not Word.NONE:
                names = _bash_any(f"{_path(command)} {name}" for name in option.names)
                yield f"        {names}) kind={option.word.value} words={shlex.quote(' '.join(option.choices))} ;;"
    yield "        *)"
    yield "            case $at in"
    for command in commands:
        words = [word.words[-1] for word in command.commands]
        kinds = {argument.word for argument in command.positionals} or {Word.NONE}
        for argument in command.positionals:
            words += argument.choices
        kind = next((kind for kind in (Word.PROFILE, Word.FILE, Word.DIRECTORY) if kind in kinds), Word.CHOICE)
        options = " ".join(name for option in command.options for name in option.names)
        yield f"                {shlex.quote(_path(command))})"
        yield f"                    kind={kind.value} words={shlex.quote(' '.join(words))}"
        yield f"                    [[ $cur != -* ]] || kind=choice words={shlex.quote(options)} ;;"
    yield "            esac ;;"
    yield "    esac"
    yield "    case $kind in"
    yield '        choice) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;'
    yield '        file) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")) ;;'
    yield '        directory) compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")) ;;'
    yield "        profile)"
    yield f'            names=$(compgen -G "{_NAMES}" | sed "s,.*/,,; s,\\.ovng$,,")'
    yield "            compopt -o filenames"
    yield '            COMPREPLY=($(compgen -f -X "!*.ovng" -- "$cur") $(compgen -d -- "$cur"))'
    yield '            COMPREPLY+=($(compgen -W "$names" -- "$cur")) ;;'
    yield "    esac"
    yield "}"
    yield "complete -F _ovng ovng"


def _bash_any(texts: Iterator[str]) -> str:
    return "|".join(shlex.quote(text) for text in texts)


def _path(command: Command) -> str:
    return " ".join(("ovng", *command.words))


# -- zsh


def _zsh(top: Command) -> Iterator[str]:
    yield "#compdef ovng"
    yield "# zsh completion of ovng, made by `ovng completion zsh`"
    yield "_ovng_profile() {"
    yield f"    local -a names=({_NAMES}(N:t:r))"
    yield "    _alternative 'names:name:compadd -a names' 'files:profile:_files -g \"*.ovng\"'"
    yield "}"
    for command in top.all():
        yield f"{_zsh_function(command)}() {{"
        yield "    local line state" if command.commands else "    :"
        yield "    _arguments -s -C \\" if command.commands else "    _arguments -s \\"
        specs = [_zsh_option(option) for option in command.options]
        specs += [f"{'*' if word.repeats else ''}:{word.metavar}:{_zsh_action(word)}" for word in command.positionals]
        if command.commands:
            specs += [":command:->command", "*::argument:->argument"]
        yield " \\\n".join(f"        {_zsh_quote(spec)}" for spec in specs)
        if command.commands:
            listed = " ".join(
                _zsh_quote(f"{below.words[-1]}:{below.summary.replace(':', chr(92) + ':')}")
                for below in command.commands
            )
            yield "    case $state in"
            yield f"        command) local -a commands=({listed}); _describe command commands ;;"
            yield "        argument)"
            yield "            case $line[1] in"
            for below in command.commands:
                yield f"                {below.words[-1]}) {_zsh_function(below)} ;;"
            yield "            esac ;;"
            yield "    esac"
        yield "}"
    yield '_ovng "$@"'


def _zsh_function(command: Command) -> str:
    return "_".join(("_ovng", *command.words)).replace("-", "_")


def _zsh_option(option: Argument) -> str:
    """An option by its longest name; zsh offers the short ones by themselves no more than people need them offered."""
    text = option.help.replace("[", r"\[").replace("]", r"\]").replace(":", r"\:")
    takes = (
        f":{option.metavar.replace(':', chr(92) + ':')}:{_zsh_action(option)}" if option.word is not Word.NONE else ""
    )
    return f"{'*' if option.repeats else ''}{option.names[-1]}[{text}]{takes}"


def _zsh_action(argument: Argument) -> str:
    return {
        Word.CHOICE: f"({' '.join(argument.choices)})",
        Word.FILE: "_files",
        Word.DIRECTORY: "_files -/",
        Word.PROFILE: "_ovng_profile",
    }.get(argument.word, " ")


def _zsh_quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# -- fish


def _fish(top: Command) -> Iterator[str]:
    yield "# fish completion of ovng, made by `ovng completion fish`"
    yield "complete -c ovng -f"
    for command in top.all():
        here = _fish_condition(command)
        names = " ".join(below.words[-1] for below in command.commands)
        for below in command.commands:
            where = f"{here}; and not __fish_seen_subcommand_from {names}" if command.words else here
            yield f"complete -c ovng -n {_fish_quote(where)} -a {below.words[-1]} -d {_fish_quote(below.summary)}"
        for option in command.options:
            flags = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            takes = f" -x {_fish_words(option)}" if option.word is not Word.NONE else ""
            yield f"complete -c ovng -n {_fish_quote(here)} {flags}{takes} -d {_fish_quote(option.help)}"
        for argument in command.positionals:
            if words := _fish_words(argument):
                yield f"complete -c ovng -n {_fish_quote(here)} {words}"


def _fish_condition(command: Command) -> str:
    if not command.words:
        return "__fish_use_subcommand"
    return "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.words)


def _fish_words(argument: Argument) -> str:
    if argument.word is Word.CHOICE:
        return f"-a {_fish_quote(' '.join(argument.choices))}"
    if argument.word is Word.DIRECTORY:
        return "-a '(__fish_complete_directories)'"
    if argument.word is Word.FILE:
        return "-a '(__fish_complete_path)'"
    if argument.word is Word.PROFILE:
        names = f"(path basename -E {_NAMES} 2>/dev/null)"
        return f"-a {_fish_quote('(__fish_complete_suffix .ovng) ' + names)}"
    return ""


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
