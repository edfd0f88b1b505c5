"""What is known of a path's health: the share of reports that nobody answered, and until when it worked."""

from __future__ import annotations

from ovng.clock import Now
from ovng.forwarding.clientpath import ClientPath
from ovng.forwarding.history import LossEstimate
from ovng.forwarding.keepalive import Keepalive
from ovng.forwarding.prober import Verdict
from ovng.forwarding.reporter import Exchange, Reporter
from ovng.ids import NodeID
from ovng.wire.report import ReportKind


def path() -> ClientPath:
    return ClientPath(
        Reporter(NodeID(7), bytes, lambda: 25, lambda datagram: None, lambda datagram: None), Keepalive(bytes, 25)
    )


def test_loss_counts_what_had_time_to_be_answered() -> None:
    loss = LossEstimate()
    assert loss.share(0.0) is None
    for number in range(4):
        loss.sent(number, float(number))
    loss.answered(0)
    assert loss.share(1.5) == 0.0  # the others may still be
    assert loss.share(3.5) == 2 / 3
    loss.answered(1)
    loss.answered(99)
    assert loss.share(10.0) == 2 / 4


def test_loss_forgets() -> None:
    loss = LossEstimate()
    for number in range(100):
        loss.sent(number, 0.0)
    for number in range(100, 164):
        loss.sent(number, 0.0)
        loss.answered(number)
    assert loss.share(10.0) == 0.0


def test_a_path_that_probes_found_dead_worked_until_it_was_heard_last() -> None:
    known = path()
    known.prober.heard(10.0)
    now, verdict = 10.0, Verdict.WAIT
    while verdict != Verdict.DEAD:
        now += 0.01
        verdict = known.prober.check(now, 0.04)
    known.reporter.exchange = Exchange(ReportKind.REFRESH, 10.2)
    assert known.worked_until() == 10.0


def test_an_idle_path_worked_until_a_report_was_not_answered() -> None:
    known = path()
    known.answered(0.04, Now(10.0, 10.0, 10.0))
    assert known.worked_until() == 10.0
    known.reporter.exchange = Exchange(ReportKind.REFRESH, 35.0)
    assert known.worked_until() == 35.0
    known.answered(0.04, Now(35.04, 35.04, 35.04))
    known.reporter.finish()
    assert known.worked_until() == 35.04
