"""One path of a node to its Switch, as the attachment sees it: its reports, its round trip, its signs of life."""

from __future__ import annotations

from ovng.clock import Now
from ovng.forwarding.history import RttEstimate
from ovng.forwarding.pathsize import PathSize
from ovng.forwarding.prober import Prober
from ovng.forwarding.reporter import Reporter
from ovng.ids import Locator
from ovng.limits import SIZE_BASE
from ovng.wire.report import Probed, ReportKind

SILENT_TRIES = 3  # of a report, 2 s together: what nobody has answered then is worth a look at other paths


class ClientPath:
    """`next_refresh` in monotonic seconds."""

    def __init__(self, reporter: Reporter, datagram_max: int = SIZE_BASE) -> None:
        self.reporter = reporter
        self.size = PathSize(datagram_max)
        self.metered = False
        """Sizes are probed only while data goes this way."""
        self.prober = Prober()
        self.rtt = RttEstimate()
        self.next_refresh = 0.0
        self.observed: Locator | None = None
        """Where the Switch sees this path; None before its first answer."""
        self.silent = False
        """The Switch does not answer on it, as was told; until it does."""

    def answered(self, sample: float, now: Now) -> None:
        """An authentic answer, after `sample` seconds."""
        self.rtt.add(sample)
        self.prober.heard(now.mono)
        self.silent = False

    def moved(self, now: Now, *, lost: bool) -> None:
        """It leads another way from now on."""
        self.size.restart()
        self.reporter.moved(now, replay=lost)

    def probe_sizes(self, now: Now) -> None:
        """Send what is due to learn how large datagrams may be."""
        sizes = self.size.due(now.mono, self.rtt.srtt, self.reporter.loss.share(now.mono))
        if sizes:
            probes = {self.reporter.probe_size(size, now): size for size in sizes}
            self.size.sent(probes, self.reporter.probe(now), now.mono)

    def probed(self, probed: Probed, now: Now) -> bool:
        """An authentic PROBED. False: it answers none of ours."""
        sent = self.reporter.answered(probed.common.number)
        if sent is None or sent.kind != ReportKind.PROBE:
            return False
        if self.reporter.says_now(sent):
            self.size.answered(probed.common.number, probed.size, now.mono)
        return True

    def knows_where(self) -> bool:
        """The Switch knows this path, and has nothing to answer about it."""
        return self.observed is not None and self.reporter.exchange is None and not self.silent

    def worked_until(self) -> float:
        """The last instant at which nothing spoke against it, monotonic; −inf: it has never worked.

        That is when something last came; where nothing was expected, when the first report left that nobody answered.
        """
        exchange = self.reporter.exchange
        if self.prober.lost or exchange is None:
            return self.prober.heard_at
        return max(self.prober.heard_at, exchange.began)

    def unanswered(self) -> bool:
        """True when the tries of a report were not answered."""
        exchange = self.reporter.exchange
        return exchange is not None and exchange.kind != ReportKind.BYE and exchange.tries > SILENT_TRIES
