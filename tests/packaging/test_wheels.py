"""wheels.yml, what builds from it, and the sdist that all of it is built from."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import site
import subprocess
import sys
import tarfile
import tomllib
import types
import venv
from pathlib import Path

import pytest
import yaml

from tests.quality.sources import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
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


@pytest.mark.parametrize("target", LIST["tests"])
def test_what_is_only_tested_has_no_job(target: str, tool: types.ModuleType) -> None:
    assert target not in [row["name"] for row in json.loads(tool.matrix())["include"]]
    assert LIST["tests"][target]["chroot"] == target.removeprefix("linux_")


def test_a_node_loads_only_what_it_depends_on() -> None:
    """And of pyroute2 the messages, not the package, which would take 12 MB."""
    code = (
        "import sys, ovng.cli.main, ovng.cli.up\n"
        "from ovng.io.rtnetlink import RouteSocket\n"
        "RouteSocket().close()\n"
        "print(*sys.modules)"
    )
    # Isolated and without site: neither PYTHON* variables nor .pth files of other packages load anything.
    path = f"import sys; sys.path[:0] = {[str(ROOT), *site.getsitepackages()]!r}\n"
    told = subprocess.run([sys.executable, "-ISc", path + code], check=True, capture_output=True, text=True).stdout
    loaded = set(told.split())
    outside = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert outside - {"ovng", "yaml", "_yaml", "pyroute2", "__main__", "__mp_main__", "cython_runtime"} == {
        name for name in outside if name.startswith("_cython")
    }
    assert "pyroute2.netlink.rtnl.rtmsg" in loaded
    assert not loaded & {"pyroute2.iproute", "pyroute2.ndb", "pyroute2.requests"}


def test_plain_nodes_need_two_packages_and_extras_one_each() -> None:
    def names(requirements: list[str]) -> list[str]:
        return [re.split(r"[>=;\[ ]", requirement)[0] for requirement in requirements]

    assert names(PROJECT["dependencies"]) == ["pyyaml", "pyroute2"]
    extras = {name: names(PROJECT["optional-dependencies"][name]) for name in ("ca", "switch", "poll")}
    assert extras == {"ca": ["cryptography"], "switch": [], "poll": ["netifaces"]}


@pytest.mark.long
def test_actionlint_has_nothing_to_say() -> None:
    done = subprocess.run([ROOT / "tools/actionlint"], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(f"no actionlint: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr


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
