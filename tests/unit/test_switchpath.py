"""The Switch's fast path over real loopback sockets: what it forwards, and what it hands to Python."""

from __future__ import annotations

import random

import pytest

from ovng.config.values import Endpoint
from ovng.forwarding.store import Out
from ovng.ids import Locator, NodeID
from tests.switch_fixture import CONTROL, PRIVATE, REPORT, SWITCH, A, B, C, World, header, world

# -- Forwarding


@pytest.mark.parametrize("host_a", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("host_b", ["127.0.0.1", "::1"])
def test_forwards_between_attached_nodes(host_a: str, host_b: str) -> None:
    with world() as w:
        a, b = w.node(A, host_a), w.node(B, host_b)
        sent = a.send(B, b"there")
        assert b.receive() == [sent]
        sent = b.send(A, b"and back", CONTROL)
        assert a.receive() == [sent]
        assert w.drops() == {}
        assert w.count("forwarded") == 2
        assert w.count("forwarded_bytes") == 28 + 5 + 28 + 8


def test_known_flags_and_key_ids_pass_untouched() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        for flags in (0, 1, 2, 3):
            sent = a.send(B, b"x" * flags, key_id=255 - flags, flags=flags, number=2**64 - 1)
            assert b.receive() == [sent]


@pytest.mark.parametrize("gro", [True, False])
@pytest.mark.parametrize("gso", [True, False])
def test_a_train_to_one_destination(gro: bool, gso: bool) -> None:
    with world(gro=gro, gso=gso) as w:
        a, b = w.node(A), w.node(B)
        train = [header(B, A, number=i) + bytes([i]) * 1000 for i in range(1, 41)] + [header(B, A, number=99) + b"end"]
        a.send_train(train)
        assert b.receive(len(train)) == train
        w.wait_count("sent", 41)
        stats = w.path.stats()
        assert stats["forwarded"] == stats["received"] == 41
        assert stats["received_messages"] == (1 if gro else 41)
        if not gso:
            assert stats["sent_messages"] == 41
        elif gro:
            assert stats["sent_messages"] == 1


def test_the_smallest_and_the_largest_datagram() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        for size in (0, 65507 - 28):
            sent = a.send(B, b"z" * size)
            assert b.receive() == [sent]


def test_mixed_destinations_are_gathered_and_each_flow_keeps_its_order() -> None:
    with world() as w:
        a = w.node(A)
        others = [w.node(B + i) for i in range(8)]
        numbers = random.Random(3)
        sent: dict[int, list[bytes]] = {other.id: [] for other in others}
        total = 0
        for _ in range(40):
            train = []
            for _ in range(32):
                to = numbers.choice(others).id
                datagram = header(to, A, number=total) + total.to_bytes(4, "big") * 10
                sent[to].append(datagram)
                train.append(datagram)
                total += 1
            a.send_train(train)
        for other in others:
            assert other.receive(len(sent[other.id])) == sent[other.id]
        w.wait_count("sent", total)
        assert w.count("sent_messages") <= total // 2, "equal destinations of a batch share a send"


def test_flows_of_unequal_sizes_keep_their_order() -> None:
    """Small acknowledgements between large segments of another source, all for one destination."""
    with world() as w:
        a, b, c = w.node(A), w.node(B), w.node(C)
        numbers = random.Random(4)
        sent_a = [header(C, A, number=i) + bytes(numbers.randrange(0, 1400)) for i in range(500)]
        sent_b = [header(C, B, number=i) + bytes(10) for i in range(500)]
        for from_a, from_b in zip(sent_a, sent_b, strict=True):
            a.send_raw(from_a)
            b.send_raw(from_b)
        got = c.receive(1000)
        assert [datagram for datagram in got if datagram[12:20] == NodeID(A).packed()] == sent_a
        assert [datagram for datagram in got if datagram[12:20] == NodeID(B).packed()] == sent_b


def test_a_train_of_small_datagrams_behind_a_large_one_stays_a_train() -> None:
    """Three that together are shorter than the segment before them are still three."""
    w = World()
    try:
        a, b = w.node(A), w.node(B)
        large = a.send(B, bytes(1400))
        small = [header(B, A, number=i) + bytes([i]) * 60 for i in range(3)]
        a.send_train(small)
        w.path.start()  # both messages are in the first batch
        assert b.receive(4) == [large, *small]
    finally:
        w.close()


def test_a_train_may_hold_everything_at_once() -> None:
    """Good, unknown, malformed, for the Switch: each datagram of one message finds its own way."""
    with world() as w:
        a, b = w.node(A), w.node(B)
        good = [header(B, A, number=i) + bytes(22) for i in range(4)]
        train = [
            good[0],
            header(C, A) + bytes(22),
            good[1],
            b"\x21" + good[0][1:],
            header(SWITCH, A, CONTROL) + bytes(22),
            good[2],
            good[3],
            bytes(50),
            good[0][:20],
        ]
        a.send_train(train)
        assert b.receive(4) == good
        w.wait_count("drop_too_short", 1)
        assert w.drops() == {"drop_unknown_destination": 1, "drop_version": 2, "drop_too_short": 1}
        assert w.events() == [("endpoint", 0, a.locator, train[4])]


def test_several_workers_share_one_port() -> None:
    with world(workers=2) as w:
        b = w.node(B)
        nodes = [w.node(A + i) for i in range(16)]
        for node in nodes:
            node.send(B, b"hello")
        assert len(b.receive(16)) == 16
        assert w.count("forwarded") == 16
        spread = [stats["forwarded"] for stats in w.path.worker_stats()]
        assert all(spread), f"16 sources and two workers: {spread}"


def test_two_listen_addresses_of_different_families() -> None:
    with world(listen=[Endpoint("127.0.0.1", 0), Endpoint("::1", 0)]) as w:
        v4, v6 = w.node(A, "127.0.0.1"), w.node(B, "::1")
        v6.to = ("::1", w.path.addresses[1].port)
        sent = v4.send(B, b"to IPv6")
        assert v6.receive() == [sent]
        sent = v6.send(A, b"to IPv4")
        assert v4.receive() == [sent]


def test_a_destination_that_no_socket_reaches_is_counted() -> None:
    with world(listen=[Endpoint("127.0.0.1", 0)]) as w:
        a, b = w.node(A), w.node(B, "::1")
        a.send(b.id)
        w.wait_count("send_unreachable", 1)


# -- For Python


@pytest.mark.parametrize("dst", [0, SWITCH])
@pytest.mark.parametrize("kind", [CONTROL, REPORT, PRIVATE])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_is_for_the_switch_arrives_with_its_source(dst: int, kind: int, host: str) -> None:
    with world() as w:
        stranger = w.node(C, host, attached=False)
        datagram = stranger.send(dst, bytes(1232 - 28), kind)
        assert w.events() == [("endpoint", 0, stranger.locator, datagram)]
        w.wait_count("endpoint", 1)
        assert list(w.path.events()) == []


def test_an_answer_leaves_from_the_address_that_was_asked() -> None:
    with world() as w:
        for host, asked in (("127.0.0.1", "127.0.0.9"), ("127.0.0.2", "127.0.0.1"), ("::1", "::1")):
            node = w.node(C, host, attached=False)
            node.to = (asked, w.port)
            node.send(0, b"who are you", CONTROL)
            ((_, _, source, *_),) = w.events()
            assert w.path.send(b"the Switch", source)
            data, sender = node.sock.recvfrom(100)
            assert data == b"the Switch"
            assert sender[:2] == (asked, w.port)
        assert w.count("endpoint_sent") == 3


def test_answers_use_the_socket_that_was_asked() -> None:
    with world(listen=[Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", 0)]) as w:
        node = w.node(C, attached=False)
        for endpoint in w.path.addresses:
            node.to = (endpoint.host, endpoint.port)
            node.send(0, b"?", CONTROL)
            ((_, _, source, *_),) = w.events()
            assert w.path.send(b"!", source)
            assert node.sock.recvfrom(100) == (b"!", node.to)


def test_something_unasked_for_can_be_sent_too() -> None:
    with world() as w:
        for host in ("127.0.0.1", "::1"):
            node = w.node(A, host)
            assert w.path.send(b"a push", node.locator)
            assert node.receive() == [b"a push"]


def test_many_are_sent_in_few_calls_from_where_each_was_asked() -> None:
    with world() as w:
        nodes = [w.node(C + i, "::1" if i % 2 else "127.0.0.1", attached=False) for i in range(40)]
        for node in nodes[:20]:
            node.send(0, b"?", CONTROL)
        w.events(20)
        w.path.send_all([Out(b"%d" % i, node.locator) for i, node in enumerate(nodes)])
        for i, node in enumerate(nodes):
            assert node.receive() == [b"%d" % i]
        assert w.count("endpoint_sent") == 40


def test_what_cannot_be_sent_among_many_is_counted() -> None:
    with world(listen=[Endpoint("127.0.0.1", 0)]) as w:
        nowhere = [Locator.of("2001:db8::1", 1), Locator.of("255.255.255.255", 1)]
        node = w.node(A)
        w.path.send_all([Out(b"x", to) for to in (*nowhere, node.locator)])
        assert node.receive() == [b"x"]
        assert (w.count("endpoint_send_unreachable"), w.count("endpoint_send_failed")) == (1, 1)


def test_what_cannot_be_sent_to_is_false_and_counted() -> None:
    with world(listen=[Endpoint("127.0.0.1", 0)]) as w:
        assert not w.path.send(b"x", Locator.of("2001:db8::1", 1))
        assert not w.path.send(b"x", Locator.of("255.255.255.255", 1))
        assert not w.path.send(b"x" * 65536, w.node(A).locator)
        stats = w.path.stats()
        assert (stats["endpoint_send_unreachable"], stats["endpoint_send_failed"]) == (1, 2)
