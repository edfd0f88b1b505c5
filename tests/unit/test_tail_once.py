"""What a move costs in bytes: a real loop and its table, the rules at the Switch, and a client.

Reports pass by hand, so that each can be lost; data is sent by real sockets, and counted where it arrives.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from ovng.limits import TAIL_MILLISECONDS
from ovng.wire.report import ReportFlags, ReportKind, Update, parse_report
from tests.attachment_fixture import TRUCK, after
from tests.client_scene import ClientScene
from tests.switch_fixture import FakeNode, World, header, world

SENDER = 0xA << 60
PAYLOAD = bytes(500)
TRIES = 10
MARK = b"mark"
MARKS = 1 << 30, 1 << 31


class Move:
    """A node on its way from one socket to another, and somebody who sends to it all the time."""

    def __init__(self, w: World) -> None:
        self.world, self.sender = w, w.node(SENDER)
        self.old, self.new = (w.node(TRUCK, attached=False) for _ in range(2))
        self.scene = ClientScene(table=w.table, place=self.old.locator)
        self.scene.client.network_changed(self.scene.now)
        self.scene.exchange()
        self.number = 0
        self.bytes = 0
        """That have come to the new socket."""
        self.began = time.monotonic()
        self.lost = self.send(self.old, 3)
        """What was on its way when the node went."""
        self.scene.switch.replays()
        self.scene.place = self.new.locator
        self.scene.client.network_changed(self.scene.now)

    def send(self, to: FakeNode, count: int) -> list[bytes]:
        """So many go where the table says, and arrive."""
        sent = []
        for _ in range(count):
            self.number += 1
            sent.append(self.sender.send(TRUCK, PAYLOAD, number=self.number))
        assert to.receive(count) == sent
        self.bytes += size(sent) if to is self.new else 0
        return sent

    def hint(self) -> bytes:
        """Data of the node was at the Switch before its report: a MISMATCH."""
        first = header(SENDER, TRUCK)
        (hint,) = self.scene.switch.handle_unmatched(first, self.new.locator, True, 200, self.scene.now)
        return hint.datagram

    def report(self, datagram: bytes) -> bytes:
        """A report comes to the Switch: its answer. What follows from it is done."""
        ((answer, _),) = self.scene.at_switch(datagram)
        for replay in self.scene.switch.replays():
            self.world.path.replay(replay)
        return answer

    def reported(self) -> bytes:
        """The one report that the client wants sent."""
        (datagram,) = self.scene.sent()
        return datagram

    def retry(self) -> bytes:
        """The client's next try, when it is due."""
        due = self.scene.client.deadline(self.scene.now)
        assert due is not None
        self.scene.now = after(self.scene.now, due - self.scene.now.mono)
        self.scene.client.handle_timer(self.scene.now)
        return self.reported()

    def arrived(self) -> list[bytes]:
        """All that has come to the new socket so far."""
        got: list[bytes] = []
        for number in MARKS:  # the loop forwards what waits, and takes up replays then
            mark = self.sender.send(TRUCK, MARK, number=number)
            while mark not in got:
                got += self.new.receive()
        got = [datagram for datagram in got if not datagram.endswith(MARK)]
        self.bytes += size(got)
        return got


def in_time(scenario: Callable[[Move], None]) -> None:
    """On a slow machine what was sent is too old to be sent again, and nothing can be told: that try does not count."""
    for _ in range(TRIES):
        with world() as w:
            move = Move(w)
            try:
                scenario(move)
            except AssertionError:
                if time.monotonic() < move.began + TAIL_MILLISECONDS / 1000:
                    raise
            else:
                return
    raise AssertionError("this machine is too slow")


def asks(datagram: bytes) -> tuple[ReportKind, bool]:
    """The kind of a report, and whether it asks for the tail."""
    report = parse_report(datagram)
    assert isinstance(report, Update)
    return report.kind, ReportFlags.REPLAY in report.common.flags


def size(datagrams: list[bytes]) -> int:
    return sum(map(len, datagrams))


