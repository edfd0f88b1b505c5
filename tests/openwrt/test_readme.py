"""README's ten lines, followed: from the feed to what netifd is told to run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import stat
from pathlib import Path

import pytest

from ovng.cli.main import main
from ovng.config.profile import NodeProfile
from ovng.io.credentials import read_profile
from tests.openwrt.router import FEED, Router

TEN = 10


def shown() -> list[str]:
    """The commands of the section, their comments taken off."""
    section = (FEED / "README.md").read_text().split("## From the feed to a running interface\n")[1].split("\n## ")[0]
    return [re.sub(r"\s{2,}#.*", "", line.strip()) for line in re.findall(r"^    (.+)$", section, re.MULTILINE)]


def commands(program: str) -> list[list[str]]:
    """Those of one program, in their order, as words."""
    parts = [part.strip(" ()") for line in shown() for part in re.split(r"&&|;", line)]
    return [shlex.split(part) for part in parts if part.split()[:1] == [program]]


def ovng(monkeypatch: pytest.MonkeyPatch, place: Path, words: list[str]) -> None:
    monkeypatch.chdir(place)
    assert main(words) == 0


def test_ten_lines() -> None:
    assert len(shown()) <= TEN
    assert shown()[0].startswith("echo 'src-link ovng ") and commands("ifstatus") == [["ifstatus", "ovng0"]]


def test_what_is_built_brings_the_rest() -> None:
    (made,) = commands("make")
    (installed,) = [words[-1] for words in commands("./scripts/feeds") if words[1] == "install"]
    assert made == ["make", f"package/{installed}/compile"]
    assert "+ovng-proto" in (FEED / "luci" / installed / "Makefile").read_text()
    makefile = (FEED / "net/ovng/Makefile").read_text()
    for package, needs in (("ovng-proto", "+ovng"), ("ovng", "+python3-ovng")):
        assert re.search(rf"define Package/{package}\n(?:.+\n)*?  DEPENDS:=\{needs}\n", makefile)


def test_followed_to_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router's `/etc/ovng` and the CA's folder are two directories here, and `scp` is a copy."""
    router = Router(tmp_path / "router", "stand-ins")
    ovng(monkeypatch, tmp_path, ["ca", "init", "home", "--prefix", "10.77.0.0/16", "--switch", "192.0.2.1:5140"])
    request, sign = [words[1:] for words in commands("ovng") if words[1] != "status"]
    ovng(monkeypatch, router.etc, request)
    shutil.copy(router.etc / "truck.csr", tmp_path / "home")
    ovng(monkeypatch, tmp_path / "home", sign)
    shutil.copy(tmp_path / "home/truck.ovng", router.etc)
    assert commands("scp")[-2:] == [
        ["scp", "root@192.168.1.1:/etc/ovng/truck.csr", "."],
        ["scp", "truck.ovng", "root@192.168.1.1:/etc/ovng/"],
    ]

    settings = dict(
        words[2].removeprefix("network.ovng0").split("=", 1) for words in commands("uci") if words[1] == "set"
    )
    assert settings.pop("") == "interface" and settings.pop(".proto") == "ovng"
    config = {key[1:]: value.replace("/etc/ovng", str(router.etc)) for key, value in settings.items()}
    router.handler("setup", config=config)
    (told,) = router.notified()
    assert told["command"][:2] == ["/usr/bin/ovng", "up"] and told["command"][-1] == str(router.etc / "truck.ovng")
    node = read_profile(router.etc / "truck.ovng", router.run_dir / "ovng0.json")
    assert isinstance(node, NodeProfile) and node.under_netifd and node.interface == "ovng0"
    assert list(map(str, node.routes)) == ["192.168.1.0/24"]
    assert stat.S_IMODE((router.etc / "truck.key").stat().st_mode) == 0o600
    assert "key_file" in json.loads((tmp_path / "home/truck.ovng").read_text()), "the key stays where it was made"
