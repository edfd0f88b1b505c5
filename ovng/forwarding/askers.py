"""Who asked for which address lately, so that they can be told of a change (PROTOCOL 7).

An answer holds 300 s, so whoever asked longer ago will ask again. Two generations of 300 s are kept; each remembers a
bounded number of questions, and who asks beyond that learns of a change when its answer runs out.
"""

from __future__ import annotations

import ipaddress
from array import array
from collections.abc import Iterator

from ovng.ids import IPAddress, Prefix
from ovng.limits import RESOLUTION_SECONDS

QUESTIONS_MAX = 100_000  # per generation

_Asked = tuple[int, int]


class Askers:
    """Questions of the last 300 … 600 s. Times in seconds of the boot clock."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._recent: dict[_Asked, array[int]] = {}
        self._before: dict[_Asked, array[int]] = {}
        self._count = 0

    def note(self, node: int, address: IPAddress, boot: float) -> bool:
        """`node` asked for `address`. False if there is no room to remember it."""
        self._turn(boot)
        nodes = self._recent.get((address.version, int(address)))
        if nodes is not None and node in nodes:
            return True
        if self._count >= QUESTIONS_MAX:
            return False
        self._count += 1
        if nodes is None:
            nodes = self._recent[address.version, int(address)] = array("Q")
        nodes.append(node)
        return True

    @property
    def empty(self) -> bool:
        """True if nobody asked in the last 600 s (or somewhat longer: only questions end it)."""
        return not self._recent and not self._before

    def of(self, prefix: Prefix, boot: float) -> set[int]:
        """The nodes that asked for an address in `prefix`."""
        self._turn(boot)
        return {node for asked in (self._recent, self._before) for nodes in _within(asked, prefix) for node in nodes}

    def _turn(self, boot: float) -> None:
        if self._since <= boot < self._since + RESOLUTION_SECONDS:
            return
        self._before = self._recent if boot < self._since + 2 * RESOLUTION_SECONDS else {}
        self._recent, self._count, self._since = {}, 0, boot


def _within(asked: dict[_Asked, array[int]], prefix: Prefix) -> Iterator[array[int]]:
    if prefix.prefixlen == prefix.max_prefixlen:
        nodes = asked.get((prefix.version, int(prefix.network_address)))
        return iter(() if nodes is None else (nodes,))
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    return (
        nodes for (version, address), nodes in asked.items() if version == prefix.version and first <= address <= last
    )


def host(address: IPAddress) -> Prefix:
    """The prefix that holds this address only."""
    return ipaddress.ip_network(address)
