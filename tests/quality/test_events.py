"""Events are as `docs/events.md` says: the catalogue, the table for people, and the calls that tell them agree."""

from __future__ import annotations

import ast
import re

from ovng.node.news import EVENTS, FOR_HOOKS
from tests.quality.sources import ROOT, product, relative, tree

DOCUMENT = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
OF_THE_STREAM = {"following", "dropped"}


def test_the_table_is_the_catalogue() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \|([^|]*)\|", DOCUMENT)
    assert {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows if name in EVENTS} == EVENTS
    assert [name for name, _ in rows][: len(EVENTS)] == list(EVENTS)


def test_the_figures_of_a_handover_have_words() -> None:
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\|((?: `\w+`,?)+ )\|", DOCUMENT))))
    places = {"before_path", "before_uplink", "path", "uplink"}
    assert set(EVENTS["handover"]) - places <= described


def test_the_hooks_are_named() -> None:
    named = re.search(r"is run\nfor each (.*):", DOCUMENT)
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) == FOR_HOOKS


def test_every_event_is_told_somewhere_with_its_fields() -> None:
    told: dict[str, tuple[str, ...]] = {}
    for path in product():
        for node in ast.walk(tree(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("tell", "_tell")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                name = str(node.args[0].value)
                assert name in EVENTS, f"{relative(path)}:{node.lineno}"
                fields = tuple(str(keyword.arg) for keyword in node.keywords if keyword.arg)
                assert told.setdefault(name, fields) == fields
                if len(fields) == len(node.keywords):
                    assert fields == EVENTS[name], f"{relative(path)}:{node.lineno}"
    assert told.keys() == EVENTS.keys() - OF_THE_STREAM
