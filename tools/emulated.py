"""`make test-wheels`: wheels of other machines under qemu's user mode: their tests, and a whole deployment.

emulated.py [TARGET...]   those that have a `chroot` in wheels.yml, or only the named ones

A machine is a Debian in a directory (tools/chroot), made once and kept under build/chroot or where
OVNG_CHROOTS says; for musl libc with a second Python in it (tools/musl). What is installed there comes from dist/ and,
for the rest, through pip's own cache on this machine. As many machines as there are cores run at a time, each with
a log in build/emulated. Needs root. What qemu cannot show is in NOT_SHOWN, and is told with every run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from wheels import ROOT, Target, build, built, read_list

LOGS = ROOT / "build/emulated"
CHROOTS = Path(os.environ.get("OVNG_CHROOTS", ROOT / "build/chroot")).absolute()
TOOLS = ["pytest", "pytest-timeout", "hypothesis"]
FAST_PATH = [
    *("aead", "coalesce", "fast_reports", "frame", "hmac", "intake", "replay", "ring", "segment", "siphash", "sparse"),
    *("switch_model", "switch_queue", "table", "sockets", "tunqueue", "udp", "datapath*", "switchpath*"),
    *("buffer", "control", "header", "inner", "private", "record", "report"),
]
"""Of tests/unit: compiled code, and what else reads or writes bytes of the wire."""
LEFT_OUT = ["cli_*", "benchmarks_*", "hooks"]
"""Of tests/unit: they start many interpreters, each of which takes seconds, for nothing that depends on a machine."""
EXAMPLES = 0.2
NOT_SHOWN = {
    "speed": "qemu translates instructions: 10 to 50 times slower than the machine",
    "memory": "qemu's own is counted with the program's",
    "four fifths of hypothesis's examples": "they take hours",
}


def main(names: list[str]) -> int:
    targets = [target for target in read_list()[1] if (target.name in names if names else target.chroot)]
    if unknown := set(names) - {target.name for target in targets if target.chroot}:
        print(f"wheels.yml has nothing to emulate under the name {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if missing := [target.name for target in targets if built(target) is None]:
        build(missing)
    LOGS.mkdir(parents=True, exist_ok=True)
    chroots = defaultdict(list)  # what shares one takes turns
    for target in targets:
        chroots[target.chroot].append(target)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = [target.name for part in pool.map(_failed, chroots.values()) for target in part]
    print("not shown by any of this: " + "; ".join(f"{what} ({why})" for what, why in NOT_SHOWN.items()))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


def _failed(targets: list[Target]) -> list[Target]:
    """Those of them whose tests do not pass."""
    failed = []
    for target in targets:
        begun = time.monotonic()
        path = LOGS / f"{target.name}.log"
        print(f"== {target.name}: {target.tests}, into {path.relative_to(ROOT)}", flush=True)
        with path.open("w") as log:
            machine = _Machine(target, log)
            try:
                passed = machine.test()
            except subprocess.CalledProcessError as error:
                print(error, file=log)
                passed = False
        failed += [] if passed else [target]
        told = f"{'passed' if passed else 'FAILED'} in {time.monotonic() - begun:.0f} s, {machine.used:.0f} of CPU"
        print(f"{path.read_text()}== {target.name}: {told}", flush=True)
    return failed


class _Machine:
    """The chroot of one target."""

    def __init__(self, target: Target, log: IO[str]) -> None:
        self.target, self.root = target, CHROOTS / target.chroot
        self.used = 0.0  # seconds of CPU by all that was run for it
        self._log = log
        self.full = target.tests == "all"
        self._musl = target.name.startswith("musllinux")
        self._pip = self.full and not self._musl
        self._python = "/root/v/bin/python" if self._pip else "/opt/musl/bin/python3.11" if self._musl else "python3"

    def test(self) -> bool:
        """Install and run; whether all passed."""
        self._make()
        self._install()
        return all([self._services() if self.full else True, self._pytest()])

    def _make(self) -> None:
        CHROOTS.mkdir(parents=True, exist_ok=True)
        self._call([ROOT / "tools/chroot", self.target.chroot, self.root, *([] if self.full else ["unpacked"])])
        if self._musl:
            self._call([ROOT / "tools/musl", self.root, sys.executable])

    def _install(self) -> None:
        shutil.rmtree(self.root / "root/wheels", ignore_errors=True)
        shelf = self.root / "root/wheels"
        shelf.mkdir()
        wanted = [*TOOLS, *(["pyroute2", "cryptography", "pycparser"] if self.full else [])]
        wanted += ["pyyaml"] if self._musl else []
        platforms = [f"--platform={platform}" for platform in self._platforms()]
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version=3.11"]
        # Each by itself and without what it needs: what has no wheel for this machine comes from its Debian.
        for name in wanted:
            alone = ["--no-deps"] if name == "cryptography" and self._pip else []
            self._call([*download, *platforms, *alone, "--dest", shelf, name])
        wheel = built(self.target)
        assert wheel is not None
        shutil.copy(wheel, shelf)
        if self._pip:
            if not (self.root / "root/v").exists():
                self._run("python3", "-m", "venv", "--system-site-packages", "/root/v")
            pip = [self._python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", "/root/wheels"]
            self._run(*pip, "--force-reinstall", "--no-deps", "ovng", "cryptography")
            self._run(*pip, "ovng", *TOOLS)
        else:
            place = self.root / ("opt/musl" if self._musl else "usr/local") / "lib/python3.11"
            place /= "site-packages" if self._musl else "dist-packages"
            shutil.rmtree(place, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(place)]
            pip += ["--only-binary=:all:", "--python-version=3.11", *platforms]
            self._call([*pip, *shelf.glob("*.whl")])

    def _platforms(self) -> list[str]:
        libc, _, machine = self.target.name.partition("_")
        if libc == "musllinux":
            return [f"musllinux_1_{minor}_{machine}" for minor in (1, 2)]
        if libc == "linux":
            return [f"linux_{machine}"]
        return [f"manylinux_2_{minor}_{machine}" for minor in (17, 28, 31)] + [f"manylinux2014_{machine}"]

    def _services(self) -> bool:
        shell = ["unshare", "--mount", "--propagation", "private", sys.executable, ROOT / "tools/emulated_services.py"]
        return self._call([*shell, self.root, self._python], {"PYTHONPATH": str(ROOT)}, check=False) == 0

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
        options = ["-q", "--durations=15", "--timeout", "3600", "-m", "not root and not long"]
        options += ["-W", "ignore::pytest.PytestWarning"]
        return self._run(self._python, "-m", "pytest", *options, *wanted, at="/root/work", check=False) == 0

    def _run(self, *command: str, at: str = "/", check: bool = True) -> int:
        inside = ["env", "-i", f"--chdir={at}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        inside += [f"OVNG_EXAMPLES={EXAMPLES}"]
        mounted = f'mount -t proc proc {self.root}/proc && exec chroot {self.root} "$@"'
        shell = ["unshare", "--mount", "--net", "sh", "-c", f"ip link set lo up; {mounted}", "sh"]
        return self._call([*shell, *inside, *command], check=check)

    def _call(self, command: Sequence[str | Path], extra: Mapping[str, str] = {}, *, check: bool = True) -> int:
        process = subprocess.Popen(command, env=os.environ | extra, stdout=self._log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.used += usage.ru_utime + usage.ru_stime
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
