"""LuCI's side: the scripts parse, and in a browser they make the form and the status page; LuCI's own modules are
stood in for by recorders (luci.html). `python -m tests.openwrt.test_luci FILE.png` shows the page."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.openwrt.router import FEED, FILES

LUCI = FEED / "luci" / "luci-proto-ovng"
SCRIPTS = sorted((LUCI / "htdocs").rglob("*.js"))
STATUS = Path(__file__).with_name("status.json")
"""Of a real node; `tests/netns/test_netifd` holds it to what nodes say."""
PROTOCOL = LUCI / "htdocs/luci-static/resources/protocol/ovng.js"
VIEW = LUCI / "htdocs/luci-static/resources/view/ovng/status.js"
CHECKS = {
    "fwmark": ["0x3f00", "256", "", "0xzz", "-1"],
    "exit": ["3f9a-77c1-02be-5d40", "", "3f9a", "3F9A-77C1-02BE-5D40"],
}


def page() -> str:
    """The page with our scripts and a real node's status in it."""
    data = {
        "protocol": PROTOCOL.read_text(),
        "view": VIEW.read_text(),
        "sections": [
            {".name": "wan", "proto": "dhcp"},
            {".name": "ovng0", "proto": "ovng"},
            {".name": "ovng1", "proto": "ovng"},
        ],
        "answers": {
            "ovng0": {"code": 0, "stdout": STATUS.read_text()},
            "ovng1": {"code": 1, "stdout": "", "stderr": "ovng: ovng1 is not running\n"},
        },
        "checks": CHECKS,
    }
    text = Path(__file__).with_name("luci.html").read_text()
    return text.replace("/*DATA*/null", json.dumps(data).replace("</", "<\\/"))


def browser(*words: str) -> str:
    """Chromium on the page; its output."""
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("chromium is not installed: no browser to show LuCI's pages in")
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, "page.html")
        file.write_text(page())
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}/profile"]
        options += ["--virtual-time-budget=5000", "--disable-dev-shm-usage", *words]
        done = subprocess.run(
            [command, *options, file.as_uri()], capture_output=True, text=True, check=True, timeout=120
        )
    return done.stdout


@pytest.fixture(scope="module")
def shown() -> str:
    dom = browser("--dump-dom")
    failed = re.search(r'<pre id="failed">(.*?)</pre>', dom, re.DOTALL)
    assert failed is None, html.unescape(failed[1])
    return dom


@pytest.fixture(scope="module")
def recorded(shown: str) -> dict[str, Any]:
    found = re.search(r'<pre id="recorded" hidden="">(.*?)</pre>', shown, re.DOTALL)
    assert found is not None
    noted: dict[str, Any] = json.loads(html.unescape(found[1]))
    return noted


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(LUCI)))
def test_scripts_parse(script: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed: LuCI's scripts are parsed by it")
    done = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_form_has_what_an_owner_chooses(shown: str) -> None:
    found = re.findall(r'class="option" data-name="(\w+)" data-tab="(\w+)" data-kind="(\w+)"', shown)
    assert found[:4] == [
        ("profile", "general", "FileUpload"),
        ("uplink", "general", "DeviceSelect"),
        ("metered", "general", "DeviceSelect"),
        ("mode", "general", "ListValue"),
    ]
    handler = (FILES / "ovng.sh").read_text()
    declared = set(re.findall(r"proto_config_add_\w+ (\w+)", handler))
    assert {name for name, _, _ in found} <= declared, "netifd hands over only what the handler declares"


def test_the_form_refuses_nonsense(recorded: dict[str, Any]) -> None:
    assert {name: held for name, *held in recorded["checks"]} == {
        "fwmark": [True, True, True, False, False],
        "exit": [True, True, False, False],
    }


def test_every_code_of_the_handler_has_words(recorded: dict[str, Any]) -> None:
    used = set(re.findall(r"\bOVNG_[A-Z_]{4,}\b", (FILES / "ovng.sh").read_text())) - {"OVNG_ETC", "OVNG_RUN"}
    assert {code for code, text in recorded["errors"] if text} == used


def test_the_protocol_names_itself_and_its_package(recorded: dict[str, Any]) -> None:
    assert (recorded["name"], recorded["package"]) == ("ovng", ["ovng-proto", "ovng-proto"])


def test_the_status_page_shows_peers_paths_handovers_and_traffic(shown: str, recorded: dict[str, Any]) -> None:
    text = html.unescape(re.sub(r"<[^>]*>", " ", shown[shown.index("</script>") :]))
    status = json.loads(STATUS.read_text())
    for word in ("Paths", "Peers", "Last handovers", "Traffic", "attached", "ovng1 is not running"):
        assert word in text
    for part in (status["id"], *status["addresses"], status["peers"][0]["id"], status["paths"][0]["uplink"]):
        assert part in text
    assert status["handovers"][-1]["cause"] in text
    assert recorded["execs"] == [["/usr/bin/ovng", "status", "--json", name] for name in ("ovng0", "ovng1")] * 2
    assert recorded["every"] == [5]


def test_the_menu_and_what_it_may_do() -> None:
    menu = json.loads((LUCI / "root/usr/share/luci/menu.d/luci-proto-ovng.json").read_text())
    rights = json.loads((LUCI / "root/usr/share/rpcd/acl.d/luci-proto-ovng.json").read_text())
    (entry,) = menu.values()
    assert (LUCI / "htdocs/luci-static/resources/view" / f"{entry['action']['path']}.js").is_file()
    (name,) = rights
    assert entry["depends"]["acl"] == [name]
    assert rights[name]["read"]["file"]["/usr/bin/ovng status --json *"] == ["exec"]
    assert "write" not in str(rights[name]["read"]), "who may only look cannot change anything"


if __name__ == "__main__":
    browser(f"--screenshot={Path(sys.argv[1]).absolute()}", "--window-size=1150,1500", "--hide-scrollbars")
