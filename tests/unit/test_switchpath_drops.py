"""The Switch's fast path: every drop under its reason, and what strangers and bad luck cannot do."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ovng._fast.table import Table
from tests.switch_fixture import (
    CONTROL,
    DATA,
    PRIVATE,
    REPORT,
    SWITCH,
    A,
    B,
    C,
    FakeNode,
    World,
    header,
    wait_until,
    world,
)

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
        (header(B, A, flags=8), "drop_flags"),
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
