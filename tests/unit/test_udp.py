"""UDP batches over real loopback sockets: splitting, segmentation, and errors that must not stop a loop."""

from __future__ import annotations

import errno
import json
import platform
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ovng._fast.udp import COUNTER_NAMES, Receiver, Sender, gso_limit
from ovng.ids import Locator
from tests.kernel_refusal import needs_seccomp
from tests.lacks import needs_gso, needs_original_destinations

UDP_GRO = 104
V4, V6 = ("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)


def open_socket(host: str, family: int, *, gro: bool = True) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if gro:
        sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


def locator(sock: socket.socket, host: str | None = None) -> bytes:
    name = sock.getsockname()
    return Locator.of(host or name[0], name[1]).packed()


def collect(sock: socket.socket, receiver: Receiver, datagrams: int) -> list[tuple[bytes, int, bytes, bytes]]:
    """Messages until `datagrams` of them have arrived."""
    messages: list[tuple[bytes, int, bytes, bytes]] = []
    while receiver.counters()["received"] < datagrams:
        assert select.select([sock], [], [], 5.0)[0], f"only {receiver.counters()} arrived"
        messages += receiver.receive()
    return messages


def split(messages: list[tuple[bytes, int, bytes, bytes]]) -> list[bytes]:
    return [data[i : i + segment] for data, segment, _, _ in messages for i in range(0, max(len(data), 1), segment)]


@pytest.fixture(params=[V4, V6], ids=["v4", "v6"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = open_socket(*request.param), open_socket(*request.param)
    yield left, right
    left.close()
    right.close()


def test_one_datagram_and_its_source(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    sender, receiver = Sender(left.fileno()), Receiver(right.fileno())
    sender.queue(locator(right), b"hello")
    assert sender.counters()["sent"] == 0, "nothing leaves before the flush"
    sender.flush()
    assert collect(right, receiver, 1) == [(b"hello", 5, locator(left), bytes(16))]
    assert sender.counters()["sent"] == 1
    assert sender.counters()["sent_bytes"] == 5
    assert receiver.receive() == []


@pytest.mark.parametrize(
    ("host", "family", "local"),
    [("0.0.0.0", socket.AF_INET, "127.0.0.9"), ("::", socket.AF_INET6, "127.0.0.9"), ("::", socket.AF_INET6, "::1")],
)
def test_one_datagram_leaves_from_the_address_it_is_told(host: str, family: int, local: str) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as wild,
        socket.socket(socket.AF_INET6 if ":" in local else socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        wild.bind((host, 0))
        other.bind(("::1" if ":" in local else "127.0.0.1", 0))
        other.settimeout(5)
        sender = Sender(wild.fileno())
        for source in (local, None):
            where = bytes(16) if source is None else Locator.of(source, 0).address
            sender.queue_one(locator(other), b"x", where)
        sender.flush()
        sources = [other.recvfrom(10)[1][0] for _ in "12"]
        assert sources == [local, "::1" if ":" in local else "127.0.0.1"]
        for wrong in ((b"short", b"x", bytes(16)), (bytes(18), b"x", b""), (bytes(18), b"", bytes(16))):
            with pytest.raises(ValueError):
                sender.queue_one(*wrong)


def test_this_kernel_segments() -> None:
    assert gso_limit() in (64, 128)


@needs_gso
def test_a_run_is_segmented_and_arrives_whole(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    sender, receiver = Sender(left.fileno()), Receiver(right.fileno())
    datagrams = [bytes([i]) * 100 for i in range(40)] + [b"the last is shorter"]
    sender.queue(locator(right), b"".join(datagrams), 100)
    sender.flush()
    messages = collect(right, receiver, 41)
    assert split(messages) == datagrams
    assert sender.counters()["sent_messages"] == 1
    assert len(messages) == 1, "GRO hands the train over in one piece"


@needs_gso
@pytest.mark.parametrize(("segment", "count"), [(1, 500), (1400, 200), (9000, 30), (60000, 3), (100, 65)])
def test_long_runs_are_cut_at_the_limits_of_the_kernel(
    pair: tuple[socket.socket, socket.socket], segment: int, count: int
) -> None:
    """At most 64 datagrams and 65507 bytes in one message; segments above the path's MTU go singly."""
    left, right = pair
    sender, receiver = Sender(left.fileno(), 64), Receiver(right.fileno())
    datagrams = [bytes([i % 256]) * segment for i in range(count)]
    sender.queue(locator(right), b"".join(datagrams), segment)
    sender.flush()
    assert split(collect(right, receiver, count)) == datagrams
    counters = sender.counters()
    assert counters["sent"] == count
    assert counters["sent_messages"] == -(-count // min(64, 65507 // segment))


def test_without_segmentation_every_datagram_is_its_own_message(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    sender, receiver = Sender(left.fileno(), 1), Receiver(right.fileno(), 64)
    sender.queue(locator(right), b"ab" * 10 + b"c", 2)
    sender.flush()
    assert split(collect(right, receiver, 11)) == [b"ab"] * 10 + [b"c"]
    assert sender.counters()["sent_messages"] == 11


def test_more_messages_than_one_batch_holds(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    sender, receiver = Sender(left.fileno()), Receiver(right.fileno())
    for i in range(1500):
        sender.queue(locator(right), i.to_bytes(2, "big"))
    sender.flush()
    assert split(collect(right, receiver, 1500)) == [i.to_bytes(2, "big") for i in range(1500)]


def test_an_empty_datagram_is_received_and_harmless(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    receiver = Receiver(right.fileno())
    left.sendto(b"", right.getsockname())
    left.sendto(b"next", right.getsockname())
    assert [data for data, _, _, _ in collect(right, receiver, 2)] == [b"", b"next"]


def test_the_largest_datagram(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    sender, receiver = Sender(left.fileno()), Receiver(right.fileno())
    sender.queue(locator(right), b"z" * 65507)
    sender.queue(locator(right), b"z" * 65508)
    sender.flush()
    assert collect(right, receiver, 1)[0][0] == b"z" * 65507
    assert sender.counters()["send_too_big"] == 1


def test_dual_stack_speaks_mapped_ipv4() -> None:
    both, v4 = open_socket("::", socket.AF_INET6), open_socket(*V4)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    try:
        Sender(v4.fileno()).flush()
        v4.sendto(b"in", ("127.0.0.1", both.getsockname()[1]))
        ((data, _, source, local),) = collect(both, Receiver(both.fileno()), 1)
        assert (data, source) == (b"in", locator(v4))
        assert local == Locator.of("127.0.0.1", 0).address
        sender = Sender(both.fileno())
        sender.queue(source, b"out")
        sender.flush()
        assert collect(v4, Receiver(v4.fileno()), 1)[0][0] == b"out"
    finally:
        both.close()
        v4.close()


def test_what_cannot_be_sent_is_counted_and_the_rest_leaves() -> None:
    left, right = open_socket(*V4), open_socket(*V4)
    try:
        sender = Sender(left.fileno())
        sender.queue(Locator.of("2001:db8::1", 9).packed(), b"an IPv4 socket cannot")
        sender.queue(Locator.of("255.255.255.255", 9).packed(), b"broadcast is not permitted")
        sender.queue(locator(right), b"this one can")
        sender.flush()
        assert collect(right, Receiver(right.fileno()), 1)[0][0] == b"this one can"
        counters = sender.counters()
        assert (counters["send_unreachable"], counters["send_refused"], counters["sent"]) == (1, 1, 1)
    finally:
        left.close()
        right.close()


SENDMMSG = {"x86_64": 307, "aarch64": 269}.get(platform.machine())
REFUSING = """
import ctypes, json, socket, struct, sys
from ovng._fast.udp import Sender

number, error, segment, trains = map(int, sys.argv[2:])
# A seccomp filter: load the call's number; sendmmsg gets `error`, all else passes.
program = b"".join(struct.pack("HBBI", *line) for line in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7FFF0000)))
buffer = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0, ctypes.get_errno()
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
sender = Sender(sock.fileno())
for _ in range(trains):
    sender.queue(bytes.fromhex(sys.argv[1]), b"abc" * 5, segment)
    sender.flush()
print(json.dumps(sender.counters() | {"segments_max": sender.segments_max}))
"""


@needs_seccomp
@pytest.mark.parametrize(
    ("error", "segment", "trains", "expected"),
    [
        (errno.EINVAL, 3, 20, {"gso_given_up": 20, "sent": 100, "segments_max": 64}),
        (errno.EMSGSIZE, 3, 20, {"gso_given_up": 20, "sent": 100, "segments_max": 64}),
        (errno.EIO, 3, 15, {"gso_given_up": 15, "sent": 75, "segments_max": 64}),
        (errno.EIO, 3, 16, {"gso_given_up": 16, "sent": 80, "segments_max": 1}),
        (errno.EIO, 15, 20, {"send_other": 20, "gso_given_up": 0, "sent": 0, "segments_max": 64}),
        (errno.EMSGSIZE, 15, 1, {"send_too_big": 1, "sent": 0}),
        (errno.ENOBUFS, 3, 2, {"send_no_buffer": 10, "sent": 0}),
        (errno.EAGAIN, 3, 2, {"send_no_buffer": 10, "sent": 0}),
        (errno.EPERM, 3, 1, {"send_refused": 5, "sent": 0}),
        (errno.EHOSTUNREACH, 3, 1, {"send_unreachable": 5, "sent": 0}),
        (errno.ECONNREFUSED, 3, 1, {"send_unreachable": 5, "sent": 0}),
    ],
)
def test_a_kernel_that_refuses(error: int, segment: int, trains: int, expected: dict[str, int]) -> None:
    """The kernel's own answers to sendmmsg, in a process that asked for them."""
    sock = open_socket(*V4)
    try:
        words = [locator(sock).hex(), str(SENDMMSG), str(error), str(segment), str(trains)]
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", REFUSING, *words], capture_output=True, check=True, timeout=30)
        assert time.monotonic() - began < 10, "a slow device is waited for 20 ms per flush"
        counters = json.loads(done.stdout)
        assert {name: counters[name] for name in expected} == expected
        if counters["sent"]:
            assert split(collect(sock, Receiver(sock.fileno()), counters["sent"])) == [b"abc"] * counters["sent"]
    finally:
        sock.close()


def test_an_icmp_error_on_a_connected_socket_is_passed_over() -> None:
    left, right = open_socket(*V4), open_socket(*V4)
    try:
        left.connect(right.getsockname())
        right_name = right.getsockname()
        right.close()
        left.send(b"to a closed port")
        assert select.select([left], [], [], 5.0)[0], "ECONNREFUSED is pending"
        receiver = Receiver(left.fileno())
        assert receiver.receive() == []
        assert receiver.counters()["receive_errors"] == 1
        right = open_socket(*V4)
        right.close()
        right = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        right.bind(right_name)
        right.sendto(b"alive", left.getsockname())
        assert collect(left, receiver, 1)[0][0] == b"alive"
    finally:
        left.close()
        right.close()


@needs_original_destinations
def test_what_came_without_all_its_control_messages_is_dropped() -> None:
    """GRO's segment size may be what is missing: then a train would pass as one datagram."""
    sock = open_socket(*V4)
    try:
        for option in (8, 12, 13, 20):  # IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR
            sock.setsockopt(socket.IPPROTO_IP, option, 1)
        sock.setsockopt(socket.SOL_SOCKET, 29, 1)  # SO_TIMESTAMP: 144 bytes together, of 128
        receiver = Receiver(sock.fileno())
        sock.sendto(b"hello", sock.getsockname())
        assert receiver.receive() == []
        assert receiver.counters()["receive_truncated"] == 1
        assert receiver.counters()["received"] == 0
    finally:
        sock.close()


def test_a_closed_socket_is_an_error_and_not_a_loop() -> None:
    sock = open_socket(*V4)
    receiver = Receiver(sock.fileno())
    sock.close()
    with pytest.raises(OSError, match="receive"):
        receiver.receive()


@pytest.mark.parametrize("bad", [b"", bytes(17), bytes(19)])
def test_a_locator_has_18_bytes(bad: bytes) -> None:
    sock = open_socket(*V4)
    try:
        with pytest.raises(ValueError, match="18 bytes"):
            Sender(sock.fileno()).queue(bad, b"x")
    finally:
        sock.close()


@pytest.mark.parametrize("size", [0, 1025])
def test_a_batch_has_bounds(size: int) -> None:
    with pytest.raises(ValueError, match="batch"):
        Receiver(0, size)


def test_counters_have_names() -> None:
    assert len(set(COUNTER_NAMES)) == len(COUNTER_NAMES)
    sock = open_socket(*V4)
    try:
        assert tuple(Receiver(sock.fileno()).counters()) == COUNTER_NAMES
        assert set(Sender(sock.fileno()).counters().values()) == {0}
    finally:
        sock.close()
