"""The benchmarks' generator and sink over the loopback, and the search for a rate on paths of known capacity."""

from __future__ import annotations

import socket
import threading

import pytest

from benchmarks.load.batch import Incoming, Outgoing
from benchmarks.load.search import CLOSE, LOSS, STEPS, Trial, search
from benchmarks.load.send import send
from benchmarks.load.sink import count
from benchmarks.udp import read_trial
from ovng.errors import SystemProblem


@pytest.fixture
def receiver() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    return sock


def test_single_datagrams_leave_and_arrive(receiver: socket.socket) -> None:
    with receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(receiver.getsockname())
        outgoing = Outgoing([bytes([number]) * (number + 1) for number in range(100)])
        assert (outgoing.send(sender, 0, 2), outgoing.send(sender, 98, 2)) == (2, 2)
        got = [receiver.recv(2048) for _ in range(4)]
    assert got == [bytes([number]) * (number + 1) for number in (0, 1, 98, 99)]


def test_a_batch_is_received_and_a_silence_is_seen(receiver: socket.socket) -> None:
    with receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(5):
            sender.sendto(b"x", receiver.getsockname())
        incoming = Incoming()
        assert incoming.receive(receiver) == 5
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(8) + (1000).to_bytes(8, "little"))
        assert incoming.receive(receiver) == 0


def test_nobody_listening_does_not_stop_the_generator() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(nobody)
        outgoing = Outgoing([b"x"])
        assert sum(outgoing.send(sender, 0, 1) for _ in range(20)) >= 10, "the refusal is told every second time"


def test_what_the_generator_says_it_sent_the_sink_counts(receiver: socket.socket) -> None:
    counted: list[tuple[int, float]] = []
    with receiver:
        sink = threading.Thread(target=lambda: counted.append(count(receiver)))
        sink.start()
        sent, seconds = send(receiver.getsockname(), 64, 2000.0, 0.1)
        sink.join()
    assert counted[0][0] == sent
    assert sent <= 2000.0 * seconds + 1, "not faster than asked"


class Path:
    """Carries `capacity` per second and loses the rest; the generator sends `most` at most."""

    def __init__(self, capacity: float, most: float) -> None:
        self.capacity, self.most, self.offers = capacity, most, 0

    def offer(self, rate: float) -> Trial:
        self.offers += 1
        offered = min(rate or self.most, self.most)
        arrived = min(offered, self.capacity)
        return Trial(offered, arrived, 1 - arrived / offered)


@pytest.mark.parametrize("capacity", [1e3, 2e4, 1.9e5, 2.9e5])
def test_the_search_finds_the_capacity(capacity: float) -> None:
    path = Path(capacity, 3e5)
    found = search(path.offer)
    assert capacity / CLOSE <= found.rate <= capacity * (1 + 2 * LOSS)
    assert found.flood == capacity
    assert path.offers <= 2 * STEPS + 1


def test_a_path_that_carries_all_there_is() -> None:
    path = Path(1e6, 3e5)
    assert search(path.offer) == (3e5, 3e5)
    assert path.offers == 1


def test_a_flood_may_let_through_less_than_the_path_carries() -> None:
    """As systems do that spend their time on what they then drop."""
    path = Path(1e5, 3e5)

    def offer(rate: float) -> Trial:
        trial = path.offer(rate)
        return trial if trial.holds else trial._replace(arrived=4e4)

    assert search(offer).rate == pytest.approx(1e5, rel=0.1)


def test_a_moment_without_the_core_is_forgiven() -> None:
    """The first offer that the path could have carried loses a little, as when another process ran."""
    path = Path(1e5, 3e5)

    def offer(rate: float) -> Trial:
        trial = path.offer(rate)
        return trial._replace(lost=0.03) if path.offers == 2 else trial

    assert search(offer).rate == pytest.approx(1e5, rel=CLOSE - 1)


def test_a_path_that_always_loses() -> None:
    assert search(lambda rate: Trial(rate or 1e5, 10.0, 0.5)).rate == 0


def test_what_the_two_programs_print() -> None:
    """Of a run through the tunnel, the generator as fast as it could."""
    generator = '{"sent": 91648, "seconds": 0.8003}\n'
    trial = read_trial(generator, 'ready\n{"received": 90731, "seconds": 0.802}\n')
    assert (round(trial.offered), round(trial.arrived)) == (114517, 113131)
    assert trial.lost == pytest.approx(0.010006, abs=1e-6)
    assert not trial.holds
    assert read_trial(generator, 'ready\n{"received": 0, "seconds": 0.0}\n')[1:] == (0, 1)
    for silent in ("", "ready\n", "Traceback\n"):
        with pytest.raises(SystemProblem, match="no trial"):
            read_trial(generator, silent)
