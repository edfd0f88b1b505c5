"""Which of the Switch's addresses is used.

The node's socket is bound to no interface and no address: the kernel's routes choose, anew for every datagram, so a
move of this machine needs no new socket. The Switch may have several addresses (names, IPv4 and IPv6): until one has
answered, and again when it falls silent, control datagrams go to all of them; the first to answer is used.
"""

from __future__ import annotations

from collections.abc import Iterable

from ovng.ids import Locator


class SwitchAddresses:
    """The candidates for the Switch's address and the one in use. Sans-IO."""

    def __init__(self) -> None:
        self.candidates: tuple[Locator, ...] = ()
        self.current: Locator | None = None
        self._searching = True

    def update(self, found: Iterable[Locator]) -> bool:
        """A look-up gave these; True when they differ from before. Nothing found keeps what was good before."""
        candidates = tuple(dict.fromkeys(found))
        if not candidates or set(candidates) == set(self.candidates):
            return False
        self.candidates = candidates
        if self.current not in candidates:
            self.current, self._searching = None, True
        return True

    def heard(self, source: Locator) -> bool:
        """An authentic answer came from there; True when the address in use changes."""
        if source not in self.candidates:
            return False
        changed, self.current = source != self.current, source
        self._searching = False
        return changed

    def silent(self) -> None:
        """The address in use does not answer: try all."""
        self._searching = True

    def targets(self) -> tuple[Locator, ...]:
        """Where a control datagram goes now."""
        return (self.current,) if self.current and not self._searching else self.candidates
