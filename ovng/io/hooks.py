"""The user's own commands: every program in a directory is run for every event about paths.

    PROGRAM EVENT UPLINK        environment: PATH, and OVNG_<FIELD> for each field of the event; nothing of ours

In the order of their names, one at a time, each in a session of its own, with nothing on its standard input and what it
writes in the service's log; one that takes longer than `HOOK_SECONDS` is killed with all it has started. A thread of
its own looks, runs and waits, so that the service waits for nothing: neither a slow program nor a slow disk.

While programs run, the newest event of each kind and path waits (at most `WAITING_MAX`); OVNG_SKIPPED tells how many of
that kind it has replaced. Programs run as the service's user, root mostly: directory and programs must belong to root
or that user, and nobody else may write to them.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

from ovng.io.control import Message
from ovng.io.logs import escape
from ovng.io.niceness import as_others

log = logging.getLogger(__name__)

HOOK_SECONDS = 10.0
WAITING_MAX = 32
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_LEFTOVER = re.compile(r"\.(bak|disabled|orig|sample|swp|dpkg-\w+|rpm\w+)\Z|-opkg\Z")
_STDERR = 2


def programs(directory: Path) -> tuple[list[Path], list[str]]:
    """The programs of a directory in their order, and what of it is refused, with the reason and what helps.

    Hidden files, backups and what packages leave behind are passed over, and so is what is not executable.
    """
    try:
        reason = _unsafe(directory, directory.stat())
        names = [] if reason else sorted(path.name for path in directory.iterdir() if _is_program_name(path.name))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{directory}: {error.strerror}"]
    good, refused = [], [reason] if reason else []
    for path in (directory / name for name in names):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(facts.st_mode):
            refused.append(f"{path}: is a link, which is not followed: put the program itself there")
        elif stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o111:
            reason = _unsafe(path, facts)
            if reason:
                refused.append(reason)
            else:
                good.append(path)
    return good, refused


def _is_program_name(name: str) -> bool:
    return bool(_NAME.match(name)) and not _LEFTOVER.search(name)


def _unsafe(path: Path, facts: os.stat_result) -> str:
    if facts.st_uid not in (0, os.geteuid()):
        return f"{path}: belongs to user {facts.st_uid}: run chown root {path}"
    if facts.st_mode & 0o022:
        return f"{path}: others may write to it: run chmod go-w {path}"
    return ""


def environment(event: Message, profile: str, skipped: int) -> dict[str, str]:
    """What a program is told: printable ASCII, null as nothing, booleans as true and false."""
    fields = {**event, "profile": profile, "skipped": skipped}
    return {"PATH": _PATH, **{f"OVNG_{key.upper()}": _text(value) for key, value in fields.items()}}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else escape(str(value))


class Hooks:
    """The programs of one profile. `directory` may be changed at any time; None: there are none."""

    def __init__(self, profile: str, directory: Path | None) -> None:
        self._profile = profile
        self.directory = directory
        self.refused: tuple[str, ...] = ()
        """What was refused when last looked at."""
        self._lock = threading.Lock()  # for all that follows
        self._waiting: dict[tuple[str, Any], tuple[Message, int]] = {}
        self._thread: threading.Thread | None = None
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    def offer(self, event: Message) -> None:
        """Run the programs for this event, soon."""
        if self.directory is None:
            return
        key = event["event"], event.get("path")
        with self._lock:
            known = self._waiting.get(key)
            if self._closed or (known is None and len(self._waiting) >= WAITING_MAX):
                return
            self._waiting[key] = event, known[1] + 1 if known else 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ovng-hooks", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Run no more; what runs is killed. Returns when it has ended."""
        with self._lock:
            self._closed, thread = True, self._thread
            self._waiting.clear()
            self._kill()
        if thread is not None:
            thread.join()

    # -- In the thread

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                event, skipped = self._waiting.pop(next(iter(self._waiting)))
            directory = self.directory
            if directory is not None:
                self._run_all(directory, event, skipped)

    def _run_all(self, directory: Path, event: Message, skipped: int) -> None:
        good, refused = programs(directory)
        for line in refused:
            if line not in self.refused:
                log.warning("hooks: refused: %s", line)
        self.refused = tuple(refused)
        words = [event["event"], _text(event.get("uplink"))]
        told = environment(event, self._profile, skipped)
        for program in good:
            if not self._closed:
                self._run(program, words, told)

    def _run(self, program: Path, words: list[str], told: dict[str, str]) -> None:
        command = [str(program), *words]
        try:
            with as_others():
                running = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=_STDERR, cwd="/", env=told, start_new_session=True
                )
        except OSError as error:
            log.warning("hook %s cannot be run: %s", program, error.strerror)
            return
        with self._lock:
            self._running = running
            if self._closed:
                self._kill()
        try:
            running.wait(HOOK_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("hook %s was killed: it ran for more than %g s", program, HOOK_SECONDS)
            with self._lock:
                self._kill()
            running.wait()
        with self._lock:
            self._running = None
        if running.returncode > 0:
            log.info("hook %s %s ended with status %d", program, words[0], running.returncode)

    def _kill(self) -> None:
        """What runs, and what it has started. With the lock held."""
        if self._running is not None and self._running.returncode is None:
            try:
                os.killpg(self._running.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
