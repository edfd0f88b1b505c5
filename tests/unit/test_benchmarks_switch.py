"""The Switch's benchmark: what is sent is what ovng's wire format says, and what arrived is counted right."""

from __future__ import annotations

import pytest

from benchmarks.switch.arena import Counters, datagrams, read_counters
from benchmarks.switch.cases import CASES, FIRST_DESTINATION, SOURCES, Case, datagram, messages
from benchmarks.switch.place import destination, source
from ovng.errors import SystemProblem
from ovng.ids import NodeID
from ovng.wire.header import PacketType, parse_header

# /proc/net/dev of the receiver before and after 100 trains of 45 datagrams of 1444 bytes, and something of ICMPv6.
BEFORE = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier ...
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0
   hub:    2640      36    0    0    0     0          0         0     2580      36    0    0    0     0       0
"""
AFTER = BEFORE.replace("   hub:    2640      36", "   hub: 6504970     137")


def test_datagrams_are_what_a_node_sends() -> None:
    made = datagram(108, 1005, 3, "big")
    header = parse_header(made)
    assert (header.type, header.dst, header.src) == (PacketType.DATA, NodeID(1005), NodeID(3))
    assert len(made) == 108
    assert datagram(108, 1005, 3, "little")[4:20] == (1005).to_bytes(8, "little") + (3).to_bytes(8, "little")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_messages_of_a_case(case: Case) -> None:
    made = messages(case, 2, "big")
    assert made == messages(case, 2, "big"), "the same in every run"
    assert {len(message) for message in made} == {case.size * case.segments}
    assert case.size * case.segments <= 65_507, "one UDP_SEGMENT send"
    for message in made:
        heads = [parse_header(message[at : at + case.size]) for at in range(0, len(message), case.size)]
        assert {head.src for head in heads} == {NodeID(3)}
        for head in heads:
            assert (
                FIRST_DESTINATION
                <= head.dst
                < FIRST_DESTINATION + case.destinations
                <= FIRST_DESTINATION + case.entries
            )
        if not case.mixed:
            assert len({head.dst for head in heads}) == 1
    everybody = {parse_header(message).dst for one in range(SOURCES) for message in messages(case, one, "big")}
    assert len(everybody) > 1 or case.destinations == 1


def test_nodes_do_not_share_a_place() -> None:
    places = [destination(index) for index in (*range(50_000), *range(850_000, 900_000))]
    assert len(set(places)) == len(places)
    assert max(port for _, port in places) < 65_536
    assert len({source(index) for index in range(SOURCES)}) == SOURCES


def test_a_train_that_arrives_whole_counts_as_what_it_holds() -> None:
    before, after = read_counters(BEFORE, "hub"), read_counters(AFTER, "hub")
    assert (before, after) == (Counters(2640, 36), Counters(6_504_970, 137))
    assert datagrams(before, after, 1444) == pytest.approx(4500, abs=0.1)
    singles = Counters(before.bytes + 10 * (108 + 42), before.messages + 10)
    assert datagrams(before, singles, 108) == 10
    with pytest.raises(SystemProblem, match="no device"):
        read_counters(BEFORE, "hu")
