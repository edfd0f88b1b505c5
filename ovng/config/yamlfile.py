"""Reads a small YAML file that may hold a secret, and says of every fault on which line, under which key.

`nodes` gives the tree of texts and their places; values are read here from the text, so that nothing is constructed,
no tag means anything and `10:20` is not a base-60 number. Whatever the bytes are, the outcome is a `Section` or a
`ConfigError`.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NoReturn, TypeVar

from ovng.config.nodes import Node, compose
from ovng.errors import ConfigError

T = TypeVar("T")

FILE_MAX = 2 << 20  # a revocation list of CRL_MAX bytes as PEM, and room
_TRUE = frozenset({"true", "yes", "on"})
_NUMBER = re.compile(r"(-(?=[1-9]))?[0-9]{1,18}\Z")


def read_private_file(path: Path, also_of: int | None = None) -> bytes:
    """The bytes of a file that only we may read: ours, regular, no link, no access for others, at most 2 MiB. It may
    belong to the user `also_of` instead.

    Raises ConfigError, with the command that helps.
    """
    name = str(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise ConfigError("is a symbolic link, which is not followed: name the file itself", file=name) from None
        raise ConfigError(f"cannot be opened: {error.strerror}", file=name) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("is not a regular file", file=name)
        if status.st_uid not in (os.geteuid(), also_of):
            owner, us = _user(status.st_uid), _user(os.geteuid())
            raise ConfigError(f"belongs to {owner}, not to {us}: run `chown {us} {_quoted(path)}`", file=name)
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError(f"others may read it (mode {mode:04o}): run `chmod 600 {_quoted(path)}`", file=name)
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(FILE_MAX + 1)
    finally:
        os.close(fd)
    if len(data) > FILE_MAX:
        raise ConfigError(f"is larger than {FILE_MAX >> 20} MiB", file=name)
    return data


def _quoted(path: Path) -> str:
    import shlex  # for the words of a fault only

    return shlex.quote(str(path))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def parse_yaml(data: bytes, file: str) -> Section:
    """The mapping that a YAML text is. `file` names it in errors. Raises ConfigError."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8 text", file=file, line=line) from None
    root = compose(text, file)
    if root is None or root.kind != "mapping":
        raise ConfigError("should be lines of `key: value`", file=file, line=1)
    return Section(root, file, "")


class Value:
    """One value and its place. Every method raises ConfigError there."""

    def __init__(self, node: Node, file: str, key: str) -> None:
        self._node, self.file, self.key = node, file, key

    @property
    def line(self) -> int:
        """From 1; 0 where nobody knows (JSON)."""
        return self._node.line + 1

    def fail(self, message: str) -> NoReturn:
        """Refuse this value."""
        raise ConfigError(message, file=self.file, line=self.line, key=self.key)

    def map(self, parse: Callable[[str], T]) -> T:
        """The text through `parse`, whose ValueError says what is wrong."""
        try:
            return parse(self.text())
        except ValueError as error:
            self.fail(str(error))

    @property
    def absent(self) -> bool:
        """True for an empty or `null` value."""
        return self._node.type == "null"

    def text(self) -> str:
        """Any scalar as its text, 1 character or more."""
        if self._node.kind != "scalar":
            self.fail("should be one value; quote it if it holds brackets or colons")
        if self.absent or not self._node.value:
            self.fail("has no value")
        return str(self._node.value)

    def integer(self, low: int, high: int) -> int:
        """A decimal number, low … high."""
        text = self.text()
        if not _NUMBER.match(text) or not low <= int(text) <= high:
            self.fail(f"{shorten(text)} should be a number from {low} to {high}")
        return int(text)

    def boolean(self) -> bool:
        """true or false."""
        text = self.text()
        if self._node.type != "bool":
            self.fail(f"{shorten(text)} should be true or false")
        return text.lower() in _TRUE

    def choice(self, choices: Collection[str]) -> str:
        """One of a few words."""
        text = self.text()
        if text not in choices:
            self.fail(f"{shorten(text)} should be one of {', '.join(choices)}")
        return text

    def values(self, most: int) -> list[Value]:
        """A list; a single value is a list of one, an absent one of none."""
        if self.absent:
            return []
        nodes = self._node.value if self._node.kind == "sequence" else [self._node]
        if len(nodes) > most:
            self.fail(f"has {len(nodes)} entries, at most {most} are possible")
        return [Value(node, self.file, self.key) for node in nodes]

    def section(self) -> Section:
        """A mapping."""
        if self._node.kind != "mapping":
            self.fail("should hold lines of `key: value`")
        return Section(self._node, self.file, self.key + ".")


class Section:
    """A mapping whose keys are single words, each once."""

    def __init__(self, node: Node, file: str, prefix: str) -> None:
        self.file, self._prefix = file, prefix
        self.line = node.line + 1
        self._values: dict[str, Value] = {}
        self._nodes: dict[str, tuple[Node, Node]] = {}
        for key_node, value_node in node.value:
            line = key_node.line + 1
            if key_node.kind != "scalar":
                raise ConfigError("a key should be one word", file=file, line=line)
            key = shorten(key_node.value, quote=False)
            if key in self._values:
                raise ConfigError("is there twice", file=file, line=line, key=prefix + key)
            self._values[key] = Value(value_node, file, prefix + key)
            self._nodes[key] = key_node, value_node

    def over(self, below: Section) -> Section:
        """Both as one: what stands here counts before what stands below. Each value still knows its file and line."""
        below._values |= self._values
        below._nodes |= self._nodes
        return below

    def only(self, known: Collection[str]) -> None:
        """Refuse a key that is not known, and guess which one was meant."""
        for key, (node, _) in self._nodes.items():
            if key not in known:
                import difflib  # 0.4 MB, for this error only

                near = difflib.get_close_matches(key, known, 1)
                hint = f": did you mean `{near[0]}`?" if near else f"; known are {', '.join(sorted(known))}"
                line = node.line + 1
                file = self._values[key].file
                raise ConfigError(f"is not a known key{hint}", file=file, line=line, key=self._prefix + key)

    def get(self, key: str) -> Value | None:
        """A value that may be missing."""
        return self._values.get(key)

    def need(self, key: str) -> Value:
        """A value that must be there."""
        value = self._values.get(key)
        if value is None or value.absent:
            line = value.line if value else self.line
            raise ConfigError("is missing", file=self.file, line=line, key=self._prefix + key)
        return value

    def lines_of(self, key: str) -> tuple[int, int] | None:
        """First line of a key and the line after its value, from 0; None if it is not there."""
        nodes = self._nodes.get(key)
        if nodes is None:
            return None
        end, column = nodes[1].end
        return nodes[0].line, end + (1 if column else 0)


def shorten(text: str, quote: bool = True) -> str:
    """At most 60 printable characters, for an error line."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return repr(cut) if quote else cut.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")
