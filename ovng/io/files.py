"""What a service keeps on disk: private files, the lock of its profile, and a journal of what it changed.

The runtime directory (/run/ovng, or OVNG_RUNTIME_DIR; for a user of systemd's making, what RuntimeDirectory= gives it)
holds per profile NAME:

    NAME.lock      flock held while the service runs; its text is the pid
    NAME.journal   what to undo if the service cannot do it itself (kill -9); see `Journal`
    NAME.sock      the control socket (io/control.py)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from ovng.errors import SystemProblem
from ovng.fields import Frozen

DEFAULT_RUNTIME_DIR = "/run/ovng" if Path("/run").is_dir() else "/var/run/ovng"  # the latter: OpenWrt
READ_MAX = 1 << 24


# -- Private files


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by a file of mode 0600 that holds `data`: after a crash it is the old one or the new, whole.

    Raises SystemProblem.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise SystemProblem(f"{path}: cannot be written: {error.strerror}") from None


def _sync_directory(path: Path) -> None:
    """Make a rename in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path, limit: int = READ_MAX) -> bytes | None:
    """The bytes of a private file, None when there is none.

    Refuses (SystemProblem) what others could have read or written: a link, a file of another user, any mode bit for
    group or others; and more than `limit` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SystemProblem(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise SystemProblem(f"{path}: is not a regular file")
        if facts.st_uid not in (0, os.geteuid()):
            raise SystemProblem(f"{path}: belongs to user {facts.st_uid}: make it yours with chown")
        if facts.st_mode & 0o077:
            raise SystemProblem(f"{path}: others may access it: run chmod 600 {path}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise SystemProblem(f"{path}: is larger than {limit} bytes")
    return data


# -- Runtime directory


def runtime_dir(*, create: bool = True) -> Path:
    """The directory of sockets, locks and journals, mode 0700. Raises SystemProblem when others could write to it."""
    path = Path(os.environ.get("OVNG_RUNTIME_DIR") or _given_directory() or DEFAULT_RUNTIME_DIR)
    try:
        if create:
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700, parents=True)
        facts = path.stat()
    except FileNotFoundError:
        return path
    except OSError as error:
        raise SystemProblem(f"{path}: {error.strerror}: run as root, or set OVNG_RUNTIME_DIR") from None
    if not stat.S_ISDIR(facts.st_mode):
        raise SystemProblem(f"{path}: is not a directory")
    if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o022:
        raise SystemProblem(f"{path}: others may write to it: make it yours and run chmod 700 {path}")
    return path


def _given_directory() -> str | None:
    """systemd's, for a user who may not write to the default one."""
    return os.environ.get("RUNTIME_DIRECTORY") if os.geteuid() else None


def lock_path(name: str) -> Path:
    """The lock file of a profile."""
    return runtime_dir(create=False) / f"{name}.lock"


class ProfileLock:
    """Held while a profile's service runs, so that a name runs once on this machine. Released by close or exit."""

    def __init__(self, name: str) -> None:
        """Take the lock of `name`. Raises SystemProblem, with the pid of the holder."""
        runtime_dir()
        self.path = lock_path(name)
        try:
            self._descriptor = self._take()
        except BlockingIOError:
            raise SystemProblem(f"{name} is already running{_holder(self.path)}: `ovng down {name}` ends it") from None
        except OSError as error:
            raise SystemProblem(f"{self.path}: cannot be locked: {error.strerror}") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _take(self) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                    return descriptor
            except FileNotFoundError:
                pass  # its last holder removed the file between our open and our lock
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def close(self) -> None:
        """Give the lock up; the file goes while it is still held."""
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> ProfileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _holder(path: Path) -> str:
    pid = holder_pid(path)
    return f" (pid {pid})" if pid else ""


def holder_pid(path: Path) -> int | None:
    """The pid written in a lock file; None where there is none. Says nothing about whether the lock is held."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and len(text) < 10 else None


def is_locked(name: str) -> bool:
    """Whether a service of this name runs: its lock is held."""
    try:
        descriptor = os.open(lock_path(name), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


# -- Journal


class Journal(Frozen):
    """What a service changed in the system. Written before each change, so that it names too much, never too little."""

    interface: str = ""
    """The TUN interface it made."""
    sysctls: Mapping[str, str] = MappingProxyType({})
    """What it changed under /proc/sys, with the values from before."""
    dns: str = ""
    """The resolver (of io/dns) that it told of the interface's servers."""


def write_journal(name: str, journal: Journal) -> None:
    """Note what is about to be changed. Raises SystemProblem."""
    entry = {"interface": journal.interface, "sysctls": dict(journal.sysctls), "dns": journal.dns}
    write_private(_journal_path(name), json.dumps(entry).encode())


def read_journal(name: str) -> Journal | None:
    """What the last service of this name left to be undone. A journal that cannot be read counts as none."""
    try:
        entry = json.loads(read_private(_journal_path(name), 65_536) or b"null")
        interface, sysctls, dns = entry["interface"], entry["sysctls"], entry.get("dns", "")
    except (SystemProblem, ValueError, TypeError, KeyError):
        return None
    if not isinstance(interface, str) or not isinstance(sysctls, dict) or not isinstance(dns, str):
        return None
    return Journal(interface, {str(key): str(value) for key, value in sysctls.items()}, dns)


def remove_journal(name: str) -> None:
    """Everything was undone."""
    _journal_path(name).unlink(missing_ok=True)


def journal_names() -> list[str]:
    """Names of all profiles that have a journal."""
    with _listed(runtime_dir(create=False)) as paths:
        return sorted(path.stem for path in paths if path.suffix == ".journal" and not path.name.startswith("."))


def _journal_path(name: str) -> Path:
    return runtime_dir() / f"{name}.journal"


@contextmanager
def _listed(directory: Path) -> Iterator[list[Path]]:
    try:
        yield list(directory.iterdir())
    except FileNotFoundError:
        yield []
