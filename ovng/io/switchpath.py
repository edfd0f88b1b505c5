"""The Switch's door to its fast path: worker threads that forward, and what they leave for Python.

Each worker has one socket per listen address; the kernel spreads sources over the workers (SO_REUSEPORT). Python reads
events after `fileno` is readable and answers with `send`, at its own pace: a slow or failing Python side loses events,
which are counted, and never a forwarded packet. What nearly all reports ask is answered before Python sees it
(`_fast/reports`), a batch at a time, in the order in which they came.

An answer leaves from the socket and the local address that its peer last wrote to. Forwarded packets leave from the
first listen address that reaches the destination's family, with the address that the kernel chooses: a machine with
several addresses of one family names the one that nodes use in `listen` instead of a wildcard.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

from ovng import limits
from ovng._fast import switch
from ovng._fast.reports import Reports
from ovng._fast.table import Table
from ovng._fast.udp import Sender, gso_limit, stamp
from ovng.config.values import Endpoint
from ovng.errors import SystemProblem
from ovng.forwarding.store import Out, Replay
from ovng.forwarding.terms import Terms
from ovng.ids import LOCATOR_SIZE, MAPPED, Locator, NodeID
from ovng.io.sockets import UdpSocket, check_port_free, open_udp, send_to

EndpointEvent: TypeAlias = tuple[Literal["endpoint"], int, Locator, bytes]
"""A datagram for the Switch itself: worker, source, datagram."""
UnmatchedEvent: TypeAlias = tuple[Literal["unmatched"], int, Locator, bytes, bool, int]
"""A source that is not where the table says: worker, source, header (28 bytes), whether its ID is attached, length."""
SwitchEvent: TypeAlias = EndpointEvent | UnmatchedEvent

RING_BYTES = 2 << 20  # per worker and ring: 6,000 reports with their tickets
BATCH_GRO, BATCH_SINGLE = 16, 64  # messages per receive
KNOWN_PER_CALL, STRANGERS_PER_CALL = 256, 64  # events: strangers wait, and do not make others wait
RECORDS_PER_CALL = (
    1024  # per ring, with those that need no event: 10 ms at most until timers and others have their turn
)
RECORDS_PER_BATCH = 64
ORIGINS_MAX = 8192
STOP_SECONDS = 5.0

_LOCAL_END = LOCATOR_SIZE + 16
_HEAD_SIZE = _LOCAL_END + 4


def make_table(capacity: int) -> Table:
    """The forwarding table for at most `capacity` nodes, hashed under a key of its own."""
    return Table(capacity, os.urandom(16))


class SwitchDataPath:
    """Forwarding between attached nodes by `table`, from `start` to `stop`. Use from one thread."""

    def __init__(
        self,
        switch_id: NodeID,
        listen: Sequence[Endpoint],
        table: Table,
        *,
        workers: int = 1,
        gro: bool = True,
        gso: bool = True,
        short_queue: bool = True,
        ring_bytes: int = RING_BYTES,
    ) -> None:
        """Bind every listen address (numeric hosts; port 0 = any). Raises SystemProblem with one line for the user.

        Without `short_queue` nothing is dropped for having waited too long.
        """
        if not listen or workers < 1:
            raise ValueError("at least one listen address and one worker")
        self.gso_segments = gso_limit() if gso else 1
        """Datagrams per segmented send; 1 = this kernel has no UDP GSO, or it is off."""
        self._sockets = _open_all(listen, workers, gro)
        stamped = [stamp(udp.sock.fileno()) for row in self._sockets for udp in row if short_queue]
        self.timestamps = short_queue and all(stamped)
        """Whether the kernel says when datagrams came; without, nothing is dropped for having waited."""
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._workers: list[switch.Worker] = []
        self._reports = Reports(table)
        self._senders = [[Sender(udp.sock.fileno(), 1) for udp in row] for row in self._sockets]
        self._origins: OrderedDict[bytes, tuple[int, int, bytes]] = OrderedDict()
        self._threads: list[threading.Thread] = []
        self._failure: OSError | None = None
        self._sent: Counter[str] = Counter()
        batch = BATCH_GRO if self.gro else BATCH_SINGLE
        key = os.urandom(16)
        try:
            for row in self._sockets:
                worker = switch.Worker(
                    table,
                    switch_id,
                    [udp.sock.fileno() for udp in row],
                    _first(udp.reaches_v4 for udp in row),
                    _first(udp.reaches_v6 for udp in row),
                    self._event_fd,
                    key,
                    batch=batch,
                    segments_max=self.gso_segments,
                    ring_bytes=ring_bytes,
                    tail_bytes=1 << (limits.TAIL_TOTAL // len(self._sockets)).bit_length() - 1,
                )
                self._workers.append(worker)
        except BaseException:
            self.stop()
            raise

    @property
    def gro(self) -> bool:
        """Whether every socket receives whole trains."""
        return all(udp.gro for row in self._sockets for udp in row)

    @property
    def addresses(self) -> list[Endpoint]:
        """What is listened on; port 0 has become a real one."""
        return [Endpoint(*udp.sock.getsockname()[:2]) for udp in self._sockets[0]]

    def start(self) -> None:
        """Start forwarding."""
        for index, worker in enumerate(self._workers):
            thread = threading.Thread(target=self._run, args=(worker,), name=f"forward-{index}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Finish the workers' last batch, and close the sockets. Does nothing the second time."""
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
            if thread.is_alive():  # its sockets and memory must outlive it
                raise SystemProblem("a forwarding thread does not end")
        self._threads.clear()
        for row in self._sockets:
            for udp in row:
                udp.sock.close()
        if self._event_fd >= 0:
            os.close(self._event_fd)
            self._event_fd = -1

    def fileno(self) -> int:
        """An eventfd: readable when `events` has something, or a worker has failed."""
        return self._event_fd

    def events(self, terms: Callable[[], Terms] | None = None) -> Iterator[SwitchEvent]:
        """What waits and needs Python, attached nodes' first; some may be left, and `fileno` stays readable then.

        Handle each event before the next is taken: reports are answered in between, on `terms` (None = all of them
        are events). Raises SystemProblem when a worker's socket has failed.
        """
        if self._event_fd < 0:  # stopped: the rings know its number still, which may be another file's by now
            return
        switch.acknowledge(self._event_fd)
        if self._failure is not None:
            raise SystemProblem(f"forwarding stopped: {self._failure.strerror}")
        for index, worker in enumerate(self._workers):
            yield from self._drain(index, worker.drain_known, KNOWN_PER_CALL, terms)
        for index, worker in enumerate(self._workers):
            yield from self._drain(index, worker.drain_strangers, STRANGERS_PER_CALL, terms)

    def send(self, datagram: bytes, locator: Locator) -> bool:
        """Send one datagram of the Switch's own; False, and counted in `stats`, when it could not leave."""
        origin = self._origin(locator.packed())
        if origin is None:
            self._sent["endpoint_send_unreachable"] += 1
            return False
        worker, index, local = origin
        if not send_to(self._sockets[worker][index].sock, datagram, locator, local):
            self._sent["endpoint_send_failed"] += 1
            return False
        self._sent["endpoint_sent"] += 1
        return True

    def send_all(self, answers: Iterable[Out]) -> None:
        """Send many in few calls; what cannot leave is counted in `stats`."""
        for datagram, locator in answers:
            self._queue(datagram, locator.packed())
        self._flush()

    def send_start_hints(self, entries: bytes, terms: Terms) -> None:
        """Call the nodes of these entries of a snapshot, as `Registrar.tick` would."""
        for packed, datagram in self._reports.start_hints(entries, terms):
            self._queue(datagram, packed)
        self._flush()

    def replay(self, replay: Replay) -> None:
        """Send again what was sent to a node last, to where it is now."""
        for worker in self._workers:
            worker.replay(replay.node, replay.rest)

    def stats(self) -> dict[str, int]:
        """Counters by name, summed over the workers; `drop_…` are datagrams, each under its own reason."""
        total: Counter[str] = Counter()
        for worker in self._workers:
            total.update(worker.counters())
        total.update(self._sent)
        for sender in (sender for row in self._senders for sender in row):
            counted = sender.counters()
            total["endpoint_sent"] += counted["sent"]
            total["endpoint_send_failed"] += sum(n for name, n in counted.items() if name.startswith("send_"))
        return dict(total)

    def worker_stats(self) -> list[dict[str, int]]:
        """The same for each worker."""
        return [worker.counters() for worker in self._workers]

    def _run(self, worker: switch.Worker) -> None:
        try:
            worker.run()
        except OSError as error:
            self._failure = error
            os.eventfd_write(self._event_fd, 1)

    # -- Events

    def _drain(
        self,
        worker: int,
        drain: Callable[[int], list[tuple[int, bytes]]],
        events_max: int,
        terms: Callable[[], Terms] | None,
    ) -> Iterator[SwitchEvent]:
        """One ring, up to its share for this call. A batch that was taken is finished."""
        records_left = RECORDS_PER_CALL if terms is not None else events_max
        while records_left > 0 and events_max > 0:
            records = drain(min(RECORDS_PER_BATCH, records_left))
            if not records:
                return
            records_left -= len(records)
            for kind, record in records:
                self._note_origin(worker, kind >> 8, record)
            at = 0
            while True:
                if terms is not None:
                    at = self._answer(worker, records, at, terms)
                if at == len(records):
                    break
                yield self._event(worker, *records[at])
                events_max -= 1
                at += 1

    def _answer(self, worker: int, records: list[tuple[int, bytes]], at: int, terms: Callable[[], Terms]) -> int:
        """Answer reports from number `at` on; the number of the first record that is an event."""
        answers: list[tuple[int, bytes]] = []
        at = self._reports.answer(records, at, terms, answers)
        for number, datagram in answers:
            kind, record = records[number]
            self._senders[worker][kind >> 8].queue_one(record[:LOCATOR_SIZE], datagram, record[LOCATOR_SIZE:_LOCAL_END])
        if answers:
            self._flush()
        return at

    def _flush(self) -> None:
        for row in self._senders:
            for sender in row:
                sender.flush()

    def _queue(self, datagram: bytes, to: bytes) -> None:
        origin = self._origin(to)
        if origin is None:
            self._sent["endpoint_send_unreachable"] += 1
        else:
            worker, index, local = origin
            self._senders[worker][index].queue_one(to, datagram, local)

    def _note_origin(self, worker: int, index: int, record: bytes) -> None:
        source = record[:LOCATOR_SIZE]
        self._origins[source] = worker, index, record[LOCATOR_SIZE:_LOCAL_END]
        self._origins.move_to_end(source)
        if len(self._origins) > ORIGINS_MAX:
            self._origins.popitem(last=False)

    def _origin(self, locator: bytes) -> tuple[int, int, bytes] | None:
        """Worker, socket and local address for what goes to a locator (18 bytes); None where none reaches it."""
        origin = self._origins.get(locator)
        if origin is not None:
            return origin
        mapped = locator.startswith(MAPPED)
        index = _first(udp.reaches_v4 if mapped else udp.reaches_v6 for udp in self._sockets[0])
        return None if index < 0 else (0, index, bytes(16))

    def _event(self, worker: int, kind: int, record: bytes) -> SwitchEvent:
        source = Locator.unpack(record[:LOCATOR_SIZE])
        kind &= 0xFF
        if kind == switch.ENDPOINT:
            return "endpoint", worker, source, record[_HEAD_SIZE:]
        length = int.from_bytes(record[_LOCAL_END:_HEAD_SIZE], "big")
        return "unmatched", worker, source, record[_HEAD_SIZE:], kind == switch.UNMATCHED, length


def _first(truths: Iterable[bool]) -> int:
    """Index of the first true one, or -1."""
    return next((index for index, truth in enumerate(truths) if truth), -1)


def _open_all(listen: Sequence[Endpoint], workers: int, gro: bool) -> list[list[UdpSocket]]:
    """One row of sockets per worker, in the order of `listen`."""
    v4_wildcards = {endpoint.port for endpoint in listen if endpoint.host == "0.0.0.0"}
    shared = workers > 1
    rows: list[list[UdpSocket]] = [[] for _ in range(workers)]
    try:
        for host, port in listen:
            v6_only = host == "::" and port in v4_wildcards
            if shared and port:
                check_port_free(host, port, v6_only=v6_only)
            for row in rows:
                udp = open_udp(host, port, reuse_port=shared, v6_only=v6_only, gro=gro)
                row.append(udp)
                port = udp.sock.getsockname()[1]  # the first row has chosen for all
    except BaseException:
        for row in rows:
            for udp in row:
                udp.sock.close()
        raise
    return rows
