"""Slow twins: the plainest program that is obviously right, for the fast ones to be compared with."""

from __future__ import annotations


class SlowReplayWindow:
    """Remembers every number it accepted; the rule of RFC 6479 in two lines of `verdict`."""

    NUMBER, OLD, DUPLICATE = -1, -2, -3

    def __init__(self, window: int, limit: int) -> None:
        self.window, self.limit = window, limit
        self.highest = 0
        self._seen: set[int] = set()

    def check(self, number: int) -> int:
        """0 when `number` may be new, else why not."""
        if not 1 <= number <= self.limit:
            return self.NUMBER
        if self.highest - number >= self.window:
            return self.OLD
        return self.DUPLICATE if number in self._seen else 0

    def commit(self, number: int) -> int:
        """`check`, and the number is remembered when new."""
        verdict = self.check(number)
        if verdict == 0:
            self._seen.add(number)
            self.highest = max(self.highest, number)
            if len(self._seen) > 4 * self.window:  # bounded memory; the forgotten ones are OLD anyway
                self._seen = {n for n in self._seen if self.highest - n < self.window}
        return verdict
