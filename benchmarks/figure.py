"""A run as one picture: bars of TCP rate and of CPU seconds per GB by system. Plain SVG, readable on any background."""

from __future__ import annotations

from typing import NamedTuple
from xml.sax.saxutils import escape

from benchmarks.report import SUBJECT, median
from benchmarks.table import Document, figure

WIDTH = 760
_ROW, _BAR = 26, 16
_LABEL, _VALUE = 120, 60
_GAP = 40
_TOP = 84
_PANEL = (WIDTH - _LABEL - _GAP) // 2


class Panel(NamedTuple):
    """One column of bars."""

    metric: str
    title: str


PANELS = (
    Panel("tcp1_ab", "TCP, 1 stream, Gbit/s (more is better)"),
    Panel("cpu_machine", "CPU of the machine, s/GB (less is better)"),
)
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.quiet { fill: #6e7781; font-size: 12px }
.bar { fill: #8c959f }
.ours { fill: #0969da }
"""


def draw(document: Document) -> str:
    """The SVG. Systems stand in the order of the run; the plain path is a caption, its bar would dwarf the others."""
    systems = [name for name in document["systems"] if name != "plain"]
    height = _TOP + _ROW * len(systems) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        *(_text(12, 20 + 16 * line, words, "quiet") for line, words in enumerate(_caption(document))),
    ]
    for row, name in enumerate(systems):
        parts.append(_text(12, _middle(row), name))
    for column, panel in enumerate(PANELS):
        parts += _panel(document, systems, panel, _LABEL + column * (_PANEL + _GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(document: Document, systems: list[str], panel: Panel, left: int) -> list[str]:
    values = {name: median(document, name, panel.metric) for name in systems}
    most = max((value for value in values.values() if value is not None), default=1.0)
    parts = [_text(left, _TOP - 16, panel.title)]
    for row, (name, value) in enumerate(values.items()):
        if value is None:
            parts.append(_text(left, _middle(row), "not measured", "quiet"))
            continue
        width = max(1, round(value / most * (_PANEL - _VALUE)))
        kind = "bar ours" if name.startswith(SUBJECT) else "bar"
        top = _TOP + _ROW * row + (_ROW - _BAR) // 2
        parts.append(f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{_BAR}"/>')
        parts.append(_text(left + width + 6, _middle(row), figure(value)))
    return parts


def _caption(document: Document) -> list[str]:
    """Two lines: on what, and how."""
    machine, how = document["machine"], "two nodes through one hub, sender and receiver on the same cores"
    plain = median(document, "plain", "tcp1_ab")
    beside = "" if plain is None else f"; without a tunnel {figure(plain)} Gbit/s"
    return [f"{machine['CPU']}, {machine['date'].split()[0]}, medians", how + beside]


def _middle(row: int) -> int:
    return _TOP + _ROW * row + _ROW // 2 + 4


def _text(x: int, y: int, words: str, kind: str = "") -> str:
    styled = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{styled}>{escape(words)}</text>'
