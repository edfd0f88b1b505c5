"""What the compiled report path (`_fast/reports.pyx`) must know to answer by itself: the registrar's state of a moment.

It is asked for again after everything that Python did in between, so nothing in it can be out of date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from typing import NamedTuple

from ovng.forwarding.directory import Key
from ovng.ids import NodeID


class Terms(NamedTuple):
    """`boot` and `wall` in seconds of their clocks. The callables and containers are the registrar's own."""

    switch_id: NodeID
    boot_id: int
    boot: float
    wall: float
    crl_number: int
    revoked: frozenset[bytes]
    """Serial hashes that may not attach."""
    cookie_secrets: tuple[bytes, bytes]
    """The current one and the one before, 32 bytes each."""
    ticket_keys: tuple[tuple[int, bytes], ...]
    """Number and key; another tuple whenever they are other keys."""
    pending: Container[int]
    """Nodes whose GRANT is on its way: what their reports mean, Python knows."""
    may_challenge: Callable[[bytes, int], bool]
    """`may_challenge(locator, node)`: whether a CHALLENGE may go there now; counts it."""
    learn: Callable[[int, int, list[Key]], None]
    """`learn(node, grant, prefixes)`: what a ticket said of a node that is attached again."""
    counters: Counter[str]
