"""Fuzzes for a time: `python -m tests.fuzz.run [--seconds N] [TARGET…]`, each target in a process of its own.

With atheris (PyPI) mutation is guided by the coverage of Python code, the slow twins of compiled code included; without
it, and under the sanitizers, inputs of the corpus are changed blindly. Finds go to build/fuzz/: new inputs under the
target's name, what breaks a law under crashes/, to be replayed by `python -m tests.fuzz.run --replay FILE TARGET`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

CORPUS = Path(__file__).parent / "corpus"
WORK = Path("build/fuzz")
INPUT_MAX = 4_096
HANG_SECONDS = 60
MEMORY_MB = 2_048
PROGRESS_SECONDS = 30.0


class Outcome(NamedTuple):
    """Of one target."""

    target: str
    executions: int
    per_second: float
    found: int
    """New inputs worth keeping, 0 when blind."""
    failed: bool


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 when a law was broken."""
    parser = argparse.ArgumentParser(prog="tests.fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (60)")
    parser.add_argument("--blind", action="store_true", help="without coverage, also where atheris is there")
    parser.add_argument("--compiled", action="store_true", help="the targets of compiled code only")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input, as it is")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    options = parser.parse_args(arguments)
    if options.child:
        return _child(options.targets[0], options.seconds, blind=options.blind)

    from tests.fuzz import targets

    names = options.targets or (targets.COMPILED if options.compiled else targets.NAMES)
    if not options.targets and os.geteuid() != 0:
        _say(f"left out, for root only: {', '.join(targets.PRIVILEGED)}")
        names = [name for name in names if name not in targets.PRIVILEGED]
    unknown = set(names) - set(targets.NAMES)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))} (known: {', '.join(targets.NAMES)})")
    if options.replay:
        for name in names:
            targets.load(name)(options.replay.read_bytes())
        return 0
    blind = options.blind or importlib.util.find_spec("atheris") is None
    _say("blind mutation of the corpus" if blind else "guided by coverage (atheris)")
    outcomes = [_run(name, options.seconds, blind=blind) for name in names]
    _summarise(outcomes)
    return int(any(outcome.failed for outcome in outcomes))


# -- The parent


def _run(name: str, seconds: float, *, blind: bool) -> Outcome:
    """Start a target's process, pass on what it says, and read its last words."""
    _say(f"== {name}, {seconds:.0f} s")
    command = [sys.executable, "-m", "tests.fuzz.run", "--child", "--seconds", str(seconds), name]
    if blind:
        command.insert(4, "--blind")
    (WORK / name).mkdir(parents=True, exist_ok=True)
    (WORK / "crashes").mkdir(exist_ok=True)
    tail: list[str] = []
    started = said = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            tail = [*tail[-199:], line.rstrip("\n")]
            if line.startswith("#") and time.monotonic() > said + PROGRESS_SECONDS:
                said = time.monotonic()
                _say(f"   {line.strip()}")
    text = "\n".join(tail)
    failed = run.returncode != 0
    if failed:
        _say(text)
    executions = _figure(r"stat::number_of_executed_units:\s*(\d+)", text) or _figure(r"#(\d+)", text)
    spent = max(time.monotonic() - started, 0.001)
    return Outcome(name, executions, executions / spent, _figure(r"stat::new_units_added:\s*(\d+)", text), failed)


def _figure(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def _summarise(outcomes: list[Outcome]) -> None:
    _say(f"\n{'target':<20}{'executions':>12}{'per second':>12}{'new inputs':>12}")
    for each in outcomes:
        verdict = "  FAILED, see build/fuzz/crashes" if each.failed else ""
        _say(f"{each.target:<20}{each.executions:>12}{each.per_second:>12.0f}{each.found:>12}{verdict}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# -- One target's process


def _child(name: str, seconds: float, *, blind: bool) -> int:
    return _blind(name, seconds) if blind else _guided(name, seconds)


def _guided(name: str, seconds: float) -> int:
    """Under libFuzzer, which ends the process."""
    import atheris

    with atheris.instrument_imports(include=["ovng", "tests"], enable_loader_override=False):
        from tests.fuzz import targets

        target = targets.load(name)
    flags = [
        f"-max_total_time={max(1, int(seconds))}",
        f"-max_len={INPUT_MAX}",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={WORK / 'crashes' / name}-",
        "-print_final_stats=1",
        "-len_control=20",
        "-reload=0",
    ]
    atheris.Setup([sys.argv[0], *flags, str(WORK / name), str(CORPUS / name)], target)
    atheris.Fuzz()
    return 0


def _blind(name: str, seconds: float) -> int:
    """Change inputs of the corpus at random. One that breaks a law is kept."""
    from tests.fuzz import targets
    from tests.fuzz.mutate import inputs

    target = targets.load(name)
    last = WORK / "crashes" / f"{name}-last-{os.getpid()}"  # should the process not survive
    end, count = time.monotonic() + seconds, 0
    for data in inputs(CORPUS / name, seed=os.getpid()):
        if time.monotonic() > end:
            break
        last.write_bytes(data)
        try:
            target(data)
        except BaseException:
            kept = WORK / "crashes" / f"{name}-{count}-{os.getpid()}"
            kept.write_bytes(data)
            _say(f"broken by {kept}")
            raise
        count += 1
        if count % 1_000 == 0:
            _say(f"#{count}")
    last.unlink()
    _say(f"#{count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
