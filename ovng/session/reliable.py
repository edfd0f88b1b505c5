"""A reliable byte stream both ways over datagrams that get lost, doubled, delayed and reordered (PROTOCOL 3).

Theory
------
Bytes are cut into numbered messages of at most 1100 bytes; a message is never cut anew, so a number always means the
same bytes. The sender keeps at most 12 unacknowledged, the receiver holds at most 12 beyond the last one in order:
both ends are bounded whatever the other does.

Each message has its own timer, because under heavy loss one shared timer (as TCP's) recovers one loss per round trip.
The first wait is the estimator's RTO, and doubles per try up to 2 s. By Karn's rule only messages sent once are
measured; when an acknowledgement comes that cannot be measured, the wait that led to it stays in force for new
messages until one can be (RFC 6298, 5.5-5.7), so that a path slower than the first RTO is learnt at all.

A message that three later ones overtook is lost rather than late and is sent again at once. Every part carries the
acknowledgements of the other direction; one that has nothing else to say waits 20 ms for company, but not when it
reports a gap or a duplicate, which the peer waits for.

There is no check sum: TLS above it finds changed bytes, and nothing here is believed beyond its form.
"""

from __future__ import annotations

from collections import deque

from ovng.errors import Malformed
from ovng.limits import (
    ACK_DELAY,
    EARLY_RESEND_ACKS,
    RTO_INITIAL,
    RTO_JITTER,
    RTO_MAX,
    RTO_MIN,
    STREAM_PIECE,
    STREAM_WINDOW,
)
from ovng.session.backoff import Random, jittered
from ovng.wire.control import StreamPart


class RttEstimator:
    """RFC 6298 with this protocol's bounds. Seconds."""

    __slots__ = ("_rttvar", "rto", "srtt")

    def __init__(self) -> None:
        self.srtt: float | None = None
        self._rttvar = 0.0
        self.rto = RTO_INITIAL

    def sample(self, rtt: float) -> None:
        """A round trip that was measured without doubt about which sending it answers."""
        if self.srtt is None:
            self.srtt, self._rttvar = rtt, rtt / 2
        else:
            self._rttvar = 0.75 * self._rttvar + 0.25 * abs(self.srtt - rtt)
            self.srtt = 0.875 * self.srtt + 0.125 * rtt
        self.rto = min(max(self.srtt + 4 * self._rttvar, RTO_MIN), RTO_MAX)

    def keep_backoff(self, wait: float) -> None:
        """An answer came that may belong to any of several sendings, the last after `wait`."""
        self.rto = max(self.rto, wait)


class _Message:
    """One message on its way."""

    __slots__ = ("due", "end", "hurried", "number", "overtaken", "piece", "sent", "tries", "wait")

    def __init__(self, number: int, piece: bytes, end: int, wait: float) -> None:
        self.number, self.piece, self.end, self.wait = number, piece, end, wait
        self.tries = self.overtaken = 0
        self.sent = self.due = 0.0
        self.hurried = False

    def hurry(self, now: float) -> None:
        """Send again before the timer says so, which is no reason to wait longer next time."""
        if self.due > now:
            self.due, self.hurried = now, True


