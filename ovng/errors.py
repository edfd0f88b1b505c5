"""Errors that reach people or cross a layer. Who is to blame is in the class."""

from __future__ import annotations


class OvngError(Exception):
    """An error with one line for the user that says what to do. `exit_code` is the process's exit status."""

    exit_code = 1


class ConfigError(OvngError):
    """A profile, command line or key file is wrong. Prints as `file:line: key: message`."""

    exit_code = 2

    def __init__(self, message: str, *, file: str = "", line: int = 0, key: str = "") -> None:
        self.message, self.file, self.line, self.key = message, file, line, key
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(f"{where}{key + ': ' if key else ''}{message}")


class SystemProblem(OvngError):
    """The machine refuses or lacks something (permission, port, library, kernel feature)."""


class NotWanted(OvngError):
    """The network does not want this process: another one took over its identity, or it was revoked. Whoever watches
    over it must not start it again on this code."""

    exit_code = 3


class Malformed(Exception):
    """Bytes from outside do not follow the protocol. The only exception a function on untrusted bytes may raise.

    `reason` is a drop counter's name: lower case, underscores, from a fixed set, never text from the peer.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class IdentityError(Exception):
    """A certificate does not prove what its sender claims. `reason` as in `Malformed`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class TableFull(Exception):
    """The Switch's table holds as many nodes as it was made for; the caller refuses the newcomer."""
