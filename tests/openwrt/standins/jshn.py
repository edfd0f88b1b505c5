"""What the stand-in jshn.sh cannot do in sh: reads JSON, and writes it from a list of words."""

from __future__ import annotations

import base64
import json
import shlex
import sys
from collections.abc import Callable
from typing import Any


def at(text: str, path: str) -> Any:
    """What stands there; entries of arrays count from 1."""
    value = json.loads(text)
    for step in filter(None, path.split("/")):
        value = value[int(step) - 1] if isinstance(value, list) else value[step]
    return value


def shown(value: Any) -> str:
    """A value as a shell has it."""
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)


def variables(here: Any, *names: str) -> str:
    """An assignment for each."""
    known = here if isinstance(here, dict) else {}
    return "\n".join(f"{name}={shlex.quote(shown(known.get(name)))}" for name in names)


def values(here: Any, name: str) -> str:
    """The entries of a list."""
    return " ".join(map(shown, here.get(name) or ()))


def keys(here: Any) -> str:
    """Names, or numbers from 1."""
    return " ".join(here if isinstance(here, dict) else map(str, range(1, len(here) + 1)))


def has(here: Any, name: str) -> str:
    """Ends the process: 0 where there is such an entry."""
    sys.exit(0 if isinstance(here, list) or name in here else 1)


def dump(lines: Any) -> str:
    """JSON of `KIND NAME BASE64` lines."""
    root: dict[str, Any] = {}
    stack: list[Any] = [root]
    for line in lines:
        kind, name, encoded = [*line.rstrip("\n").split(" "), ""][:3]
        if kind == "close":
            stack.pop()
            continue
        text = base64.b64decode(encoded).decode()
        value: Any = {"string": text, "int": text, "boolean": text not in ("", "0"), "object": {}, "array": []}[kind]
        if kind == "int":
            value = int(text)
        if isinstance(stack[-1], list):
            stack[-1].append(value)
        else:
            stack[-1][name] = value
        if kind in ("object", "array"):
            stack.append(value)
    return json.dumps(root)


operation, *words = sys.argv[1:]
reading: dict[str, Callable[..., str]] = {"vars": variables, "values": values, "keys": keys, "has": has}
answer = dump(sys.stdin) if operation == "dump" else reading[operation](at(*words[:2]), *words[2:])
sys.stdout.write(answer + "\n")
