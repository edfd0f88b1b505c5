"""The picture of a path's states in the documentation is the table's, edge for edge."""

from __future__ import annotations

from pathlib import Path

from ovng.roaming.path import TABLE, Event, State

PICTURE = Path(__file__).parents[2] / "docs" / "roaming.md"


def picture() -> str:
    """The table as a Mermaid state diagram; what changes nothing is left out."""
    edges: dict[tuple[State, State], list[Event]] = {}
    for (state, event), after in TABLE.items():
        if after != state:
            edges.setdefault((state, after), []).append(event)
    lines = ["stateDiagram-v2", "    [*] --> joining: uplink", "    [*] --> dead: uplink that flaps"]
    for (state, after), events in edges.items():
        lines.append(f"    {state.value} --> {after.value}: {', '.join(event.value for event in events)}")
    lines += [f"    {state.value} --> [*]: uplink gone" for state in State]
    return "\n".join(["```mermaid", *lines, "```"])


def test_the_picture_is_the_tables() -> None:
    assert picture() in PICTURE.read_text(encoding="utf-8"), f"write this into {PICTURE.name}:\n{picture()}"
