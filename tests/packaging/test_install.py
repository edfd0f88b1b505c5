"""`ovng install-service --root`: what it writes, what it refuses, and that nothing is left when it is taken back.

What runs afterwards is tested on machines with a systemd of their own (`test_machines`).
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from ovng.cli.main import main
from ovng.cli.services import MARK
from tests.quality.sources import ROOT

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("systemctl") is None, reason="needs systemctl (systemd)"),
]

WANTS = "etc/systemd/system/multi-user.target.wants"


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network's folder: the Switch, two nodes, and a revoked one."""
    top = tmp_path_factory.mktemp("ca")
    words = ["-C", str(top), "init", "home", "--prefix", "10.77.0.0/16", "--switch", "192.0.2.1:5140"]
    assert main(["ca", *words]) == 0
    folder = str(top / "home")
    for name in ("truck", "laptop", "old"):
        assert main(["ca", "-C", folder, "issue", name]) == 0
    assert main(["ca", "-C", folder, "revoke", "old"]) == 0
    return top / "home"


@pytest.fixture(autouse=True)
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run from a clone below /tmp, where no service could look."""
    monkeypatch.setattr("ovng.cli.services._TEMPORARY", ())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The file system of a laptop that has NetworkManager and systemd-networkd, but no package of ours."""
    for name in ("etc/NetworkManager/conf.d", "etc/systemd/system", "lib/systemd"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lib/systemd/systemd-networkd").touch()
    return tmp_path


def files(root: Path) -> dict[str, str]:
    """All that is there: path → mode, or where a link leads."""
    return {
        str(path.relative_to(root)): f"→ {path.readlink()}"
        if path.is_symlink()
        else f"{stat.S_IMODE(path.stat().st_mode):o}"
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_a_node_and_the_way_back(root: Path, profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(root)
    assert main(["install-service", "--root", str(root), str(profiles / "truck.ovng")]) == 0
    made = {path: mode for path, mode in files(root).items() if path not in before}
    assert made == {
        "etc/ovng/truck.ovng": "600",
        "etc/systemd/system/ovng@.service": "644",
        f"{WANTS}/ovng@truck.service": "→ /etc/systemd/system/ovng@.service",
        "etc/NetworkManager/conf.d/ovng.conf": "644",
        "etc/systemd/network/10-ovng.network": "644",
    }
    said = capsys.readouterr().out
    assert all(str(root / path) in said for path in made if "wants" not in path) and "ovng@truck.service" in said
    unit = (root / "etc/systemd/system/ovng@.service").read_text()
    assert unit.startswith(MARK) and f"ExecStart={sys.executable} -m ovng.cli.main up /etc/ovng/%i.ovng" in unit
    assert main(["uninstall-service", "--root", str(root), "truck"]) == 0
    assert files(root) == before
    assert not (root / "etc/ovng").exists()


def test_two_nodes_share_the_unit_until_the_last_one_goes(root: Path, profiles: Path, tmp_path: Path) -> None:
    other = tmp_path / "laptop.ovng"
    other.write_text((profiles / "laptop.ovng").read_text().replace("# interface: ovng0", "interface: ovng1"))
    other.chmod(0o600)
    for profile in (profiles / "truck.ovng", other):
        assert main(["install-service", "--root", str(root), str(profile)]) == 0
    assert main(["uninstall-service", "--root", str(root), "truck"]) == 0
    left = files(root)
    assert "etc/systemd/system/ovng@.service" in left and f"{WANTS}/ovng@laptop.service" in left
    assert main(["uninstall-service", "--root", str(root), "laptop"]) == 0
    assert "etc/systemd/system/ovng@.service" not in files(root)


def test_the_switch_with_its_list_and_its_state(root: Path, profiles: Path) -> None:
    (root / "lib/systemd/system").mkdir()
    shutil.copy(ROOT / "ovng/data/ovng-switch.service", root / "lib/systemd/system")
    before = files(root)
    assert main(["install-service", "--root", str(root), str(profiles / "switch.ovng")]) == 0
    made = {path: mode for path, mode in files(root).items() if path not in before}
    assert made == {
        "etc/ovng/switch.ovng": "600",
        "etc/ovng/crl.der": "644",
        f"{WANTS}/ovng-switch.service": "→ /lib/systemd/system/ovng-switch.service",
    }
    (root / "var/lib/private/ovng-switch/state").mkdir(parents=True)
    (root / "var/lib/ovng-switch").symlink_to("private/ovng-switch")
    assert main(["uninstall-service", "--root", str(root), "switch"]) == 0
    assert files(root) == before and not (root / "var/lib/private/ovng-switch").exists()


def test_again_with_a_renewed_profile(root: Path, profiles: Path) -> None:
    assert main(["install-service", "--root", str(root), str(profiles / "truck.ovng")]) == 0
    assert main(["ca", "-C", str(profiles), "renew", "truck"]) == 0
    assert main(["install-service", "--root", str(root), str(profiles / "truck.ovng")]) == 0
    assert (root / "etc/ovng/truck.ovng").read_bytes() == (profiles / "truck.ovng").read_bytes()


def test_what_a_package_has_brought_is_used(root: Path, profiles: Path) -> None:
    names = ("systemd/system/ovng@.service", "systemd/network/10-ovng.network", "NetworkManager/conf.d/ovng.conf")
    for name in names:
        (root / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "ovng/data/ovng@.service", root / "lib" / name)
    before = files(root)
    assert main(["install-service", "--root", str(root), str(profiles / "truck.ovng")]) == 0
    assert set(files(root)) - set(before) == {"etc/ovng/truck.ovng", f"{WANTS}/ovng@truck.service"}


def test_another_network_s_node_of_the_same_name_is_kept(root: Path, profiles: Path, tmp_path: Path) -> None:
    words = ["-C", str(tmp_path), "init", "work", "--prefix", "10.88.0.0/16", "--switch", "192.0.2.2:5140"]
    assert main(["ca", *words]) == 0
    assert main(["ca", "-C", str(tmp_path / "work"), "issue", "truck"]) == 0
    assert main(["install-service", "--root", str(root), str(profiles / "truck.ovng")]) == 0
    assert main(["install-service", "--root", str(root), str(tmp_path / "work/truck.ovng")]) == 2
    assert (root / "etc/ovng/truck.ovng").read_bytes() == (profiles / "truck.ovng").read_bytes()


def test_two_profiles_with_one_interface(root: Path, profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-service", "--root", str(root), str(profiles / "truck.ovng")]) == 0
    capsys.readouterr()
    assert main(["install-service", "--root", str(root), str(profiles / "laptop.ovng")]) == 2
    said = capsys.readouterr().err
    assert "interface: truck has ovng0 as well: write another one into this profile, say `interface: ovng1`" in said
    assert "etc/ovng/laptop.ovng" not in files(root)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["install-service", "{profile}"], "systemd does not run here"),
        (["uninstall-service", "truck"], "systemd does not run here"),
        (["install-service", "--root", "/nowhere", "{profile}"], "/nowhere: is not a directory"),
        (["install-service", "--root", "{root}", "/nowhere.ovng"], "/nowhere.ovng: cannot be opened"),
        (
            ["uninstall-service", "--root", "{root}", "truck"],
            "truck is not installed as a service; installed is nothing",
        ),
        (["uninstall-service", "--root", "{root}", "../x"], "is no name"),
    ],
)
def test_refusals(words: list[str], said: str, root: Path, profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "systemd" in said and Path("/run/systemd/system").is_dir():
        pytest.skip("needs a machine without systemd")
    before = files(root)
    assert main([word.format(root=root, profile=profiles / "truck.ovng") for word in words]) in (1, 2)
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert files(root) == before


def test_somebody_who_is_not_root(root: Path, profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.seteuid(65534)
    try:
        assert main(["install-service", "--root", str(root), str(profiles / "truck.ovng")]) == 1
    finally:
        os.seteuid(0)
    assert capsys.readouterr().err == "ovng: only root may do this: run it with sudo\n"


def test_what_services_cannot_see_is_refused(
    root: Path, profiles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They have a /tmp of their own: an ovng that lies there would not be found."""
    before = files(root)
    monkeypatch.setattr("ovng.cli.services._TEMPORARY", (ROOT,))
    assert main(["install-service", "--root", str(root), str(profiles / "truck.ovng")]) == 1
    assert "a temporary place that services do not see" in capsys.readouterr().err
    assert files(root) == before
