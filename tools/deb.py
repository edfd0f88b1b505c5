"""Builds the Debian packages into dist/: `tools/deb.py [ARCHITECTURE...]`; amd64, arm64 and armhf where none is named.

Debian's own tools do it (dpkg-buildpackage, debhelper), from the folder debian/. The compiled modules come from the
wheels in dist/, which are built first where they are missing or older than the sources: they keep to Python's stable
ABI and need nothing but libc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST, WORK = ROOT / "dist", ROOT / "build/deb"
TARGETS = {"amd64": "manylinux_x86_64", "arm64": "manylinux_aarch64", "armhf": "manylinux_armv7l"}
"""Debian's architecture → the wheel of wheels.yml."""


def main(names: list[str]) -> int:
    """Build; 0 when all went well."""
    unknown = set(names) - set(TARGETS)
    if unknown:
        print(f"no package for {', '.join(sorted(unknown))}: there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    wanted = names or list(TARGETS)
    missing = [TARGETS[name] for name in wanted if _wheel(name) is None]
    if missing:
        subprocess.run([sys.executable, ROOT / "tools/wheels.py", "build", *missing], check=True, cwd=ROOT)
    shutil.rmtree(WORK, ignore_errors=True)
    shared = _shared()
    for name in wanted:
        begun = time.monotonic()
        made = _package(name, shared)
        print(f"{made.name:40} {made.stat().st_size / 1e6:.2f} MB  {time.monotonic() - begun:4.0f} s", flush=True)
    return 0


def _wheel(name: str) -> Path | None:
    """The wheel with this architecture's compiled modules; None when there is none of the sources as they are."""
    machine = TARGETS[name].partition("_")[2]
    sources = [*(ROOT / "ovng/_fast").glob("*.p[yx][xd]"), *(ROOT / "ovng/_fast").glob("*.h"), ROOT / "setup.py"]
    newest = max(path.stat().st_mtime for path in sources)
    found = [path for path in DIST.glob(f"ovng-*-manylinux_*_{machine}.whl") if path.stat().st_mtime >= newest]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _shared() -> Path:
    """What is the same for all architectures: modules that are not compiled, manual pages, completions, documents."""
    shared = WORK / "shared"
    shared.mkdir(parents=True)
    date = subprocess.run(
        ["dpkg-parsechangelog", "-STimestamp"], check=True, cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    environment = os.environ | {"SOURCE_DATE_EPOCH": date, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, ROOT / "tools/manpages.py", shared / "man"], check=True, env=environment)
    (shared / "completion").mkdir()
    for shell in ("bash", "zsh", "fish"):
        with (shared / "completion" / shell).open("w") as output:
            command = [sys.executable, "-m", "ovng.cli.main", "completion", shell]
            subprocess.run(command, check=True, cwd=ROOT, stdout=output)
    for name in ("debian", "docs"):
        shutil.copytree(ROOT / name, shared / name)
    shutil.copytree(
        ROOT / "ovng",
        shared / "modules/ovng",
        ignore=shutil.ignore_patterns("*.so", "*.pyx", "*.pxd", "*.pyi", "*.h", "__pycache__"),
    )
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, shared)
    return shared


def _package(name: str, shared: Path) -> Path:
    source = WORK / name / "ovng"
    shutil.copytree(shared, source)
    wheel = _wheel(name)
    if wheel is None:
        raise SystemExit(f"there is no wheel {TARGETS[name]} of these sources in {DIST}")
    with zipfile.ZipFile(wheel) as archive:
        compiled = [member for member in archive.namelist() if member.endswith(".so")]
        archive.extractall(source / "modules", compiled)
    for path in (source / "modules").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    log = WORK / f"{name}.log"
    with log.open("wb") as output:
        # Nothing is compiled here, so no cross compiler is needed; what else is, tools/need has brought.
        command = ["dpkg-buildpackage", "--build=binary", "--no-sign", "--no-check-builddeps", f"--host-arch={name}"]
        environment = os.environ | {"DEB_BUILD_OPTIONS": "nocheck", "CONFIG_SITE": ""}
        done = subprocess.run(
            command, check=False, cwd=source, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode:
        sys.stderr.write(log.read_text(errors="replace")[-4000:])
        raise SystemExit(f"dpkg-buildpackage failed for {name}")
    (made,) = (WORK / name).glob("*.deb")
    DIST.mkdir(exist_ok=True)
    return Path(shutil.copy(made, DIST))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
