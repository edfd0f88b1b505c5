"""Habits that a machine can check: no waiting, no hidden randomness, secrets compared in constant time, words for
everything public, and files that are still one idea."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.quality.sources import ROOT, product, relative, tree

PY_LINES = 600
TEST_LINES = 750  # a test file mirrors what it tests, whole
PYX_LINES = 600

SECRET_NAMES = {"tag", "cookie", "hmac", "mac", "digest", "secret", "password"}
NOT_SECRET = {
    "ovng/pki/der.py": "tags of DER elements",
    "ovng/forwarding/reporter.py": "whether the cookie in an authenticated answer is the one we already echo",
    "ovng/session/attempt.py": "whether the responder's own cookie has changed; nothing is proved by it",
}
CALLS_REFUSED = {
    "os.urandom": "randomness is handed in",
    "os.getrandom": "randomness is handed in",
    "time.sleep": "nothing sleeps: deadlines are returned",
    "datetime.now": "only clock.py reads time",
    "datetime.utcnow": "only clock.py reads time",
    "date.today": "only clock.py reads time",
    "eval": "it executes what it reads",
    "exec": "it executes what it reads",
    "os.system": "no shell",
    "yaml.load": "it makes objects: the node tree is read instead",
}
CALLS_ALLOWED = {
    ("ovng/fields.py", "exec"): "the fields of our own classes, as dataclasses do it",
    ("ovng/io/datapath.py", "os.urandom"): "the edge",
    ("ovng/io/files.py", "os.urandom"): "the edge",
    ("ovng/io/switchpath.py", "os.urandom"): "the edge",
}
SLEEPERS = {"ovng/io/control.py": "out of descriptors: accept again in a second"}

tests = sorted((ROOT / "tests").rglob("*.py"))
compiled = sorted(path for path in (ROOT / "ovng" / "_fast").iterdir() if path.suffix in (".pyx", ".pxd", ".h"))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, _dotted(node.func)


def secret_comparisons(module: ast.Module) -> list[int]:
    """Lines that compare something with a secret's name by `==` or `!=`."""

    def names(node: ast.expr) -> Iterator[str]:
        if isinstance(node, ast.Tuple):
            for element in node.elts:
                yield from names(element)
        last = _dotted(node).rsplit(".", 1)[-1]
        yield from last.strip("_").split("_")[-1:]

    return [
        node.lineno
        for node in ast.walk(module)
        if isinstance(node, ast.Compare)
        and any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops)
        and SECRET_NAMES & {name for side in (node.left, *node.comparators) for name in names(side)}
    ]


@pytest.mark.parametrize("path", product(), ids=relative)
def test_refused_calls(path: Path) -> None:
    for line, name in _calls(path):
        for refused, reason in CALLS_REFUSED.items():
            allowed = (relative(path), name) in CALLS_ALLOWED
            assert allowed or not f".{name}".endswith(f".{refused}"), f"{relative(path)}:{line}: {name}: {reason}"
        assert not name.endswith("sleep") or relative(path) in SLEEPERS, f"{relative(path)}:{line}: nothing sleeps"


@pytest.mark.parametrize("path", tests, ids=relative)
def test_tests_do_not_sleep(path: Path) -> None:
    """They poll: the only sleep is the pause within a `while`. (`asyncio.sleep(0)` lets others run.)"""
    polls = {id(inner) for loop in ast.walk(tree(path)) if isinstance(loop, ast.While) for inner in ast.walk(loop)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and _dotted(node.func) in ("time.sleep", "asyncio.sleep"):
            yields = isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            assert yields or id(node) in polls, f"{relative(path)}:{node.lineno}: poll with a deadline"


@pytest.mark.parametrize("path", product(), ids=relative)
def test_secrets_are_compared_in_constant_time(path: Path) -> None:
    if relative(path) in NOT_SECRET:
        assert secret_comparisons(tree(path)), f"{relative(path)} needs no exception any more"
        return
    lines = secret_comparisons(tree(path))
    assert not lines, f"{relative(path)}:{lines}: hmac.compare_digest"


def test_the_comparison_rule_bites() -> None:
    assert secret_comparisons(ast.parse("if tag != data[:16]: pass")) == [1]
    assert secret_comparisons(ast.parse("ok = self._cookie == stream.cookie")) == [1]
    assert secret_comparisons(ast.parse("if (a.cookie, b) == (c.cookie, d): pass")) == [1]
    assert secret_comparisons(ast.parse("if hmac.compare_digest(tag, x): pass")) == []
    assert secret_comparisons(ast.parse("if key_id == 3: pass")) == []


@pytest.mark.parametrize("path", product(), ids=relative)
def test_everything_public_has_words(path: Path) -> None:
    """Modules, public classes, and public functions outside protocols' one-line properties and obvious dunders."""
    module = tree(path)
    assert ast.get_docstring(module) or not module.body, f"{relative(path)}: what is it?"
    silent = [
        f"{relative(path)}:{node.lineno}: {node.name}"
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("path", [*product(), *tests], ids=relative)
def test_python_files_are_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= (TEST_LINES if path in tests else PY_LINES)


@pytest.mark.parametrize("path", compiled, ids=relative)
def test_compiled_files_are_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= PYX_LINES


@pytest.mark.parametrize("path", tests, ids=relative)
def test_a_skipped_test_says_what_is_missing(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and _dotted(node.func).rsplit(".", 1)[-1] in ("skip", "skipif", "xfail"):
            words = [*node.args, *(keyword.value for keyword in node.keywords)]
            assert any(
                isinstance(word, ast.JoinedStr) or (isinstance(word, ast.Constant) and len(str(word.value)) > 10)
                for word in words
            ), f"{relative(path)}:{node.lineno}: a reason"
