"""One path of a node to its Switch, as the attachment sees it: its reports, its round trip, its signs of life."""

from __future__ import annotations

from ovng.clock import Now
from ovng.forwarding.history import RttEstimate
from ovng.forwarding.prober import Prober
from ovng.forwarding.reporter import Reporter
from ovng.ids import Locator
from ovng.wire.report import ReportKind

SILENT_TRIES = 3  # of a report, 2 s: what nobody answered then is worth a look at other paths


class ClientPath:
    """`next_refresh` in monotonic seconds."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.prober = Prober()
        self.rtt = RttEstimate()
        self.next_refresh = 0.0
        self.observed: Locator | None = None
        """Where the Switch sees this path; None before its first answer."""
        self._told_silent = False

    def answered(self, sample: float, now: Now) -> None:
        """An authentic answer, after `sample` seconds."""
        self.rtt.add(sample)
        self.prober.heard(now.mono)
        self._told_silent = False

    def falls_silent(self) -> bool:
        """True once, when the tries of a report were not answered."""
        exchange = self.reporter.exchange
        if self._told_silent or exchange is None or exchange.once or exchange.tries < SILENT_TRIES:
            return False
        self._told_silent = exchange.kind != ReportKind.BYE
        return self._told_silent
