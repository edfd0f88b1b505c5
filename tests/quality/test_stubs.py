"""Stubs of compiled modules against what the modules really offer: mypy's stubtest, and constructors by source.

Cython hides the parameters of a constructor from introspection, so those are compared with the `.pyx`. Names of drop
reasons that a module took over from another are not its own, and modules that are for cimport only have no stub.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys

import pytest

from tests.quality.sources import ROOT

FAST = ROOT / "ovng" / "_fast"
MODULES = sorted(path.stem for path in FAST.glob("*.pyx"))
STUBS = sorted(path.stem for path in FAST.glob("*.pyi"))
_GENERATED = re.compile(
    r"__(test|pyx_\w+|reduce_cython|setstate_cython)__ |is a disjoint base at runtime|\.__init__ is inconsistent"
    r"|\.\w+_NAMES is not present in stub|inbound failed to find stubs"
)
_CONSTRUCTOR = re.compile(r"^    def __(?:c?init)__\((?P<parameters>[^)]*)\)", re.MULTILINE)
_CLASS = re.compile(r"^(?:cdef )?class (?P<name>\w+)[^\n]*:\n(?P<body>(?:(?:    [^\n]*)?\n)*)", re.MULTILINE)


def test_every_module_with_names_has_a_stub_and_every_stub_a_module() -> None:
    stubs = {path.stem for path in FAST.glob("*.pyi")}
    assert stubs <= set(MODULES)
    for module in set(MODULES) - stubs:
        loaded = importlib.import_module(f"ovng._fast.{module}")
        assert not [name for name in vars(loaded) if not name.startswith("_")], f"{module} needs a stub"


def test_names_and_parameters() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "ovng._fast", "--concise"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)
    lines = [line for line in done.stdout.splitlines() if not _GENERATED.search(line)]
    assert done.stdout and not done.stderr, done.stderr
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("module", STUBS)
def test_constructors(module: str) -> None:
    source = {match["name"]: match["body"] for match in _CLASS.finditer((FAST / f"{module}.pyx").read_text())}
    for node in ast.parse((FAST / f"{module}.pyi").read_text()).body:
        if not isinstance(node, ast.ClassDef) or node.name not in source:
            continue
        stub = [
            [argument.arg for argument in (*member.args.args, *member.args.kwonlyargs) if argument.arg != "self"]
            for member in node.body
            if isinstance(member, ast.FunctionDef) and member.name == "__init__"
        ]
        real = [_names(match["parameters"]) for match in _CONSTRUCTOR.finditer(source[node.name])]
        assert max(stub, default=[], key=len) == max(real, default=[], key=len), f"{module}.{node.name}"


def _names(parameters: str) -> list[str]:
    """`self, bytes key not None, int n=3` → [key, n]."""
    words = [re.sub(r"\s*=.*|\s*not None|\s*:.*", "", one.strip()) for one in parameters.split(",")]
    return [word.split()[-1].strip("*") for word in words if word and word not in ("self", "*", "/")]
