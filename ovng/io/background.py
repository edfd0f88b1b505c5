"""One slow thing at a time beside the loop: a write with fsync, say."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Runs a call in a thread of its own; what comes while one runs is refused, so that nothing piles up."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    def run(self, call: Callable[[], object]) -> bool:
        """Start `call`, which must not raise. False when the last one has not ended."""
        if self._thread is not None and self._thread.is_alive():
            return False
        self._thread = threading.Thread(target=call, name=self._name)
        self._thread.start()
        return True

    def wait(self) -> None:
        """Until nothing runs."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
