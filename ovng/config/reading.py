"""Keys of a section that may be missing, each with its default. Every function raises ConfigError on a bad value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ovng.config.yamlfile import Section, Value

T = TypeVar("T")

LIST_MAX = 256


def optional(section: Section, key: str, read: Callable[[Value], T], default: T) -> T:
    """What `read` makes of the value."""
    value = section.get(key)
    return default if value is None or value.absent else read(value)


def integer(section: Section, key: str, low: int, high: int, default: int) -> int:
    """A decimal number, low … high."""
    return optional(section, key, lambda value: value.integer(low, high), default)


def boolean(section: Section, key: str, default: bool) -> bool:
    """true or false."""
    return optional(section, key, Value.boolean, default)


def list_of(
    section: Section,
    key: str,
    parse: Callable[[str], T],
    *,
    least: int = 0,
    most: int = LIST_MAX,
    default: tuple[T, ...] = (),
) -> tuple[T, ...]:
    """A list without repetition. A missing key gives the default, an empty list is one."""
    value = section.need(key) if least else section.get(key)
    if value is None:
        return default
    found: dict[T, None] = {}
    for entry in value.values(most):
        parsed = entry.map(parse)
        if parsed in found:
            entry.fail(f"{parsed} is there twice")
        found[parsed] = None
    if len(found) < least:
        value.fail("needs at least one entry")
    return tuple(found)
