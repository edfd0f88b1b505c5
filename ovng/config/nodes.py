"""The tree that a YAML or JSON text is, before anything is made of it: texts with their places.

A text that begins with `{` is read as JSON, which is YAML as well; then PyYAML is not loaded. On a router that is 3 MB.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from ovng.errors import ConfigError
from ovng.fields import Frozen

Kind = Literal["scalar", "sequence", "mapping"]


class Node(Frozen):
    """A scalar's text, a sequence's nodes, or a mapping's pairs of nodes."""

    kind: Kind
    value: Any
    type: Literal["", "null", "bool"] = ""
    """Of a scalar that is not text or a number."""
    line: int = -1
    """Where it begins, from 0; −1 in JSON, where nobody tells."""
    end: tuple[int, int] = (-1, 0)
    """Where it has ended: line and column from 0."""


def is_json(text: str) -> bool:
    """Whether it is JSON; other texts with braces around them may be YAML."""
    try:
        return text.lstrip().startswith("{") and isinstance(json.loads(text), dict)
    except ValueError:
        return False


def compose(text: str, file: str) -> Node | None:
    """The tree; None of an empty text. Raises ConfigError for what is neither."""
    try:
        return _compose_json(text) if is_json(text) else _compose_yaml(text, file)
    except RecursionError:
        raise ConfigError("not YAML that anyone would write: nested too deep", file=file) from None


# -- JSON


class _Pairs(list[tuple[str, Any]]):
    """A mapping as its pairs, so that a key that is there twice is seen."""


def _compose_json(text: str) -> Node:
    return _node(json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str))


def _node(value: Any) -> Node:
    if isinstance(value, _Pairs):
        return Node("mapping", [(Node("scalar", key), _node(entry)) for key, entry in value])
    if isinstance(value, list):
        return Node("sequence", [_node(entry) for entry in value])
    if value is None:
        return Node("scalar", "null", "null")
    if isinstance(value, bool):
        return Node("scalar", str(value).lower(), "bool")
    return Node("scalar", str(value))


# -- YAML


_TYPES: dict[str, Literal["null", "bool"]] = {"tag:yaml.org,2002:null": "null", "tag:yaml.org,2002:bool": "bool"}


def _compose_yaml(text: str, file: str) -> Node | None:
    import yaml

    def convert(node: yaml.Node) -> Node:
        line, end = int(node.start_mark.line), (int(node.end_mark.line), int(node.end_mark.column))
        if isinstance(node, yaml.MappingNode):
            return Node("mapping", [(convert(key), convert(value)) for key, value in node.value], "", line, end)
        if isinstance(node, yaml.SequenceNode):
            return Node("sequence", [convert(entry) for entry in node.value], "", line, end)
        return Node("scalar", str(node.value), _TYPES.get(node.tag, ""), line, end)

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"not YAML: {error.problem or error}", file=file, line=mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter two: an escape beyond Unicode
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}", file=file) from None
    return None if root is None else convert(root)
