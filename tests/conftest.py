"""Nothing that a test run makes may outlive it: processes, network namespaces, interfaces, nft tables."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.effort import examples

# A busy machine is no failure, and a run must be repeatable: chance has its place in `make fuzz`.
hypothesis.settings.register_profile(
    "ovng",
    max_examples=examples(100),
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("ovng")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as for what a shell starts in the background, and its children
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root are skipped without it, under a reason that names it."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces and TUN devices"))


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Compares the machine before and after the whole session."""
    before = leftovers()
    yield
    after = leftovers()
    left = {kind: sorted(after[kind] - before[kind]) for kind in after if after[kind] - before[kind]}
    assert not left, f"left behind: {left}"


def leftovers() -> dict[str, set[str]]:
    """What a test could forget: by kind, names that are comparable between two moments."""
    return {
        "children": _descendants(),
        "namespaces": _names("/run/netns"),
        "interfaces": _names("/sys/class/net"),
        "nft tables": _tables(),
    }


def _names(directory: str) -> set[str]:
    path = Path(directory)
    return {entry.name for entry in path.iterdir() if not _of_another(entry.name)} if path.is_dir() else set()


def _of_another(name: str) -> bool:
    """Whether it carries the pid of a living process that is not this one, as what `ovng.demo.net` makes does."""
    found = re.match(r"[a-z-]+-(\d+)-\d+-", name)
    return found is not None and int(found[1]) != os.getpid() and Path("/proc", found[1]).exists()


def _tables() -> set[str]:
    if os.geteuid():
        return set()
    try:
        done = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return set()
    rows = json.loads(done.stdout or '{"nftables": []}')["nftables"]
    return {f"{row['table']['family']} {row['table']['name']}" for row in rows if "table" in row}


def _descendants() -> set[str]:
    """Processes that descend from this one or were started by it and then abandoned: they carry our mark."""
    os.environ.setdefault("OVNG_TEST_SESSION", str(os.getpid()))
    mark = f"OVNG_TEST_SESSION={os.environ['OVNG_TEST_SESSION']}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.add(f"{entry.name} {(entry / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()[:120]}")
        except OSError:
            continue
    return found
