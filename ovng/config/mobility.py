"""What a node's profile says about moving: which interfaces are uplinks, and what is sent on two of them."""

from __future__ import annotations

import re
from pathlib import Path

from ovng.config.reading import boolean, list_of
from ovng.config.values import parse_dscp, parse_port
from ovng.config.yamlfile import Section, Value, shorten
from ovng.fields import Frozen, field_names
from ovng.wire.inner import Doubling

MODES = ("failover", "redundant")
PRIORITY_MAX = 255
HOOKS = Path("/etc/ovng/hooks.d")
"""Where everybody's tools have such directories: it is looked into without being asked for, and only root can write
there. One for all profiles; programs are told which one."""
_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]{1,63}\Z")


class UplinkSettings(Frozen):
    """For the interfaces whose name matches a shell pattern (fnmatch); of several that match, the first counts."""

    interface: str
    priority: int | None = None
    """0 (best) … 255; None: 128 and up, in the order of the route metrics."""
    metered: bool = False
    """Costs money: only what is needed goes by it while there is another."""
    use: bool = True


class RedundantFor(Frozen):
    """Inner packets that are sent on two paths whatever the mode: what has one of these DSCP or TCP/UDP ports."""

    dscp: tuple[int, ...] = ()
    """0 … 63 (RFC 2474)."""
    ports: tuple[int, ...] = ()
    """Either end's, 1 … 65535."""


def doubling(mode: str, wanted: RedundantFor) -> Doubling:
    """What a profile with this mode, and these exceptions, wants doubled."""
    if mode == "redundant":
        return Doubling.ALL
    return Doubling.INTERACTIVE if wanted.dscp or wanted.ports else Doubling.NONE


def read_uplinks(section: Section) -> tuple[UplinkSettings, ...]:
    """The list `uplinks`. Raises ConfigError."""
    value = section.get("uplinks")
    found: list[UplinkSettings] = []
    for entry in [] if value is None else value.values(64):
        read = _uplink(entry)
        if any(read.interface == other.interface for other in found):
            entry.fail(f"{shorten(read.interface)} is there twice")
        found.append(read)
    return tuple(found)


def read_redundant_for(value: Value) -> RedundantFor:
    """The mapping `redundant_for`. Raises ConfigError."""
    section = value.section()
    section.only(field_names(RedundantFor))
    return RedundantFor(list_of(section, "dscp", parse_dscp), list_of(section, "ports", parse_port))


def read_hooks(section: Section) -> Path | None:
    """The directory `hooks`; None for the word `none`. Raises ConfigError."""
    value = section.get("hooks")
    if value is None or value.absent:
        return HOOKS
    text = value.text()
    if text == "none":
        return None
    if not text.startswith("/") or "\0" in text:
        value.fail("should be an absolute path, or none")
    return Path(text)


def _uplink(value: Value) -> UplinkSettings:
    section = value.section()
    section.only(field_names(UplinkSettings))
    priority = section.get("priority")
    return UplinkSettings(
        interface=section.need("interface").map(_pattern),
        priority=None if priority is None or priority.absent else priority.integer(0, PRIORITY_MAX),
        metered=boolean(section, "metered", False),
        use=boolean(section, "use", True),
    )


def _pattern(text: str) -> str:
    if not _PATTERN.match(text):
        raise ValueError(f"{shorten(text)} is no interface name or shell pattern such as wwan*")
    return text
