"""Gives key material to `ssl`, which reads files only, without a file on any disk: a memfd, named /proc/self/fd/N."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovng.clock import now
from ovng.config.profile import Profile, SwitchProfile, crl_from_file, make_trust, parse_profile
from ovng.config.yamlfile import FILE_MAX, read_private_file
from ovng.errors import ConfigError, SystemProblem
from ovng.pki.trust import Trust

_MFD_NOEXEC_SEAL = 0x8  # Linux 6.3; hardened machines (vm.memfd_noexec=2) insist on it


@contextmanager
def memfd_path(data: bytes) -> Iterator[str]:
    """A path from which this process, and no other user's, can read `data` until the context ends.

    Raises SystemProblem where the kernel has no memfd or /proc is not mounted.
    """
    try:
        fd = _memfd()
    except OSError as error:
        raise SystemProblem(f"no memory file for the key ({error.strerror}): Linux 3.17 or newer is needed") from None
    try:
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.write(data)
        path = f"/proc/self/fd/{fd}"
        if not os.path.exists(path):  # noqa: PTH110 - a magic link, which pathlib would resolve
            raise SystemProblem("/proc is not mounted: mount it, the key is handed to TLS through it")
        yield path
    finally:
        os.close(fd)


def _memfd() -> int:
    try:
        return os.memfd_create("ovng", os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError:
        return os.memfd_create("ovng", os.MFD_CLOEXEC)


def read_profile(path: Path | str, settings: Path | None = None) -> Profile:
    """Load a profile by today's date, with the settings that count before its own. Raises ConfigError.

    A user of systemd's making (DynamicUser=) cannot read a file that is root's alone: for it the copy is read that
    systemd made when it started the service (LoadCredential=, with the file's name).
    """
    data = _handed_over(Path(path))
    return use_profile(read_private_file(Path(path)) if data is None else data, path, settings)


def use_profile(data: bytes, path: Path | str, settings: Path | None = None) -> Profile:
    """As `read_profile`, of bytes that were at `path`. Raises ConfigError."""
    state = os.environ.get("STATE_DIRECTORY")  # of systemd's StateDirectory=
    base = Path(state) if state else None
    return parse_profile(data, Path(path), load=memfd_path, wall=now().wall, settings=settings, state_base=base)


def is_handed_over(path: Path) -> bool:
    """Whether systemd holds a copy of this profile for us."""
    return _handed_over(path) is not None


def _handed_over(path: Path) -> bytes | None:
    """systemd's copy, in a directory that only root and we can enter, where only root can write."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    try:
        with (Path(directory) / path.name).open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"systemd's copy of it cannot be read: {error.strerror}", file=str(path)) from None
    if len(data) > FILE_MAX:
        raise ConfigError(f"is larger than {FILE_MAX >> 20} MiB", file=str(path))
    return data


def trust_of(profile: Profile) -> Trust:
    """The Trust of a profile; a Switch's holds the list in its CRL file. Raises ConfigError."""
    crl = crl_from_file(profile.crl_file) if isinstance(profile, SwitchProfile) else None
    trust = make_trust(profile, memfd_path, crl)
    if crl is not None and trust.crl_der is None:
        assert isinstance(profile, SwitchProfile)
        raise ConfigError("is not a revocation list of this network's CA", file=str(profile.crl_file))
    return trust
