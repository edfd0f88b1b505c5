"""The Debian package on arm64, run by qemu's user mode: installed, used and removed by that Debian's own programs.

What qemu cannot show, TUN and netlink among it, `test_machines` shows on amd64; the wheels' own tests run the rest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovng.demo.net import run
from tests.packaging.machine import Layer
from tests.quality.sources import ROOT

pytestmark = [pytest.mark.root, pytest.mark.long]

BASE = Path(os.environ.get("OVNG_CHROOTS", ROOT / "build/chroot")) / "arm64"
PACKAGE = ROOT / "dist/ovng_0.1.0_arm64.deb"


@pytest.fixture
def top() -> Iterator[Path]:
    """The file system of an arm64 machine, to be written to."""
    if os.geteuid():
        pytest.skip("needs root, for a machine of its own")
    if not (BASE / ".complete").exists():
        pytest.skip(f"needs an arm64 Debian: run tools/chroot arm64 {BASE}")
    if not PACKAGE.exists():
        pytest.skip(f"needs {PACKAGE}: run `make deb`")
    directory = ROOT / f"build/arm-{os.getpid()}"
    try:
        with Layer(directory, [BASE]).mounted() as mounted:
            shutil.copy("/etc/resolv.conf", mounted / "etc/resolv.conf")
            shutil.copy(PACKAGE, mounted / "root/ovng.deb")
            yield mounted
    finally:
        shutil.rmtree(directory)


def test_installed_used_and_removed(top: Path) -> None:
    def do(*words: str, seconds: float = 300) -> str:
        return run("env", "DEBIAN_FRONTEND=noninteractive", "chroot", str(top), *words, timeout=seconds)

    install = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "install", "--yes", "--no-install-recommends")
    do(*install, "/root/ovng.deb", seconds=800)
    assert do("dpkg", "--print-architecture").strip() == "arm64"
    assert "libcrypto (data): OpenSSL 3.0" in do("ovng", "--version")
    ask = "from ovng.io.machine import examine; print([check.name for check in examine()])"
    assert "libcrypto" in do("python3", "-c", ask)
    do("apt-get", "-qq", "purge", "--yes", "ovng", seconds=800)
    assert not (top / "usr/bin/ovng").exists() and not (top / "etc/ovng").exists()
    assert not (top / "usr/lib/python3/dist-packages/ovng").exists()
