"""The reliable stream by itself: two ends and a hand-made network, in virtual time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.limits import ACK_DELAY, RTO_INITIAL, RTO_JITTER, RTO_MAX, RTO_MIN, STREAM_PIECE, STREAM_WINDOW
from ovng.session.reliable import ReliableStream, RttEstimator
from ovng.wire.control import StreamPart
from tests.effort import examples


def new_stream(seed: int = 1) -> ReliableStream:
    return ReliableStream(random.Random(seed).randbytes)


def numbers(parts: list[StreamPart]) -> list[int]:
    return [part.number for part in parts]


def filled(count: int) -> ReliableStream:
    """A stream that has just sent `count` whole messages at time 0."""
    stream = new_stream()
    stream.write(bytes(count * STREAM_PIECE))
    assert numbers(stream.parts_to_send(0.0)) == list(range(1, min(count, STREAM_WINDOW) + 1))
    return stream


# -- Cutting and window


def test_bytes_are_cut_into_numbered_pieces() -> None:
    stream = new_stream()
    stream.write(b"a" * 1000)
    stream.write(b"b" * 1500)
    parts = stream.parts_to_send(0.0)
    assert numbers(parts) == [1, 2, 3]
    assert [len(part.piece) for part in parts] == [STREAM_PIECE, STREAM_PIECE, 300]
    assert b"".join(part.piece for part in parts) == b"a" * 1000 + b"b" * 1500
    assert all((part.cumulative, part.selective) == (0, 0) for part in parts)
    assert stream.written == 2500 and stream.acked == 0 and not stream.all_acked


def test_at_most_12_unacknowledged() -> None:
    stream = filled(20)
    assert stream.parts_to_send(0.0) == []
    stream.receive(StreamPart(0, 0, 0b10, b""), 0.05)  # message 2 only: the window is counted from the oldest
    assert numbers(stream.parts_to_send(0.05)) == []
    stream.receive(StreamPart(0, 2, 0, b""), 0.06)
    assert numbers(stream.parts_to_send(0.06)) == [13, 14]
    assert stream.acked == 2 * STREAM_PIECE


def test_nothing_to_do_is_no_deadline() -> None:
    stream = new_stream()
    assert stream.deadline() is None and stream.parts_to_send(0.0) == []
    stream.write(b"x")
    assert stream.deadline() == 0.0
    stream.parts_to_send(5.0)
    stream.receive(StreamPart(0, 1, 0, b""), 5.1)
    assert stream.deadline() is None and stream.all_acked and stream.waiting_since is None


# -- Timers


def test_first_wait_doubles_to_two_seconds_with_jitter() -> None:
    stream, now, waits = filled(1), 0.0, []
    for _ in range(8):
        due = stream.deadline()
        assert due is not None
        assert stream.parts_to_send(due - 0.001) == []
        assert numbers(stream.parts_to_send(due)) == [1]
        waits.append(due - now)
        now = due
    for wait, nominal in zip(waits, [0.3, 0.6, 1.2, 2.0, 2.0, 2.0, 2.0, 2.0], strict=True):
        assert nominal * (1 - RTO_JITTER) <= wait <= nominal * (1 + RTO_JITTER)
    assert len({round(wait, 6) for wait in waits[3:]}) > 1


def test_estimator_of_rfc_6298() -> None:
    assert (RttEstimator().rto, RttEstimator().srtt) == (RTO_INITIAL, None)
    estimator = RttEstimator()
    estimator.sample(0.2)
    assert estimator.srtt == 0.2 and estimator.rto == pytest.approx(0.2 + 4 * 0.1)
    estimator.sample(0.4)  # RTTVAR = 3/4 · 0.1 + 1/4 · 0.2, SRTT = 7/8 · 0.2 + 1/8 · 0.4
    assert estimator.srtt == pytest.approx(0.225) and estimator.rto == pytest.approx(0.225 + 4 * 0.125)
    for _ in range(50):
        estimator.sample(0.001)
    assert estimator.rto == RTO_MIN
    estimator.sample(9.0)
    assert estimator.rto == RTO_MAX


def test_karn_messages_sent_twice_are_not_measured() -> None:
    stream = filled(1)
    assert numbers(stream.parts_to_send(0.4)) == [1]
    stream.receive(StreamPart(0, 1, 0, b""), 0.41)
    assert stream.srtt is None
    assert stream.rtt.rto == pytest.approx(0.6), "the wait that was long enough stays in force"
    stream.write(b"next")
    stream.parts_to_send(1.0)
    stream.receive(StreamPart(0, 2, 0, b""), 1.5)
    assert stream.srtt == pytest.approx(0.5)


def test_a_path_slower_than_the_first_wait_is_learnt() -> None:
    """Round trip 1 s: every message is sent more than once until the wait that is kept is longer than that."""
    sender, now = new_stream(), 0.0
    for number in range(1, 6):
        sender.write(b"x")
        end = now + 1.0
        tries = len(sender.parts_to_send(now))
        while (due := sender.deadline()) is not None and due < end:
            tries += len(sender.parts_to_send(due))
        sender.receive(StreamPart(0, number, 0, b""), end)
        now = end
    assert tries == 1 and sender.srtt == pytest.approx(1.0)


def test_early_resend_after_three_later_acknowledgements() -> None:
    stream = filled(5)
    stream.receive(StreamPart(0, 0, 0b110, b""), 0.05)  # 2 and 3 have arrived
    assert stream.parts_to_send(0.05) == []
    stream.receive(StreamPart(0, 0, 0b1110, b""), 0.06)  # and 4
    assert numbers(stream.parts_to_send(0.06)) == [1]
    stream.receive(StreamPart(0, 0, 0b11110, b""), 0.07)
    assert stream.parts_to_send(0.07) == [], "it was sent again after those had left"


def test_send_soon_does_not_wait_and_does_not_back_off() -> None:
    stream = filled(2)
    stream.send_soon(0.01)
    assert numbers(stream.parts_to_send(0.01)) == [1, 2]
    due = stream.deadline()
    assert due is not None and due - 0.01 <= RTO_INITIAL * (1 + RTO_JITTER)


def test_waiting_since_is_first_sending_or_last_progress() -> None:
    stream = filled(2)
    stream.parts_to_send(1.0)
    assert stream.waiting_since == 0.0
    stream.receive(StreamPart(0, 1, 0, b""), 2.0)
    assert stream.waiting_since == 2.0 == stream.progress_at
    stream.receive(StreamPart(0, 2, 0, b""), 3.0)
    assert stream.waiting_since is None


# -- Acknowledgements


def test_pure_acknowledgement_waits_20_ms_for_company() -> None:
    stream = new_stream()
    stream.receive(StreamPart(1, 0, 0, b"x"), 1.0)
    assert stream.deadline() == pytest.approx(1.0 + ACK_DELAY)
    assert stream.parts_to_send(1.01) == []
    assert stream.parts_to_send(1.02) == [StreamPart(0, 1, 0, b"")]
    assert stream.parts_to_send(2.0) == []
    stream.receive(StreamPart(2, 0, 0, b"y"), 3.0)
    stream.write(b"answer")
    assert stream.parts_to_send(3.0) == [StreamPart(1, 2, 0, b"answer")]
    assert stream.deadline() != pytest.approx(3.0 + ACK_DELAY), "it went along"


@pytest.mark.parametrize("second", [StreamPart(3, 0, 0, b"gap"), StreamPart(1, 0, 0, b"a")])
def test_gaps_and_duplicates_are_acknowledged_at_once(second: StreamPart) -> None:
    stream = new_stream()
    stream.receive(StreamPart(1, 0, 0, b"a"), 1.0)
    stream.parts_to_send(1.02)
    stream.receive(second, 2.0)
    (part,) = stream.parts_to_send(2.0)
    assert part.number == 0 and part.cumulative == 1
    assert part.selective == (0b10 if second.number == 3 else 0)


def test_order_is_restored_and_each_byte_comes_once() -> None:
    stream = new_stream()
    for number, piece in ((3, b"c"), (1, b"a"), (3, b"c"), (2, b"b"), (1, b"a")):
        stream.receive(StreamPart(number, 0, 0, piece), 0.0)
    assert stream.read() == b"abc" and stream.read() == b""


# -- What a peer may not do


def test_buffer_beyond_the_gap_is_bounded() -> None:
    stream = new_stream()
    for number in range(2, STREAM_WINDOW + 1):
        stream.receive(StreamPart(number, 0, 0, b"x"), 0.0)
    with pytest.raises(Malformed, match="beyond_window"):
        stream.receive(StreamPart(STREAM_WINDOW + 1, 0, 0, b"x"), 0.0)
    assert stream.read() == b""
    stream.receive(StreamPart(1, 0, 0, b"x"), 0.0)
    assert len(stream.read()) == STREAM_WINDOW


@pytest.mark.parametrize(
    "part",
    [StreamPart(0, 4, 0, b""), StreamPart(0, 0, 1 << 3, b""), StreamPart(0, 3, 1, b""), StreamPart(1, 9, 0, b"x")],
)
def test_acknowledging_what_was_never_sent_has_no_effect(part: StreamPart) -> None:
    stream = filled(3)
    with pytest.raises(Malformed, match="ack_of_unsent"):
        stream.receive(part, 0.1)
    assert stream.acked == 0 and stream.backlog == stream.written and stream.read() == b""
    assert all(part.cumulative == 0 for part in stream.parts_to_send(1.0)), "its piece was not taken either"


def test_old_acknowledgements_are_harmless() -> None:
    stream = filled(3)
    stream.receive(StreamPart(0, 3, 0, b""), 0.1)
    stream.receive(StreamPart(0, 1, 0, b""), 0.2)
    assert stream.all_acked and stream.acked == 3 * STREAM_PIECE and stream.progress_at == 0.1


@given(st.lists(st.builds(StreamPart, *[st.integers(0, 40)] * 2, st.integers(0, 1 << 13), st.binary(max_size=3))))
def test_any_parts_leave_it_bounded(parts: list[StreamPart]) -> None:
    stream, now = filled(5), 0.0
    for part in parts:
        now += 0.01
        try:
            stream.receive(part, now)
        except Malformed:
            pass
        stream.parts_to_send(now)
        assert len(stream._arrived) < STREAM_WINDOW and len(stream._flying) <= STREAM_WINDOW
        assert stream.acked <= stream.written


# -- Both ends


@settings(max_examples=examples(60), deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.lists(st.integers(1, 5_000), min_size=1, max_size=5),
    st.lists(st.integers(1, 5_000), max_size=5),
    st.sampled_from([0.0, 0.2, 0.5]),
)
def test_every_byte_arrives_in_order_over_any_network(
    seed: int, forth: list[int], back: list[int], loss: float
) -> None:
    chance = random.Random(seed)
    ends = new_stream(seed), new_stream(seed + 1)
    sent, got = [b"", b""], [b"", b""]
    for end, sizes in enumerate((forth, back)):
        for size in sizes:
            data = chance.randbytes(size)
            sent[end] += data
            ends[end].write(data)
    flying: list[tuple[float, int, StreamPart]] = []
    now = 0.0
    while not (ends[0].all_acked and ends[1].all_acked):
        for end in (0, 1):
            for part in ends[end].parts_to_send(now):
                for _ in range(chance.choice([1, 1, 1, 2])):
                    if chance.random() >= loss:
                        flying.append((now + chance.uniform(0.01, 0.1), 1 - end, part))
        deadlines = [end.deadline() for end in ends] + [entry[0] for entry in flying]
        now = max(now, min(time for time in deadlines if time is not None))
        assert now < 120
        for arrived in [entry for entry in flying if entry[0] <= now]:
            flying.remove(arrived)
            ends[arrived[1]].receive(arrived[2], now)
            got[arrived[1]] += ends[arrived[1]].read()
    assert got == [sent[1], sent[0]]
