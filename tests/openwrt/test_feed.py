"""The feed's files: every script in three shells' eyes, and the Makefile against what the sdist is and needs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ovng
from tests.openwrt.router import FEED, FILES, ash
from tests.quality.sources import ROOT, relative

MAKEFILE = FEED / "net" / "ovng" / "Makefile"
SCRIPTS = [
    *sorted(FILES.glob("ovng*.sh")),
    FILES / "ovng.hotplug",
    FILES / "ovng-switch.init",
    FILES.parent / "test.sh",
]
MAKEFILES = [MAKEFILE, FEED / "luci" / "luci-proto-ovng" / "Makefile"]
APK_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*((_alpha|_beta|_pre|_rc|_p)[0-9]+)?\Z")

PACKAGES = {  # module of the standard library → the package of OpenWrt that has it; the rest is in python3-light
    "asyncio": "python3-asyncio",
    "_asyncio": "python3-asyncio",
    "ctypes": "python3-ctypes",
    "_ctypes": "python3-ctypes",
    "logging": "python3-logging",
    "ssl": "python3-openssl",
    "_ssl": "python3-openssl",
    "_hashlib": "python3-openssl",
    "unicodedata": "python3-codecs",
    "urllib": "python3-urllib",
    "email": "python3-email",
    "xml": "python3-xml",
    "multiprocessing": "python3-multiprocessing",
    "sqlite3": "python3-sqlite3",
    "unittest": "python3-unittest",
    "decimal": "python3-decimal",
    "_decimal": "python3-decimal",
    "uuid": "python3-uuid",
    "dbm": "python3-dbm",
    "curses": "python3-ncurses",
    "readline": "python3-readline",
    "pydoc": "python3-pydoc",
    "yaml": "python3-yaml",
}


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_scripts_are_sound(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: nobody reads the scripts")
    for command in (["sh", "-n"], [*ash(), "-n"], ["shellcheck", "--shell=sh"]):
        done = subprocess.run([*command, str(script)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), command


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_scripts_are_installed_executable_or_sourced(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh")
    assert script.name == "test.sh" or f"./files/{script.name} " in MAKEFILE.read_text()


def variables(path: Path) -> dict[str, str]:
    """`NAME:=VALUE` lines."""
    return dict(re.findall(r"(?m)^(\w+):=(.*)$", path.read_text()))


@pytest.mark.parametrize("makefile", MAKEFILES, ids=relative)
def test_versions_are_ours(makefile: Path) -> None:
    assert variables(makefile)["PKG_VERSION"] == ovng.__version__
    assert APK_VERSION.match(ovng.__version__), "apk wants 1.0_rc1 where the wheel says 1.0rc1"


def test_the_sdist_is_what_the_makefile_asks_for() -> None:
    made = variables(MAKEFILE)
    assert f"{made['PYPI_NAME']}-{made['PKG_VERSION']}" == f"ovng-{ovng.__version__}"
    assert re.fullmatch(r"skip|[0-9a-f]{64}", made["PKG_HASH"])
    project = (ROOT / "pyproject.toml").read_text()
    assert 'name = "ovng"' in project and 'license = "MIT"' in project and made["PKG_LICENSE"] == "MIT"
    assert 'requires = ["setuptools>=77"]' in project, "24.10 and 25.12 have setuptools 80"
    assert made["PKG_BUILD_DEPENDS"] == "python-setuptools/host", "the sdist holds the generated C"


def test_three_packages_and_what_they_keep() -> None:
    text = MAKEFILE.read_text()
    packages = re.findall(r"\$\(eval \$\(call BuildPackage,([\w-]+)\)\)", text)
    assert packages == ["python3-ovng", "python3-ovng-src", "ovng", "ovng-proto"]
    conffiles = re.search(r"define Package/ovng/conffiles\n(.*?)endef", text, re.DOTALL)
    assert conffiles is not None
    assert conffiles[1] == (FILES / "ovng.keep").read_text() == "/etc/config/ovng\n/etc/ovng/\n"


def test_a_router_holds_only_what_it_needs() -> None:
    """Each of these costs memory for as long as a node runs (`make footprint`)."""
    code = "import sys, ovng.cli.main, ovng.cli.up, ovng.io.nlmessages; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {
        "ctypes",
        "dataclasses",
        "datetime",
        "hashlib",
        "hmac",
        "lzma",
        "pyroute2",
        "random",
        "secrets",
        "shutil",
        "yaml",
        "ovng.io.poll",
    }
    assert not heavy & set(done.stdout.split())


def test_a_node_needs_only_what_the_package_depends_on() -> None:
    """What a router's node and commands load, by the package of OpenWrt that has it."""
    code = (
        "import json, sys, importlib\n"
        "for name in ('pyroute2', 'netifaces', 'cryptography'): sys.modules[name] = None\n"
        "for name in 'main', 'up', 'status', 'reload', 'down', 'request', 'switch':\n"
        "    importlib.import_module(f'ovng.cli.{name}')\n"
        "import ovng.io.csr\n"
        "from ovng.io.nlmessages import Link\n"
        "from ovng.config.nodes import compose\n"
        "compose('a: 1', 'x')\n"
        "'switch.example.net'.encode('idna')\n"
        "print(json.dumps(sorted({name.split('.')[0] for name, module in sys.modules.items() if module})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    needed = {PACKAGES[name] for name in json.loads(done.stdout) if name in PACKAGES}
    depends = re.search(r"define Package/python3-ovng\n.*?DEPENDS:=(.*?)\nendef", MAKEFILE.read_text(), re.DOTALL)
    assert depends is not None
    offered = {word.removeprefix("+") for word in depends[1].replace("\\", " ").split()}
    assert needed <= offered
    assert offered - needed <= {"python3-light", "libopenssl", "kmod-tun"}, "nothing that nobody needs"
