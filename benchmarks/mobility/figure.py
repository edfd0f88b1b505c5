"""A handover as a picture: for each system how many packets arrived in each 5 ms around it. Plain SVG."""

from __future__ import annotations

from collections import Counter
from xml.sax.saxutils import escape

from benchmarks.mobility.drive import TRACE_AFTER, TRACE_BEFORE
from benchmarks.mobility.flow import INTERVAL
from benchmarks.mobility.systems import SUBJECT
from benchmarks.table import Document

WIDTH = 760
BIN = 0.005
HIGHEST = 4.0
"""Times the usual number of arrivals, at which a bar is cut off."""
_LABEL, _TOP, _STRIP, _SPACE = 120, 70, 44, 12
_PLOT = WIDTH - _LABEL - 20
_SPAN = TRACE_BEFORE + TRACE_AFTER
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.quiet { fill: #6e7781; font-size: 12px }
.bar { fill: #8c959f }
.ours { fill: #0969da }
.event { stroke: #cf222e; stroke-dasharray: 4 3 }
.base { stroke: #d0d7de }
"""


def draw(document: Document, scenario: str) -> str:
    """The SVG: one strip per system and direction of a scenario's last run."""
    strips = [
        (system, way, results[scenario]["trace"][way])
        for system, results in document["results"].items()
        if results.get(scenario, {}).get("trace")
        for way in ("up", "down")
    ]
    title = next((results[scenario]["title"] for results in document["results"].values() if scenario in results), "")
    height = _TOP + (_STRIP + _SPACE) * len(strips) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        _text(12, 22, f"{scenario}, {title}: arrivals in each {1000 * BIN:g} ms, one run each"),
        _text(
            12, 40, "1000 packets a second each way; 40 ms between node and hub; the dashed line is the event", "quiet"
        ),
    ]
    for row, (system, way, arrivals) in enumerate(strips):
        parts += _strip(_TOP + row * (_STRIP + _SPACE), system, way, arrivals)
    bottom = _TOP + (_STRIP + _SPACE) * len(strips)
    parts.append(f'<line class="event" x1="{_x(0):.1f}" x2="{_x(0):.1f}" y1="{_TOP - 8}" y2="{bottom}"/>')
    for tenths in range(round(-10 * TRACE_BEFORE), round(10 * TRACE_AFTER) + 1, 2):
        parts.append(_text(round(_x(tenths / 10)) - 12, bottom + 16, f"{100 * tenths} ms", "quiet"))
    return "\n".join([*parts, "</svg>", ""])


def bars(arrivals: list[float]) -> dict[int, float]:
    """Bin → how many arrived, where one is what is usual and `HIGHEST` the most that is told."""
    counts = Counter(int((at + TRACE_BEFORE) // BIN) for at in arrivals if -TRACE_BEFORE <= at < TRACE_AFTER)
    return {place: min(HIGHEST, count * INTERVAL / BIN) for place, count in counts.items()}


def _strip(top: int, system: str, way: str, arrivals: list[float]) -> list[str]:
    base = top + _STRIP
    parts = [
        _text(12, top + 20, system),
        _text(12, top + 36, "to b" if way == "up" else "to a, which moves", "quiet"),
        f'<line class="base" x1="{_LABEL}" x2="{_LABEL + _PLOT}" y1="{base}" y2="{base}"/>',
    ]
    kind, width = ("bar ours" if system == SUBJECT else "bar"), _PLOT * BIN / _SPAN
    for place, share in sorted(bars(arrivals).items()):
        tall = _STRIP * share / HIGHEST
        x = _LABEL + place * width
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{base - tall:.1f}" width="{width - 0.4:.1f}" height="{tall:.1f}"/>'
        )
    return parts


def _x(seconds: float) -> float:
    return _LABEL + _PLOT * (seconds + TRACE_BEFORE) / _SPAN


def _text(x: int, y: int, words: str, kind: str = "") -> str:
    styled = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{styled}>{escape(words)}</text>'
