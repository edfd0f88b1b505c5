"""Logging set-up: one line per message on stderr, which systemd and people read alike.

What a peer wrote is escaped before it is logged, and what may happen once per packet goes through a `Limiter`.
"""

from __future__ import annotations

import logging
import os
import sys

from ovng.clock import Now

PEER_TEXT_MAX = 200
LIMIT_SECONDS = 10.0
_KINDS_MAX = 256

# sd-daemon(3): a line that begins so carries its syslog priority to the journal.
_PRIORITY = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"), (logging.DEBUG, "<7>"))


def setup(level: str) -> None:
    """Send the messages of `ovng` from `level` (debug, info, warning, error) on to stderr. May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(journal="JOURNAL_STREAM" in os.environ))
    logger = logging.getLogger("ovng")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class _OneLine(logging.Formatter):
    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record).replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")
        if not self._journal:
            return line
        return next((mark for level, mark in _PRIORITY if record.levelno >= level), "<7>") + line


def escape(text: str | bytes, limit: int = PEER_TEXT_MAX) -> str:
    """What a peer wrote, safe in a terminal and a log: printable ASCII stays, the rest is escaped, cut at `limit`."""
    if isinstance(text, bytes):
        text = text[: limit + 1].decode("latin-1")
    cut = text[:limit].encode("unicode_escape").decode("ascii")
    return cut + "…" if len(text) > limit else cut


class Limiter:
    """Logs each kind of message at most once per `seconds`, and says how many it kept back.

    Kinds are few and ours, never a peer's text; beyond 256 of them the oldest is forgotten.
    """

    def __init__(self, logger: logging.Logger, seconds: float = LIMIT_SECONDS) -> None:
        self._logger, self._seconds = logger, seconds
        self._kinds: dict[str, tuple[float, int]] = {}  # kind -> (mono of the last line, kept back since)

    def log(self, level: int, kind: str, message: str, now: Now) -> bool:
        """Log `message` unless its kind was logged lately. True when it was logged."""
        known = self._kinds.get(kind)
        if known is not None and now.mono - known[0] < self._seconds:
            self._kinds[kind] = (known[0], known[1] + 1)
            return False
        if known is None and len(self._kinds) >= _KINDS_MAX:
            del self._kinds[next(iter(self._kinds))]
        self._kinds.pop(kind, None)  # a kind that is logged again becomes the youngest
        self._kinds[kind] = (now.mono, 0)
        suppressed = known[1] if known else 0
        self._logger.log(level, "%s%s", message, f" ({suppressed} more like it)" if suppressed else "")
        return True
