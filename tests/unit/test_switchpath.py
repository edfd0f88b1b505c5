"""The Switch's fast path over real loopback sockets: forwarding, the source check, and input that is wrong."""

from __future__ import annotations

import ctypes
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ovng._fast.switch import COUNTER_NAMES, Worker
from ovng._fast.table import Table
from ovng.config.values import Endpoint
from ovng.errors import SystemProblem
from ovng.forwarding.store import Out
from ovng.ids import Locator, NodeID
from ovng.io.switchpath import SwitchDataPath
from tests.switch_fixture import (
    CONTROL,
    DATA,
    PRIVATE,
    REPORT,
    SWITCH,
    TABLE_KEY,
    FakeNode,
    World,
    header,
    wait_until,
    world,
)

A, B, C = 0xA << 60, 0xB << 60, 0xC << 60

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


# -- What is wrong


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "drop_too_short"),
        (header(B, A)[:27], "drop_too_short"),
        (header(B, A)[:1], "drop_too_short"),
        (b"\x01" + header(B, A)[1:], "drop_version"),
        (b"\x21" + header(B, A)[1:], "drop_version"),
        (header(B, A, 0), "drop_type"),
        (header(B, A, 5), "drop_type"),
        (header(B, A, 15), "drop_type"),
        (header(B, A, flags=4), "drop_flags"),
        (header(B, A, flags=0x8001), "drop_flags"),
        (header(B, 0), "drop_src_zero"),
        (header(A, A), "drop_src_is_dst"),
        (header(0, 0, CONTROL), "drop_src_zero"),
        (header(B, SWITCH), "drop_src_is_switch"),
        (header(0, SWITCH, CONTROL), "drop_src_is_switch"),
        (header(SWITCH, SWITCH, CONTROL), "drop_src_is_dst"),
        (header(B, A, REPORT) + bytes(64), "drop_misdirected"),
        (header(B, A, PRIVATE) + bytes(64), "drop_misdirected"),
        (header(0, A, DATA), "drop_endpoint_type"),
        (header(SWITCH, A, DATA), "drop_endpoint_type"),
        (header(SWITCH, A, CONTROL) + bytes(1232 - 27), "drop_endpoint_size"),
        (header(0, A, REPORT) + bytes(60000), "drop_endpoint_size"),
        (header(C, A), "drop_unknown_destination"),
        (header(C, A, CONTROL), "drop_unknown_destination"),
        (header(B, C), "drop_unattached"),
        (header(B, C, CONTROL), "drop_unattached"),
    ],
)
def test_every_drop_has_its_own_reason(datagram: bytes, reason: str) -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        a.send_raw(datagram)
        w.wait_count(reason, 1)
        assert w.drops() == {reason: 1}
        sent = a.send(B, b"and the next one passes")
        assert b.receive() == [sent]
        b.assert_silent()
        a.assert_silent()


def test_attached_without_a_locator_is_another_reason_than_unknown() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.place(b, active=-1)
        a.send(B)
        w.wait_count("drop_no_locator", 1)


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


# -- Source check: PROTOCOL 6.1


def test_any_of_four_live_locators_may_send() -> None:
    with world() as w:
        b = w.node(B)
        a = w.node(A)
        sockets = [a, *(w.node(A, attached=False) for _ in range(3))]
        w.place(a, *(each.locator for each in sockets), active=3)
        for each in sockets:
            sent = each.send(B, each.locator.packed())
            assert b.receive() == [sent]
        sent = b.send(A)
        assert sockets[3].receive() == [sent]
        assert w.count("forwarded_in_grace") == 0


def test_grace_is_exact_to_the_byte_and_told() -> None:
    with world() as w:
        a, b = w.node(A, grace=1000), w.node(B)
        moved = w.node(A, attached=False)
        sent = [moved.send(B, bytes(300 - 28), number=i) for i in range(5)]
        assert b.receive(3) == sent[:3]
        w.wait_count("drop_stray_source", 2)
        assert w.count("forwarded_in_grace") == 3
        assert w.table.credit(A) == (100, 0)
        assert w.events() == [("unmatched", 0, moved.locator, sent[0][:28], True, 300)]
        w.wait_count("events_limited", 4)
        sent = [moved.send(B, bytes(100 - 28))]
        assert b.receive() == sent, "the last 100 bytes of the credit"
        sent = [a.send(B)]
        assert b.receive() == sent
        assert w.table.credit(A) == (0, 0)


