"""`make test-wheels`: wheels of other machines under qemu's user mode: their tests, and a whole deployment.

emulated.py [TARGET...]   those that have a `chroot` in wheels.yml, or only the named ones

A machine is a Debian in a directory (tools/chroot), made once and kept under build/chroot or where
OVNG_CHROOTS says. What is installed there comes from dist/ and, for the rest, through pip's own cache on this machine.
Needs root. What qemu cannot show is in NOT_SHOWN, and is told with every run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from wheels import DIST, ROOT, Target, build, read_list

CHROOTS = Path(os.environ.get("OVNG_CHROOTS", ROOT / "build/chroot")).absolute()
TOOLS = ["pytest", "pytest-timeout", "hypothesis"]
FAST_PATH = [
    *("aead", "coalesce", "fast_reports", "frame", "hmac", "intake", "replay", "ring", "segment", "siphash", "sparse"),
    *("switch_model", "switch_queue", "table", "udp", "datapath*", "switchpath*"),
    *("buffer", "control", "header", "inner", "private", "record", "report"),
]
"""Of tests/unit: compiled code, and what else reads or writes bytes of the wire."""
LEFT_OUT = ["cli_*", "benchmarks_*", "hooks"]
"""Of tests/unit: they start many interpreters, each of which takes seconds, for nothing that depends on a machine."""
NOT_SHOWN = {
    "speed": "qemu translates instructions: 10 to 50 times slower than the machine",
    "memory": "qemu's own is counted with the program's",
}


def main(names: list[str]) -> int:
    targets = [target for target in read_list()[1] if (target.name in names if names else target.chroot)]
    if unknown := set(names) - {target.name for target in targets if target.chroot}:
        print(f"wheels.yml has nothing to emulate under the name {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    failed = []
    for target in targets:
        begun = time.monotonic()
        print(f"== {target.name}: {target.tests}", flush=True)
        passed = _Machine(target).test()
        failed += [] if passed else [target.name]
        print(f"== {target.name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - begun:.0f} s", flush=True)
    print("not shown by any of this: " + "; ".join(f"{what} ({why})" for what, why in NOT_SHOWN.items()))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


class _Machine:
    """The chroot of one target."""

    def __init__(self, target: Target) -> None:
        self.target, self.root = target, CHROOTS / target.chroot
        self.full = target.tests == "all"
        self._python = "/root/v/bin/python" if self.full else "python3"

    def test(self) -> bool:
        """Install and run; whether all passed."""
        self._make()
        self._install(self._wheel())
        return all([self._services() if self.full else True, self._pytest()])

    def _make(self) -> None:
        CHROOTS.mkdir(parents=True, exist_ok=True)
        kind = [] if self.full else ["unpacked"]
        subprocess.run([ROOT / "tools/chroot", self.target.chroot, self.root, *kind], check=True)

    def _wheel(self) -> Path:
        found = list(DIST.glob(f"ovng-*-{self.target.tag}.whl"))
        if not found:
            build([self.target.name])
            found = list(DIST.glob(f"ovng-*-{self.target.tag}.whl"))
        (wheel,) = found
        return wheel

    def _install(self, wheel: Path) -> None:
        shutil.rmtree(self.root / "root/wheels", ignore_errors=True)
        shelf = self.root / "root/wheels"
        shelf.mkdir()
        wanted = [*TOOLS, *(["pyroute2", "cryptography", "pycparser"] if self.full else [])]
        platforms = [f"--platform={platform}" for platform in self._platforms()]
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version=3.11"]
        # Each by itself and without what it needs: what has no wheel for this machine comes from its Debian.
        for name in wanted:
            alone = ["--no-deps"] if name == "cryptography" else []
            subprocess.run([*download, *platforms, *alone, "--dest", shelf, name], check=True)
        shutil.copy(wheel, shelf)
        if self.full:
            if not (self.root / "root/v").exists():
                self._run("python3", "-m", "venv", "--system-site-packages", "/root/v")
            pip = [self._python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", "/root/wheels"]
            self._run(*pip, "--force-reinstall", "--no-deps", "ovng", "cryptography")
            self._run(*pip, "ovng", *TOOLS)
        else:
            place = self.root / "usr/local/lib/python3.11/dist-packages"
            shutil.rmtree(place, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(place)]
            pip += ["--only-binary=:all:", "--python-version=3.11", *platforms]
            subprocess.run([*pip, *map(str, shelf.glob("*.whl"))], check=True)

    def _platforms(self) -> list[str]:
        libc, _, machine = self.target.name.partition("_")
        if libc == "musllinux":
            return [f"musllinux_1_{minor}_{machine}" for minor in (1, 2)]
        if libc == "linux":
            return [f"linux_{machine}"]
        return [f"manylinux_2_{minor}_{machine}" for minor in (17, 28, 31)] + [f"manylinux2014_{machine}"]

    def _services(self) -> bool:
        command = [sys.executable, ROOT / "tools/emulated_services.py", self.root, self._python]
        shell = ["unshare", "--mount", "--propagation", "private"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run([*shell, *command], check=False, env=environment).returncode == 0

    def _pytest(self) -> bool:
        work = self.root / "root/work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for name in ("tests", "benchmarks", "docs"):
            shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__", "out"))
        shutil.copy(ROOT / "pyproject.toml", work)
        wanted = ["tests/unit", "tests/sim", *(f"--ignore-glob=tests/unit/test_{name}.py" for name in LEFT_OUT)]
        if not self.full:
            unit = ROOT / "tests/unit"
            wanted = sorted(f"tests/unit/{path.name}" for name in FAST_PATH for path in unit.glob(f"test_{name}.py"))
        options = ["-q", "-m", "not root and not long", "--timeout", "600", "-W", "ignore::pytest.PytestWarning"]
        return self._run(self._python, "-m", "pytest", *options, *wanted, at="/root/work", check=False) == 0

    def _run(self, *command: str, at: str = "/", check: bool = True) -> int:
        inside = ["env", "-i", f"--chdir={at}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        mounted = f'mount -t proc proc {self.root}/proc && exec chroot {self.root} "$@"'
        shell = ["unshare", "--mount", "--net", "sh", "-c", f"ip link set lo up; {mounted}", "sh"]
        done = subprocess.run([*shell, *inside, *command], check=False)
        if check and done.returncode:
            raise SystemExit(f"{self.target.name}: {' '.join(command)} failed ({done.returncode})")
        return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
