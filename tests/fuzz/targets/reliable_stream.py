"""The reliable stream between two ends, over a network that is also an attacker.

Loss, order and copies are the program's; so are parts that neither end has sent. Bytes come out as they went in
unless somebody forged a piece, and always once and within bounds.
"""

from __future__ import annotations

from ovng.errors import Malformed
from ovng.limits import STREAM_PIECE, STREAM_WINDOW
from ovng.session.reliable import ReliableStream
from ovng.wire.control import StreamPart
from tests.attachment_fixture import seeded
from tests.fuzz.choices import Choices

STEPS_MAX = 200
SECONDS = (0.0, 0.001, 0.02, 0.1, 0.31, 2.5)
DRAIN_ROUNDS = 400


class End:
    """One end, with what it wrote, what it was given, and what is on its way from it."""

    def __init__(self, seed: int) -> None:
        self.stream = ReliableStream(seeded(seed))
        self.wrote, self.read = bytearray(), bytearray()
        self.flying: list[StreamPart] = []

    def write(self, data: bytes) -> None:
        self.stream.write(data)
        self.wrote += data

    def flush(self, now: float) -> None:
        parts = self.stream.parts_to_send(now)
        assert all(len(part.piece) <= STREAM_PIECE and (part.number == 0) == (not part.piece) for part in parts)
        assert len(self.stream._flying) <= STREAM_WINDOW
        due = self.stream.deadline()
        assert due is None or due > now or due == 0.0, "a deadline that is always due"
        self.flying += parts

    def take(self, part: StreamPart, now: float) -> None:
        """Malformed parts are without effect."""
        before = _state(self.stream)
        try:
            self.stream.receive(part, now)
        except Malformed as error:
            assert error.reason in ("ack_of_unsent", "beyond_window")
            assert _state(self.stream) == before
        self.read += self.stream.read()
        assert len(self.stream._arrived) <= STREAM_WINDOW
        assert 0 <= self.stream.acked <= self.stream.written == len(self.wrote)


def _state(stream: ReliableStream) -> object:
    return (
        stream.acked,
        list(stream._flying),
        dict(stream._arrived),
        stream._cumulative,
        stream.rtt.rto,
        stream._ack_due,
    )


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices, now, forged = Choices(data), 0.0, False
    ends = End(1), End(2)
    for _ in range(STEPS_MAX):
        if not choices:
            break
        index = choices.below(2)
        one, other = ends[index], ends[1 - index]
        match choices.below(6):
            case 0:
                one.write(choices.chunk(8_000))
            case 1:
                now += choices.pick(SECONDS)
                one.flush(now)
            case 2 if one.flying:  # in order, out of order, or lost
                part = one.flying.pop(choices.u8() % len(one.flying))
                if choices.below(4):
                    other.take(part, now)
            case 3 if one.flying:  # a copy
                other.take(one.flying[choices.u8() % len(one.flying)], now)
            case 4:
                piece = choices.chunk(STREAM_PIECE)
                number = choices.integer() & 0xFFFFFFFF if piece else 0
                acks = choices.integer() & 0xFFFFFFFF, choices.integer() & 0xFFFFFFFF
                forged = True
                other.take(StreamPart(number, *acks, piece), now)
            case 5:
                one.stream.send_soon(now)
    if not forged:
        _drain(ends, now)
    for end, peer in (ends, ends[::-1]):
        if not forged:
            assert end.read == peer.wrote and peer.stream.all_acked


def _drain(ends: tuple[End, End], now: float) -> None:
    """The network is calm at last."""
    for _ in range(DRAIN_ROUNDS):
        for one, other in (ends, ends[::-1]):
            one.flush(now)
            flying, one.flying = one.flying, []
            for part in flying:
                other.take(part, now)
        if all(end.stream.all_acked for end in ends):
            return
        now += 0.1