@pytest.mark.parametrize("grace", [0, 99, 100, 1050, 3999, 4000])
def test_grace_is_exact_within_a_train(grace: int) -> None:
    with world() as w:
        w.node(A, grace=grace)
        b, moved = w.node(B), w.node(A, attached=False)
        train = [header(B, A, number=i) + bytes(72) for i in range(40)]
        moved.send_train(train)
        w.wait_count("drop_stray_source", 40 - grace // 100) if grace < 4000 else None
        assert b.receive(grace // 100) == train[: grace // 100]
        assert w.table.credit(A) == (grace % 100, 0)
        b.assert_silent()


def test_control_has_no_grace_and_spends_none() -> None:
    with world() as w:
        a, b = w.node(A, grace=65536), w.node(B)
        moved = w.node(A, attached=False)
        sent = moved.send(B, b"hello", CONTROL)
        w.wait_count("drop_control_source", 1)
        assert w.table.credit(A) == (65536, 0)
        sent = a.send(B, b"hello", CONTROL)
        assert b.receive() == [sent]
        b.assert_silent()


def test_control_from_elsewhere_is_told() -> None:
    with world() as w:
        w.node(A), w.node(B)
        moved = w.node(A, attached=False)
        sent = moved.send(B, b"hello", CONTROL)
        assert w.events() == [("unmatched", 0, moved.locator, sent[:28], True, 33)]


def test_an_unattached_source_is_told_once_per_source_and_id() -> None:
    with world() as w:
        w.node(B)
        x, y = w.node(C, attached=False), w.node(C, attached=False)
        for node in (x, y, x, y):
            node.send(B, bytes(72))
        events = w.events(2)
        assert events == [("unmatched", 0, node.locator, header(B, C), False, 100) for node in (x, y)]
        w.wait_count("events_limited", 2)
        x.id = NodeID(C + 1)
        x.send(B)
        assert w.events() == [("unmatched", 0, x.locator, header(B, C + 1), False, 28)]
        assert w.count("drop_unattached") == 5


def test_strangers_cannot_have_more_events_than_the_bucket_holds() -> None:
    with world() as w:
        w.node(B)
        stranger = w.node(C, attached=False)
        for i in range(0, 60_000, 60):
            stranger.send_train([header(B, C + i + k) for k in range(60)])
            if i % 6000 == 0:
                w.wait_count("drop_unattached", i + 60)
        w.wait_count("drop_unattached", 60_000)
        told = 60_000 - w.count("events_limited")
        assert 1024 <= told < 20_000, "a burst of 1024 and 4096 per second"


# -- Provisional locators: PROTOCOL 6


def test_provisional_credit_is_exact_and_the_excess_goes_to_the_old_locator() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        new = w.node(A, attached=False)
        w.place(a, a.locator, new.locator, active=1, fallback=0, mask=0b10)
        w.table.set_credit(A, 0, 250)
        train = [header(A, B, number=i) + bytes(72) for i in range(10)]
        b.send_train(train)
        assert new.receive(2) == train[:2]
        assert a.receive(8) == train[2:]
        assert w.table.credit(A) == (0, 50)
        assert w.count("forwarded_to_fallback") == 8
        new.send(B, bytes(72))
        b.receive()
        assert w.table.credit(A) == (0, 350), "three times what came from there"
        new.send(B, bytes(72), CONTROL)
        b.receive()
        assert w.table.credit(A) == (0, 650)
        a.send(B, bytes(72))
        b.receive()
        assert w.table.credit(A) == (0, 650), "only the provisional locator earns"


def test_without_an_old_locator_the_excess_is_dropped() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        w.place(a, a.locator, active=0, mask=0b1)
        w.table.set_credit(A, 0, 199)
        train = [header(A, B, number=i) + bytes(72) for i in range(10)]
        b.send_train(train)
        assert a.receive() == train[:1]
        w.wait_count("drop_no_credit", 9)
        assert w.drops() == {"drop_no_credit": 9}


# -- Hostile and unlucky


def snapshot(table: Table) -> dict[int, object]:
    return {id: (table.record(id), table.locators(id), table.credit(id)) for id in table.ids()}


def resident_kib() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def junk(numbers: random.Random) -> bytes:
    """Half is noise, half has a good header: known and unknown IDs, wrong sources."""
    if numbers.random() < 0.5:
        return numbers.randbytes(numbers.randrange(0, 100))
    ids = (A, B, C, SWITCH, 0, 1, numbers.getrandbits(64))
    return header(numbers.choice(ids), numbers.choice(ids), numbers.randrange(6), flags=numbers.choice((0, 0, 3, 9)))


def test_junk_changes_nothing() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        stranger = w.node(C, attached=False)
        numbers = random.Random(5)
        pool = [junk(numbers) for _ in range(1000)]
        before = snapshot(w.table)
        seen = 0
        for turn in range(10):
            for datagram in pool * 10:
                stranger.send_raw(datagram)
                seen += 1
                if seen % 1000 == 0:  # slow enough for nothing to be lost before the loop
                    w.wait_count("received", seen)
                    list(w.path.events())
            if turn == 1:
                warm = resident_kib()
        assert seen == 100_000
        wait_until(
            lambda: sum(w.drops().values()) + w.count("endpoint") == seen, f"all accounted for: {w.path.stats()}"
        )
        assert snapshot(w.table) == before
        held_back = 16 * 1024 if "asan" in os.environ.get("LD_PRELOAD", "") else 0  # freed memory that it watches
        assert resident_kib() - warm < 4096 + held_back, "50 bytes kept of each datagram would show"
        a.assert_silent()
        sent = a.send(B, b"still here")
        assert b.receive() == [sent]


def test_a_slow_python_side_loses_events_and_never_a_packet() -> None:
    with world(ring_bytes=4096) as w:
        a, b = w.node(A), w.node(B)
        stranger = w.node(C, attached=False)
        for i in range(200):  # nobody reads events
            stranger.send(0, bytes(100), CONTROL, number=i)
            sent = a.send(B, bytes(100), number=i)
            assert b.receive() == [sent]
        wait_until(lambda: w.count("endpoint") + w.count("drop_endpoint_full") == 200, "200 for the Switch")
        assert 0 < w.count("endpoint") < 50
        a.send(0, b"an attached node's ring is another one", CONTROL)
        wait_until(lambda: w.count("endpoint") + w.count("drop_endpoint_full") == 201, "one more")
        first = w.events()[0]
        assert first[2] == a.locator, "and it is read first"
        while list(w.path.events()):
            pass
        stranger.send(0, b"room again", CONTROL)
        assert w.events()[0][3].endswith(b"room again")


EXCHANGE = """
import os, socket, sys
a, b, done, port = map(int, sys.argv[1:])
sender, receiver = socket.socket(fileno=a), socket.socket(fileno=b)
receiver.settimeout(20)
for _ in range(2000):
    sender.sendto(bytes.fromhex(os.environ["DATAGRAM"]), ("127.0.0.1", port))
    receiver.recv(2000)
os.write(done, b"!")
"""


def test_forwarding_goes_on_while_python_holds_the_interpreter() -> None:
    """We block in `read` without letting go of the GIL until another process has had 2000 datagrams forwarded."""
    with world() as w:
        a, b = w.node(A), w.node(B)
        proof, done = os.pipe()
        fds = (a.sock.fileno(), b.sock.fileno(), done)
        process = subprocess.Popen(
            [sys.executable, "-c", EXCHANGE, *map(str, fds), str(w.port)],
            pass_fds=fds,
            env=os.environ | {"DATAGRAM": header(B, A).hex()},
        )
        os.close(done)
        try:
            answer = ctypes.create_string_buffer(1)
            assert ctypes.PyDLL(None).read(proof, answer, 1) == 1
            assert w.count("forwarded") == 2000
        finally:
            os.close(proof)
            assert process.wait(30) == 0


def spread(w: World, node: FakeNode) -> None:
    """64 IDs that all live at one node's locator: whoever sends to them makes a run of each datagram."""
    for i in range(64):
        w.table.put(node.id + i, b"")
        w.table.set_locators(node.id + i, [node.locator.packed(), None, None, None], 0, -1, 0)


def test_the_budget_binds_nobody_who_is_alone() -> None:
    with world() as w:
        a, b = w.node(A), w.node(B)
        spread(w, b)
        for turn in range(100):
            a.send_train([header(B + i, A, number=turn) for i in range(64)])
        assert len(set(b.receive(6400))) == 6400
        assert w.drops() == {}


def test_one_source_has_a_bounded_share_of_a_full_batch() -> None:
    w = World()
    try:
        a, b, c = w.node(A), w.node(B), w.node(C)
        spread(w, b)
        sent = [c.send(A, bytes(500))]
        for turn in range(14):
            a.send_train([header(B + i, A, number=turn) for i in range(64)])
        sent.append(c.send(A, bytes(500)))
        w.path.start()  # 16 messages wait: one full batch
        assert a.receive(2) == sent
        w.wait_count("drop_source_budget", 14 * 64 - 512)
        assert w.drops() == {"drop_source_budget": 14 * 64 - 512}
        assert len(set(b.receive(512))) == 512
    finally:
        w.close()


# -- Life


def test_stop_is_prompt_and_may_be_said_twice() -> None:
    before = set(threading.enumerate())
    w = World(workers=2)
    w.path.start()
    assert {thread.name for thread in set(threading.enumerate()) - before} == {"forward-0", "forward-1"}
    w.path.stop()
    assert set(threading.enumerate()) <= before
    w.path.stop()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as again:
        again.bind(("::", w.port))


def test_what_is_left_when_it_stops_is_not_told_to_somebody_elses_descriptor() -> None:
    with world() as w:
        a = w.node(A)
        for number in range(300):  # more than one call takes
            a.send(SWITCH, kind=CONTROL, number=number)
        w.wait_count("endpoint", 300)
        w.path.stop()
        reused = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]
        try:
            assert list(w.path.events()) == []
            for fd in reused:
                with pytest.raises(BlockingIOError):
                    os.eventfd_read(fd)
        finally:
            for fd in reused:
                os.close(fd)


def test_stop_without_start() -> None:
    World().close()


def test_everything_is_given_back() -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = open_files()
    for _ in range(3):
        with world(workers=2, listen=[Endpoint("127.0.0.1", 0), Endpoint("::1", 0)]) as w:
            a, b = w.node(A), w.node(B)
            sent = a.send(B)
            assert b.receive() == [sent]
        del w
    assert open_files() == before


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_a_port_in_use_is_one_clear_line(host: str, workers: int) -> None:
    with world(listen=[Endpoint(host, 0)], workers=2) as w, pytest.raises(SystemProblem, match="is in use"):
        SwitchDataPath(SWITCH, [Endpoint(host, w.port)], w.table, workers=workers)


def test_an_address_of_another_machine_is_one_clear_line() -> None:
    with pytest.raises(SystemProblem, match="not an address of this machine"):
        SwitchDataPath(SWITCH, [Endpoint("192.0.2.1", 5140)], Table(1, TABLE_KEY))


def test_a_name_is_not_listened_on() -> None:
    with pytest.raises(SystemProblem, match="numeric"):
        SwitchDataPath(SWITCH, [Endpoint("switch.example", 5140)], Table(1, TABLE_KEY))


def test_both_wildcards_of_one_port_can_be_listened_on() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    with world(listen=[Endpoint("0.0.0.0", port), Endpoint("::", port)]) as w:
        a, b = w.node(A, "127.0.0.1"), w.node(B, "::1")
        sent = a.send(B)
        assert b.receive() == [sent]
        sent = b.send(A)
        assert a.receive() == [sent]


def test_a_lost_socket_is_reported_to_python() -> None:
    w = World()
    node = FakeNode(C, "127.0.0.1", ("127.0.0.1", w.port))
    try:
        broken = os.open("/dev/null", os.O_RDWR)
        os.dup2(broken, w.path._sockets[0][0].sock.fileno())
        os.close(broken)
        w.path.start()
        with pytest.raises(SystemProblem, match="forwarding stopped"):
            w.events()
    finally:
        w.path.stop()
        node.sock.close()


def test_counters_are_distinct_and_complete() -> None:
    assert len(set(COUNTER_NAMES)) == len(COUNTER_NAMES)
    with world() as w:
        assert set(COUNTER_NAMES) <= set(w.path.stats())
        assert set(w.path.stats().values()) == {0}


@pytest.mark.parametrize(
    ("fds", "exits", "key", "error"),
    [
        ([], (-1, -1), TABLE_KEY, ValueError),
        ([0] * 17, (0, 0), TABLE_KEY, ValueError),
        ([0], (1, 0), TABLE_KEY, ValueError),
        ([0], (0, -2), TABLE_KEY, ValueError),
        ([0], (0, 0), b"short", ValueError),
        ([999], (0, 0), TABLE_KEY, OSError),
    ],
)
def test_a_worker_refuses_what_cannot_work(
    fds: list[int], exits: tuple[int, int], key: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Worker(Table(1, TABLE_KEY), SWITCH, fds, *exits, -1, key, batch=16, segments_max=64, ring_bytes=4096)
