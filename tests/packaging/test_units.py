"""The units as systemd reads them: what they keep the services from, measured by systemd's own rule."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ovng.cli.services import DATA, NODE_UNIT, SWITCH_UNIT

MOST_EXPOSED = {NODE_UNIT: 4.5, SWITCH_UNIT: 2.5}

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (systemd)")


def settings(unit: str) -> dict[str, list[str]]:
    """What a unit says, by key."""
    found: dict[str, list[str]] = {}
    for line in (DATA / unit).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@needs_analyze
@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_exposure(unit: str, tmp_path: Path) -> None:
    shutil.copy(DATA / unit, tmp_path)
    command = ["systemd-analyze", "security", "--offline=true", str(tmp_path / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= MOST_EXPOSED[unit], done.stdout


@needs_analyze
@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_systemd_understands_every_line(unit: str, tmp_path: Path) -> None:
    """`verify` also wants the programs to exist: a file stands for /usr/bin/ovng."""
    stand_in = tmp_path / "ovng"
    stand_in.write_text("#!/bin/sh\n")
    stand_in.chmod(0o755)
    instance = tmp_path / unit.replace("@.", "@truck.")
    instance.write_text((DATA / unit).read_text().replace("/usr/bin/ovng", str(stand_in)))
    command = ["systemd-analyze", "verify", "--man=no", str(instance)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if instance.name in line]
    assert not ours, "\n".join(ours)


def test_what_a_unit_must_say() -> None:
    for unit in MOST_EXPOSED:
        found = settings(unit)
        assert found["Type"] == ["notify"] and found["Restart"] == ["on-failure"], unit
        assert found["RestartPreventExitStatus"] == ["2 3"], "as in ovng.errors: no restart helps"
        assert "ExecReload" in found and "WatchdogSec" in found, unit
    switch = settings(SWITCH_UNIT)
    assert switch["DynamicUser"] == ["yes"] and switch["CapabilityBoundingSet"] == [""]
    assert settings(NODE_UNIT)["CapabilityBoundingSet"] == ["CAP_NET_ADMIN CAP_NET_RAW"]
