"""What several verbs share: how results reach people and scripts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from ovng.errors import ConfigError

T = TypeVar("T")


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=78)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, like every other.

    How wide the terminal is it asks only for help: that loads modules of half a megabyte, which a service would keep.
    """

    def __init__(self, **words: Any) -> None:
        super().__init__(formatter_class=_Formatter, **words)

    def print_help(self, file: Any = None) -> None:
        self.formatter_class = argparse.HelpFormatter
        super().print_help(file)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see `{self.prog} --help`)")


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """An argparse type from a parser that raises ValueError with words for the user; argparse would swallow them."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a decimal number, low … high."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 18 or not low <= int(text) <= high:
            raise ValueError(f"{text!r} should be a number from {low} to {high}")
        return int(text)

    return argument(parse)


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2))


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns on stdout; the last one is not padded."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def warn(line: str) -> None:
    """One line on stderr that is no error."""
    print(f"ovng: warning: {line}", file=sys.stderr)