def test_a_confirmed_move_sends_each_byte_once() -> None:
    """What went to the new place on the node's word is not sent there again."""

    def scenario(move: Move) -> None:
        answer = move.report(move.reported())
        direct = move.send(move.new, 2)
        move.scene.give(answer)
        confirm = move.reported()
        assert asks(confirm) == (ReportKind.CONFIRM, True)
        move.scene.give(move.report(confirm))
        assert move.arrived() == move.lost
        assert move.world.count("tail_replayed") == len(move.lost)
        assert move.bytes == size(move.lost + direct)

    in_time(scenario)


@pytest.mark.parametrize("hint_first", [True, False])
def test_a_hint_beside_the_answer_asks_for_nothing_twice(hint_first: bool) -> None:
    """Both make the node prove where it is. Before, all that the tail holds came twice."""

    def scenario(move: Move) -> None:
        hint = move.hint()
        answer = move.report(move.reported())
        direct = move.send(move.new, 2)
        proofs = []
        for told in (hint, answer) if hint_first else (answer, hint):
            move.scene.give(told)
            proofs.append(move.reported())
        kinds = [ReportKind.MOVE, ReportKind.CONFIRM]
        assert [asks(proof) for proof in proofs] == list(
            zip(kinds if hint_first else kinds[::-1], (True, False), strict=True)
        )
        for answer in [move.report(proof) for proof in proofs]:
            move.scene.give(answer)
        assert move.arrived() == move.lost
        assert move.bytes == size(move.lost + direct)
        assert move.scene.exchange() == 0

    in_time(scenario)


@pytest.mark.parametrize("hint_first", [True, False])
@pytest.mark.parametrize("way", ["up", "down"])
def test_who_asked_and_was_not_heard_asks_again(hint_first: bool, way: str) -> None:
    """The first proof is lost, or its answer and the tail behind it: the answer to the second one tells."""

    def scenario(move: Move) -> None:
        hint = move.hint()
        answer = move.report(move.reported())
        proofs = []
        for told in (hint, answer) if hint_first else (answer, hint):
            move.scene.give(told)
            proofs.append(move.reported())
        if way == "down":
            move.report(proofs[0])
            assert move.arrived() == move.lost  # at the socket; the node has never seen them
        move.scene.give(move.report(proofs[1]))
        again = move.reported()
        assert asks(again) == (ReportKind.MOVE, True)
        move.scene.give(move.report(again))
        assert [one for one in move.arrived() if one in move.lost] == move.lost
        assert move.scene.exchange() == 0

    in_time(scenario)


def test_what_was_sent_while_the_answer_was_lost_comes_again() -> None:
    """The way to the node did not work yet: what went there with the answer is lost like it."""

    def scenario(move: Move) -> None:
        move.report(move.reported())
        direct = move.send(move.new, 2)
        move.scene.give(move.report(move.retry()))
        move.scene.give(move.report(move.reported()))
        assert move.arrived() == move.lost + direct

    in_time(scenario)


def test_a_repeated_confirm_brings_all_again() -> None:
    """Its answer was lost, and so was the tail."""

    def scenario(move: Move) -> None:
        move.scene.give(move.report(move.reported()))
        move.report(move.reported())
        assert move.arrived() == move.lost
        confirm = move.retry()
        assert asks(confirm) == (ReportKind.CONFIRM, True)
        move.scene.give(move.report(confirm))
        assert [one for one in move.arrived() if one in move.lost] == move.lost

    in_time(scenario)


def test_who_is_back_at_once_where_it_was_gets_all() -> None:
    """A link that was away for a moment: what went to the same place may be lost."""

    def scenario(move: Move) -> None:
        move.scene.place = move.old.locator
        move.scene.give(move.report(move.reported()))
        assert move.old.receive(len(move.lost)) == move.lost

    in_time(scenario)


def test_nothing_goes_again_to_a_place_on_its_word() -> None:
    def scenario(move: Move) -> None:
        move.report(move.reported())
        assert move.arrived() == []
        assert move.world.count("tail_replayed") == 0

    in_time(scenario)
