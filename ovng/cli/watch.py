"""`ovng status --watch`: redrawn on a terminal as far as it fits, block after block in a pipe, as JSON a line each."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ovng.cli.render import printable
from ovng.errors import SystemProblem
from ovng.io.control import ask

_HOME, _TO_LINE_END, _TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"

Lines = Callable[[dict[str, Any]], Iterator[str]]


def watch(name: str, seconds: float, lines: Lines | None) -> int:
    """Show the status of `name` until interrupted; 0 then. `lines` makes it readable, None: JSON.

    A service that goes away is waited for, once it was seen; what is wrong is said once, and again when it changes.
    Raises SystemProblem when it does not run at first.
    """
    status = ask(name, {"verb": "status"})
    wrong = ""
    try:
        while True:
            if not wrong:
                _show(json.dumps(status) if lines is None else "\n".join(lines(status)), block=lines is not None)
            signal.sigtimedwait((), seconds)
            before, wrong = wrong, ""
            try:
                status = ask(name, {"verb": "status"})
            except SystemProblem as error:
                wrong = str(error)
            if wrong and wrong != before:
                words = json.dumps({"name": name, "error": wrong})
                _show(words if lines is None else printable(f"{wrong}, waiting for it"), block=lines is not None)
    except KeyboardInterrupt:
        return 0


def _show(text: str, *, block: bool) -> None:
    if block and sys.stdout.isatty():
        columns, rows = shutil.get_terminal_size()
        fitting = [line[:columns] + _TO_LINE_END for line in text.split("\n")[: rows - 1]]
        print(_HOME + "\n".join(fitting) + f"\n{_TO_SCREEN_END}", end="")
    else:
        print(text + ("\n" if block else ""))
    sys.stdout.flush()
