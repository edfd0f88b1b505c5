"""Completions in the shells themselves, and manual pages through man: both made from the parsers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ovng.cli.grammar import read
from ovng.cli.main import VERBS, main, whole_parser
from tests.quality.sources import ROOT

TOP = read(whole_parser())
CASES = {
    ("",): set(VERBS),
    ("ca", "i"): {"init", "issue"},
    ("ca", "issue", "--key"): {"--key-type"},
    ("ca", "issue", "--key-type", ""): {"p256", "ed25519"},
    ("completion", ""): {"bash", "fish", "zsh"},
    ("install-service", "--r"): {"--root"},
    ("up", "tr"): {"truck.ovng"},
    ("status", "tr"): {"truck.ovng"},
}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A directory with a profile and something else."""
    for name in ("truck.ovng", "other"):
        (tmp_path / name).touch()
    return tmp_path


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def test_bash(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scene / "script").write_text(script("bash", capsys))
    ask = 'source ./script; compopt() { :; }; COMP_WORDS=(ovng "$@"); COMP_CWORD=$#; _ovng;'
    ask += 'printf "%s\\n" "${COMPREPLY[@]}"'
    for words, wanted in CASES.items():
        done = subprocess.run(["bash", "-c", ask, "-", *words], cwd=scene, capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == wanted and not done.stderr, (words, done)


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs the shell fish")
def test_fish(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scene / "script").write_text(script("fish", capsys))
    environment = os.environ | {"HOME": str(scene), "XDG_CONFIG_HOME": str(scene)}
    for words, wanted in CASES.items():
        ask = f"source script; complete --do-complete 'ovng {' '.join(words)}'"
        done = subprocess.run(
            ["fish", "-c", ask], cwd=scene, capture_output=True, text=True, check=True, env=environment
        )
        found = {line.split("\t")[0] for line in done.stdout.splitlines()}
        assert wanted <= found and not any(word.startswith("other") for word in found), (words, found)


_ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1='READY> '; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; bindkey '^I' list-choices"
zpty -r -m shell seen '*READY> *READY> *' || zpty -r -m shell seen '*READY> *'
zpty -w -n shell "$2"$'\t'$'\C-u'"echo DO''NE"$'\n'
zpty -r -m shell seen '*DONE*'
print -r -- "$seen"
zpty -d shell
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs the shell zsh")
def test_zsh(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scene / "functions").mkdir()
    (scene / "functions/_ovng").write_text(script("zsh", capsys))
    subprocess.run(["zsh", "-n", "functions/_ovng"], cwd=scene, check=True)
    for words in (("",), ("ca", ""), ("completion", "")):
        command = ["zsh", "-f", "-c", _ZSH, "-", "functions", f"ovng {' '.join(words)}"]
        done = subprocess.run(command, cwd=scene, capture_output=True, text=True, check=False, timeout=30)
        wanted = {"ca": {"init", "issue", "revoke"}, "completion": {"bash", "fish"}}.get(words[0], {"switch", "doctor"})
        assert wanted <= set(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", done.stdout).split()), (
            words,
            done.stdout,
            done.stderr,
        )


# -- Manual pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "40"}
    subprocess.run([sys.executable, ROOT / "tools/manpages.py", directory], check=True, env=environment)
    return directory


def test_every_verb_has_a_page_with_every_option(pages: Path) -> None:
    assert {path.name for path in pages.iterdir()} == {"ovng.1", *(f"ovng-{verb}.1" for verb in VERBS)}
    for verb in TOP.commands:
        text = (pages / f"ovng-{verb.words[0]}.1").read_text().replace("\\-", "-")
        for command in verb.all():
            for argument in (*command.options, *command.positionals):
                assert all(name in text for name in argument.names or (argument.metavar,)), (command.words, argument)


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man, of man-db")
def test_man_has_nothing_to_complain_about(pages: Path) -> None:
    environment = os.environ | {"LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    for path in sorted(pages.iterdir()):
        command = ["man", "--warnings=w", "--local-file", "-Tutf8", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert not done.stderr and "SYNOPSIS" in re.sub(r".\x08", "", done.stdout), (path.name, done.stderr)
