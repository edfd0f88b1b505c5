"""Gives key material to `ssl`, which reads files only, without a file on any disk: a memfd, named /proc/self/fd/N."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ovng.errors import SystemProblem

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
