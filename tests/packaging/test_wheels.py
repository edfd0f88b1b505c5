"""wheels.yml, what builds from it, and the sdist that all of it is built from."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import types
import venv
from pathlib import Path

import pytest
import yaml

from tests.quality.sources import ROOT

LIST = yaml.safe_load((ROOT / "wheels.yml").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/wheels.yml").read_text())


@pytest.fixture(scope="module")
def tool() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("wheels_tool", ROOT / "tools/wheels.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_cibuildwheel_knows_the_same_targets() -> None:
    command = ["-m", "cibuildwheel", "--print-build-identifiers", "--platform", "linux", "--archs", "all"]
    told = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(told.split()) == {f"{python}-{target}" for python in LIST["pythons"] for target in LIST["targets"]}


def test_the_workflow_has_a_job_for_each_target(tool: types.ModuleType) -> None:
    rows = json.loads(tool.matrix())["include"]
    assert [row["name"] for row in rows] == list(LIST["targets"])
    for row in rows:
        assert row["build"].split() == [f"{python}-{row['name']}" for python in LIST["pythons"]]
        assert row["name"].endswith(row["arch"])
    (step,) = [step for step in WORKFLOW["jobs"]["wheel"]["steps"] if "cibuildwheel" in step.get("uses", "")]
    used = {word for word in json.dumps(WORKFLOW["jobs"]["wheel"]).replace("}}", " ").split() if "matrix." in word}
    assert {word.partition("matrix.")[2].strip('",') for word in used} == set(rows[0])
    assert step["env"]["CIBW_BUILD"] == "${{ matrix.build }}"


def test_only_publishing_may_do_more_than_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [name for name, job in WORKFLOW["jobs"].items() if "permissions" in job] == ["publish"]


@pytest.mark.parametrize("target", LIST["targets"])
def test_a_target_means_one_machine(target: str) -> None:
    row = LIST["targets"][target]
    libc, _, machine = target.partition("_")
    assert row["tag"].startswith(libc) and row["tag"].endswith(machine)
    assert ("musl" in row["zig"]) == (libc == "musllinux")
    assert row["zig"].split("-")[0] == {"armv7l": "arm"}.get(machine, machine)


@pytest.mark.long
def test_an_sdist_builds_without_cython_and_network(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"generated/{source.stem}.c" for source in (ROOT / "ovng/_fast").glob("*.pyx")} <= names
    assert not [name for name in names if name.endswith((".so", ".pyc")) or name.startswith(("build/", "dist/"))]

    machine = tmp_path / "machine"
    venv.create(machine, with_pip=True)
    python = machine / "bin/python"
    wheelhouse = tmp_path / "wheelhouse"
    fetch = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(wheelhouse),
        "setuptools>=77",
    ]
    subprocess.run(fetch, check=True)
    offline = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheelhouse)]
    unshared = (
        ["unshare", "--net", "--"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net", "--"]
    )
    subprocess.run([*unshared, *offline, "--no-deps", str(sdist)], check=True)
    said = subprocess.run(
        [python, "-c", "import ovng._fast.frame, importlib.util as u; print(u.find_spec('Cython'))"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert said.stdout.strip() == "None"