class ReliableStream:
    """One end of the stream. All times are seconds on the monotonic clock."""

    def __init__(self, random: Random) -> None:
        self.rtt = RttEstimator()
        self.written = 0
        """Bytes taken by `write` so far."""
        self.acked = 0
        """Bytes that have arrived at the peer, without gap."""
        self.progress_at: float | None = None
        """When something was acknowledged last."""
        self.waiting_since: float | None = None
        """Since when the peer owes an acknowledgement (first sending or last progress); None = it owes none."""
        self._random = random
        self._queue: deque[memoryview] = deque()
        self._flying: dict[int, _Message] = {}  # by number, rising
        self._next_number = 1
        self._sent_bytes = 0
        self._arrived: dict[int, bytes] = {}  # beyond a gap
        self._cumulative = 0
        self._unread: list[bytes] = []
        self._ack_due: float | None = None

    # -- Sending

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer. The caller bounds how much."""
        if data:
            self._queue.append(memoryview(data))
            self.written += len(data)

    def parts_to_send(self, now: float) -> list[StreamPart]:
        """What must go out now, oldest first; it counts as sent."""
        pieces = []
        for message in self._flying.values():
            if message.due <= now:
                pieces.append(message)
                if not message.hurried:
                    message.wait = min(message.wait * 2, RTO_MAX)
        while self._queue and self._next_number <= self._window_end():
            pieces.append(self._cut())
        if not pieces and (self._ack_due is None or self._ack_due > now):
            return []
        for message in pieces:
            message.tries += 1
            message.overtaken, message.hurried = 0, False
            message.sent = now
            message.due = now + jittered(message.wait, RTO_JITTER, self._random)
        selective = self._selective()
        self._ack_due = None
        if not pieces:
            return [StreamPart(0, self._cumulative, selective, b"")]
        if self.waiting_since is None:
            self.waiting_since = now
        return [StreamPart(message.number, self._cumulative, selective, message.piece) for message in pieces]

    def deadline(self) -> float | None:
        """When `parts_to_send` has something to send."""
        if self._queue and self._next_number <= self._window_end():
            return 0.0
        due = self._ack_due
        for message in self._flying.values():
            if due is None or message.due < due:
                due = message.due
        return due

    def send_soon(self, now: float) -> None:
        """The path is new or back: do not wait for timers that were set for the old one."""
        for message in self._flying.values():
            message.hurry(now)

    @property
    def all_acked(self) -> bool:
        """Everything written has arrived."""
        return not self._flying and not self._queue

    @property
    def srtt(self) -> float | None:
        """Smoothed round-trip time; None before the first measurement."""
        return self.rtt.srtt

    @property
    def backlog(self) -> int:
        """Bytes written that the peer has not acknowledged."""
        return self.written - self.acked

    # -- Receiving

    def receive(self, part: StreamPart, now: float) -> None:
        """Take one part, untrusted. Raises Malformed("ack_of_unsent" or "beyond_window"); it is then without effect."""
        if part.cumulative + part.selective.bit_length() >= self._next_number:
            raise Malformed("ack_of_unsent")
        if part.number > self._cumulative + STREAM_WINDOW:
            raise Malformed("beyond_window")
        self._take_acks(part, now)
        if part.number:
            self._take_piece(part, now)

    def acknowledge_now(self, now: float) -> None:
        """Let the acknowledgement that is due go out without delay."""
        if self._ack_due is not None:
            self._ack_due = now

    def read(self) -> bytes:
        """All bytes that have arrived in order since the last call."""
        data = b"".join(self._unread)
        self._unread.clear()
        return data

    # -- Inside

    def _cut(self) -> _Message:
        """The next message: as many queued bytes as fit."""
        piece = bytearray()
        while self._queue and len(piece) < STREAM_PIECE:
            head = self._queue.popleft()
            room = STREAM_PIECE - len(piece)
            piece += head[:room]
            if len(head) > room:
                self._queue.appendleft(head[room:])
        self._sent_bytes += len(piece)
        message = _Message(self._next_number, bytes(piece), self._sent_bytes, self.rtt.rto)
        self._flying[message.number] = message
        self._next_number += 1
        return message

    def _window_end(self) -> int:
        oldest = next(iter(self._flying), self._next_number)
        return oldest + STREAM_WINDOW - 1

    def _selective(self) -> int:
        bits = 0
        for number in self._arrived:
            bits |= 1 << number - self._cumulative - 1
        return bits

    def _take_acks(self, part: StreamPart, now: float) -> None:
        newly = []
        for message in self._flying.values():
            offset = message.number - part.cumulative - 1
            if offset < 0 or part.selective >> offset & 1:
                newly.append(message)
        if not newly:
            return
        measured = None
        for message in newly:
            del self._flying[message.number]
            if message.tries > 1:
                self.rtt.keep_backoff(message.wait)
            else:
                measured = message
        if measured is not None:
            self.rtt.sample(now - measured.sent)
        oldest = next(iter(self._flying.values()), None)
        self.acked = oldest.end - len(oldest.piece) if oldest else self._sent_bytes
        self.progress_at = now
        self.waiting_since = now if oldest else None
        for late in self._flying.values():
            late.overtaken += sum(1 for message in newly if message.number > late.number and message.sent >= late.sent)
            if late.overtaken >= EARLY_RESEND_ACKS:
                late.hurry(now)

    def _take_piece(self, part: StreamPart, now: float) -> None:
        if part.number <= self._cumulative or part.number in self._arrived:
            self._ack_due = now  # our acknowledgement was lost
            return
        self._arrived[part.number] = part.piece
        while self._cumulative + 1 in self._arrived:
            self._cumulative += 1
            self._unread.append(self._arrived.pop(self._cumulative))
        due = now if self._arrived else now + ACK_DELAY
        if self._ack_due is None or due < self._ack_due:
            self._ack_due = due
