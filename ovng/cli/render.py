"""Figures and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration(seconds: object) -> str:
    """At most two units: `2 h 5 min`; `-` when it is not known."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return "-"
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break  # `2 h` and not `2 h 5 s`
    return " ".join(parts[:2])


def bytes_text(count: object) -> str:
    """`1.5 MiB`; `-` when it is not known."""
    if isinstance(count, bool) or not isinstance(count, int | float):
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table's lines, two spaces between columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def printable(line: str) -> str:
    """Without anything that could move the cursor of a terminal: some of it came from other machines."""
    return "".join(char if char.isprintable() else "?" for char in line)
