"""Text tables whose columns stand under each other, and files for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "out"

Document = dict[str, Any]


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """The first `left` columns to the left, the others to the right, a line under the header."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def figure(value: float | None) -> str:
    """Three digits that count, no exponents; a dash for what was not measured."""
    if value is None:
        return "–"
    if abs(value) >= 999.5:
        return f"{round(value):,}"
    return f"{value:.3f}" if abs(value) < 0.001 else f"{value:#.3g}".rstrip(".")


def described(facts: Mapping[str, str]) -> str:
    """`name: value` lines, values under each other."""
    width = max(map(len, facts))
    return "\n".join(f"{name + ':':<{width + 1}} {value}" for name, value in facts.items())


def write(document: Document, name: str, folder: Path = OUT) -> Path:
    """`name`.json in `folder`, which is made; the file of the run before is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
