"""The Switch's door to its fast path: worker threads that forward, and what they leave for Python.

Each worker has one socket per listen address; the kernel spreads sources over the workers (SO_REUSEPORT). Python reads
events after `fileno` is readable and answers with `send`, at its own pace: a slow or failing Python side loses events,
which are counted, and never a forwarded packet.

An answer leaves from the socket and the local address that its peer last wrote to. Forwarded packets leave from the
first listen address that reaches the destination's family, with the address that the kernel chooses: a machine with
several addresses of one family names the one that nodes use in `listen` instead of a wildcard.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from ovng._fast import switch
from ovng._fast.table import Table
from ovng._fast.udp import gso_limit, stamp
from ovng.config.values import Endpoint
from ovng.errors import SystemProblem
from ovng.ids import LOCATOR_SIZE, Locator, NodeID
from ovng.io.sockets import UdpSocket, check_port_free, open_udp, send_to

EndpointEvent: TypeAlias = tuple[Literal["endpoint"], int, Locator, bytes]
"""A datagram for the Switch itself: worker, source, datagram."""
UnmatchedEvent: TypeAlias = tuple[Literal["unmatched"], int, Locator, bytes, bool, int]
"""A source that is not where the table says: worker, source, header (28 bytes), whether its ID is attached, length."""
SwitchEvent: TypeAlias = EndpointEvent | UnmatchedEvent

RING_BYTES = 256 << 10  # per worker and ring: 200 of the largest datagrams
BATCH_GRO, BATCH_SINGLE = 16, 64  # messages per receive
KNOWN_PER_CALL, STRANGERS_PER_CALL = 256, 64  # events: strangers wait, and do not make others wait
ORIGINS_MAX = 8192
STOP_SECONDS = 5.0

_LOCAL_END = LOCATOR_SIZE + 16
_HEAD_SIZE = _LOCAL_END + 4


def make_table(capacity: int) -> Table:
    """The forwarding table for at most `capacity` nodes, hashed under a key of its own."""
    return Table(capacity, secrets.token_bytes(16))


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
        for udp in (udp for row in self._sockets for udp in row if short_queue):
            stamp(udp.sock.fileno())
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._workers: list[switch.Worker] = []
        self._origins: OrderedDict[Locator, tuple[UdpSocket, bytes]] = OrderedDict()
        self._threads: list[threading.Thread] = []
        self._failure: OSError | None = None
        self._sent: Counter[str] = Counter()
        batch = BATCH_GRO if self.gro else BATCH_SINGLE
        key = secrets.token_bytes(16)
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

    def events(self) -> list[SwitchEvent]:
        """What waits, attached nodes' first; some may be left, and `fileno` stays readable then.

        Raises SystemProblem when a worker's socket has failed.
        """
        if self._event_fd < 0:  # stopped: the rings know its number still, which may be another file's by now
            return []
        switch.acknowledge(self._event_fd)
        if self._failure is not None:
            raise SystemProblem(f"forwarding stopped: {self._failure.strerror}")
        events: list[SwitchEvent] = []
        for index, worker in enumerate(self._workers):
            events += [self._event(index, kind, record) for kind, record in worker.drain_known(KNOWN_PER_CALL)]
        for index, worker in enumerate(self._workers):
            events += [self._event(index, kind, record) for kind, record in worker.drain_strangers(STRANGERS_PER_CALL)]
        return events

    def send(self, datagram: bytes, locator: Locator) -> bool:
        """Send one datagram of the Switch's own; False, and counted in `stats`, when it could not leave."""
        origin = self._origins.get(locator)
        if origin is None:
            row = self._sockets[0]
            mapped = locator.ip.version == 4
            index = _first(udp.reaches_v4 if mapped else udp.reaches_v6 for udp in row)
            if index < 0:
                self._sent["endpoint_send_unreachable"] += 1
                return False
            origin = row[index], bytes(16)
        udp, local = origin
        if not send_to(udp.sock, datagram, locator, local):
            self._sent["endpoint_send_failed"] += 1
            return False
        self._sent["endpoint_sent"] += 1
        return True

    def stats(self) -> dict[str, int]:
        """Counters by name, summed over the workers; `drop_…` are datagrams, each under its own reason."""
        total: Counter[str] = Counter()
        for worker in self._workers:
            total.update(worker.counters())
        total.update(self._sent)
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

    def _event(self, worker: int, kind: int, record: bytes) -> SwitchEvent:
        source = Locator.unpack(record[:LOCATOR_SIZE])
        udp = self._sockets[worker][kind >> 8]
        self._origins[source] = udp, record[LOCATOR_SIZE:_LOCAL_END]
        self._origins.move_to_end(source)
        if len(self._origins) > ORIGINS_MAX:
            self._origins.popitem(last=False)
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
