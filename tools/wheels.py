"""Builds the wheels of wheels.yml, all on this machine, with zig as the compiler for each of them.

wheels.py build [TARGET...]   into dist/, from the sdist, which is built first
wheels.py matrix              the jobs of .github/workflows/wheels.yml, as JSON
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import yaml
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

ROOT = Path(__file__).resolve().parent.parent
DIST, WORK = ROOT / "dist", ROOT / "build/wheels"
LIBRARIES = {"libc.so", "libc.so.6", "libdl.so.2", "libpthread.so.0"}
"""All that a module may need: no OpenSSL, which is opened at run time, and nothing that a wheel would have to bring."""
GLIBC_MAX = (2, 28)


@dataclass(frozen=True)
class Target:
    """One row of wheels.yml; `qemu`: how its runner emulates it, where it must.

    `chroot`: the Debian in which `tests` are run here. Without a `runner` it is not published."""

    name: str
    tag: str
    zig: str
    runner: str = ""
    qemu: str = ""
    chroot: str = ""
    tests: str = ""

    @property
    def machine(self) -> str:
        return self.name.partition("_")[2]


def read_list() -> tuple[list[str], list[Target]]:
    """wheels.yml: Pythons and targets, those that are not published last."""
    document = yaml.safe_load((ROOT / "wheels.yml").read_text())
    return document["pythons"], [Target(name, **row) for name, row in (document["targets"] | document["tests"]).items()]


def matrix() -> str:
    """What a GitHub workflow takes for `strategy.matrix`."""
    pythons, targets = read_list()
    rows = [
        {
            "name": target.name,
            "runner": target.runner,
            "qemu": target.qemu,
            "arch": target.machine,
            "build": " ".join(f"{python}-{target.name}" for python in pythons),
        }
        for target in targets
        if target.runner
    ]
    return json.dumps({"include": rows})


# -- Building


def build(names: list[str]) -> int:
    """The sdist, and the wheels of these targets (all that are published, where none is named)."""
    _, targets = read_list()
    unknown = set(names) - {target.name for target in targets}
    if unknown:
        print(f"wheels.yml has no target {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    shutil.rmtree(WORK, ignore_errors=True)
    headers = _headers()
    sdist = _sdist()
    print(f"{sdist.name}  {sdist.stat().st_size / 1e6:.2f} MB")
    for target in targets:
        if target.name in names or (target.runner and not names):
            begun = time.monotonic()
            wheel = _wheel(target, sdist, headers)
            _audit(wheel)
            print(f"{wheel.name:60} {wheel.stat().st_size / 1e6:.2f} MB  {time.monotonic() - begun:4.0f} s", flush=True)
    return 0


def built(target: Target) -> Path | None:
    """Its wheel in dist/; None when there is none of the sources as they are."""
    kinds = ("*.py", "*.pyi", "*.pyx", "*.pxd", "*.h")
    sources = [
        ROOT / "setup.py",
        ROOT / "pyproject.toml",
        *(path for kind in kinds for path in ROOT.glob(f"ovng/**/{kind}")),
    ]
    newest = max(path.stat().st_mtime for path in sources)
    found = [path for path in DIST.glob(f"ovng-*-{target.tag}.whl") if path.stat().st_mtime >= newest]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _run(log: str, *command: str, **environment: str) -> None:
    with (WORK / f"{log}.log").open("wb") as output:
        done = subprocess.run(
            command, check=False, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode:
        sys.stderr.write((WORK / f"{log}.log").read_text(errors="replace")[-4000:])
        raise SystemExit(f"{log}: {command[0]} failed ({done.returncode})")


def _headers() -> Path:
    """Python's headers, fit for any target."""
    headers = WORK / "include"
    shutil.copytree(sysconfig.get_path("include"), headers)
    shutil.copy(ROOT / "tools/build/pyconfig.h", headers)
    return headers


def _sdist() -> Path:
    made = WORK / "sdist"
    _run("sdist", sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(made), ".")
    (built,) = made.glob("*.tar.gz")
    DIST.mkdir(exist_ok=True)
    return Path(shutil.copy(built, DIST))


def _wheel(target: Target, sdist: Path, headers: Path) -> Path:
    compiler = f"{sys.executable} -m ziglang cc -target {target.zig}"
    made = WORK / target.name
    _run(
        target.name,
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--verbose"),
        *(f"--config-settings=--build-option=--plat-name={target.tag}", "--wheel-dir", str(made), str(sdist)),
        _PYTHON_HOST_PLATFORM=f"linux-{target.machine}",
        CC=compiler,
        LDSHARED=f"{compiler} -shared -O2",  # without -O zig links its own parts as a debug build
        CFLAGS=f"-I{headers}",
        LDFLAGS="-s",
        SOURCE_DATE_EPOCH=os.environ.get("SOURCE_DATE_EPOCH", "1704067200"),
    )
    (built,) = made.glob("*.whl")
    return Path(shutil.copy(built, DIST))


# -- Looking at what was built


def _modules(wheel: Path) -> Iterator[tuple[str, ELFFile]]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                yield name, ELFFile(BytesIO(archive.read(name)))


def _audit(wheel: Path) -> None:
    """Raises SystemExit when a module needs more than an old distribution has, or leaves the limited API."""
    count = 0
    for name, module in _modules(wheel):
        count += 1
        for section in module.iter_sections():
            if isinstance(section, DynamicSection):
                needed = {tag.needed for tag in section.iter_tags("DT_NEEDED")}
                if needed - LIBRARIES:
                    raise SystemExit(f"{wheel.name}: {name} needs {', '.join(sorted(needed - LIBRARIES))}")
            if isinstance(section, GNUVerNeedSection):
                for _, versions in section.iter_versions():
                    for version in versions:
                        number = version.name.removeprefix("GLIBC_")
                        if number != version.name and tuple(map(int, number.split("."))) > GLIBC_MAX:
                            raise SystemExit(f"{wheel.name}: {name} needs {version.name}")
    if not count:
        raise SystemExit(f"{wheel.name} holds no compiled module")
    _run(
        f"abi3-{wheel.stem}", sys.executable, "-m", "abi3audit", "--strict", "--assume-minimum-abi3", "3.11", str(wheel)
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build", *names]:
            sys.exit(build(names))
        case ["matrix"]:
            print(matrix())
        case _:
            sys.exit(__doc__)
