"""Documents say what is there: every command they show exists, and every file they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ovng.cli.main import VERBS, main
from tests.quality.sources import ROOT, relative

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("openwrt/*.md"), *(ROOT / f"docs/{name}.md" for name in ("install", "mobility"))]
)
FORBIDDEN = re.compile(r"/work/|\bshared/|DESIGN\.md|SECURITY\.md|STYLE\.md|\bhelpers?\b's branch|TODO|FIXME|XXX")
_CODE = re.compile(r"`([^`\n]+)`|^    (.+)$", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def code(path: Path) -> list[str]:
    """What stands in backquotes or is indented as code."""
    return [(match[1] or match[2]).strip() for match in _CODE.finditer(path.read_text())]


def shown(path: Path, command: str) -> list[str]:
    """The command lines of a document that begin with `command`, comments and prompts taken off."""
    lines = (re.sub(r"\s{2,}#.*|^\$ ", "", line) for line in code(path))
    return [line for line in lines if re.match(rf"(sudo )?(\.venv/bin/)?{command}( |$)", line)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_make_targets_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in shown(path, "make"):
        for target in re.findall(r"[a-z][a-z-]*", line.removeprefix("make")):
            assert re.search(rf"^[a-z ]*\b{target}\b[a-z ]*:", makefile, re.MULTILINE), line


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_ovng_commands_exist(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verb by verb against the real parser: its help must know the verb, the action and every option shown."""
    for line in shown(path, "ovng"):
        words = re.sub(r".*?ovng ?", "", line, count=1).split()
        if not words or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
            continue
        assert words[0] in VERBS, line
        known = [words[0]]
        if words[0] == "ca" and len(words) > 1 and words[1].islower():
            known.append(words[1])
        with pytest.raises(SystemExit) as end:
            main([*known, "--help"])
        assert end.value.code == 0, line
        text = capsys.readouterr().out
        for option in _OPTION.findall(line):
            assert option in text, f"{line}: {option}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_files_named_exist(path: Path) -> None:
    for word in code(path):
        if re.fullmatch(r"(ovng|tests|tools|benchmarks)/[a-z_][\w/.]*", word):
            assert (ROOT / word).exists() or list(ROOT.glob(f"{word}.*")), word


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "Makefile", *sorted((ROOT / "ovng").rglob("*.py*"))], ids=relative)
def test_no_word_of_how_it_was_made(path: Path) -> None:
    if path.suffix == ".pyc":
        return
    found = [line for line in path.read_text().splitlines() if FORBIDDEN.search(line)]
    assert not found


def test_help_has_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {name for line in re.findall(r"^([a-z][a-z -]*):", makefile, re.MULTILINE) for name in line.split()}
    described = {
        name for line in re.findall(r"^([a-z][a-z -]*):.*## ", makefile, re.MULTILINE) for name in line.split()
    }
    assert targets == described


def test_targets_install_the_tools_that_they_use() -> None:
    """On a fresh machine each target may be the first one."""
    rule = re.compile(r"^([a-z][a-z -]*): ([^#\n]*)## .*\n((?:\t.*\n)*)", re.MULTILINE)
    for target, wanted, recipe in rule.findall((ROOT / "Makefile").read_text()):
        if re.search(r"\$\(PYTEST\)|/bin/(ruff|mypy)|-m (benchmarks|tests)\b", recipe):
            assert "$(VENV)/.dev" in wanted, target
