"""The Switch's side of attachment: one face over reports, hints, grants, tickets, revocation and resolution.

    SessionManager ── AttachRequested ──► attach ──► Grant        AttachSettled ──► settle
    forwarding loop ── REPORT ──► handle_report      PRIVATE ──► handle_private      unmatched ──► handle_unmatched
    files ◄── snapshot, ticket_keys                  files ──► restore, load_ticket_keys, set_crl

Every `handle_…` takes bytes that anybody may have sent and raises nothing; what is wrong with them is in `counters`.
All state about nodes is in the table, in the directory's columns and, for seconds, in the moves under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.fields import Frozen
from ovng.forwarding.attachments import Attachments
from ovng.forwarding.directory import Directory, Key, prefix_of
from ovng.forwarding.hints import Hints
from ovng.forwarding.moves import Moves, confirmed_locator, standby_locators
from ovng.forwarding.reports import Reports
from ovng.forwarding.resolution import Resolution
from ovng.forwarding.revocation import Revocation
from ovng.forwarding.snapshot import StartHints, pack_snapshot, parse_entries
from ovng.forwarding.store import AeadFactory, NodeTable, Out, Random, Replay
from ovng.forwarding.terms import Terms
from ovng.forwarding.tickets import TicketKeys
from ovng.forwarding.walk import TableWalk
from ovng.ids import Locator, NodeID, Prefix
from ovng.pki.identity import Identity
from ovng.session.keys import master_keys
from ovng.wire.header import PacketType, parse_header
from ovng.wire.inner import Attach, Grant
from ovng.wire.private import parse_sealed
from ovng.wire.report import NAK_SIZE, Common, Nak, NakReason

_TICK = 1.0  # seconds between ticks of an idle Switch
_BUSY_TICK = 0.05  # while a walk is under way or hints wait
_AGED_MIN = 1_000  # nodes per step; a large table takes _AGING_SECONDS
_AGING_SECONDS = 30.0


class NodeInfo(Frozen):
    """One attached node, for status. Times in seconds from now."""

    node: NodeID
    locator: Locator | None
    provisional: Locator | None
    grant: int
    grant_seconds: float
    lease_seconds: float
    has_private_keys: bool
    standby: tuple[Locator, ...]
    """Of its other paths."""


class Registrar:
    """Not thread-safe; the table's only writer."""

    def __init__(
        self,
        switch_id: NodeID,
        table: NodeTable,
        random: Random,
        seal: AeadFactory,
        now: Now,
        network: tuple[Prefix, ...] = (),
    ) -> None:
        """`network`: the network's own prefixes, whose single addresses are members and not routes."""
        self.counters: Counter[str] = Counter()
        self.boot_id = int.from_bytes(random(8), "big")
        self._switch_id, self._table = switch_id, table
        self._tickets = TicketKeys(switch_id, seal, random)
        self._tickets.rotate(now.wall)
        self._moves = Moves(table)
        self._directory = Directory(network, self._holds)
        self._attachments = Attachments(table, self._directory, self._tickets, self._moves, self.boot_id)
        self._hints = Hints(switch_id, self.boot_id, random)
        self._revocation = Revocation(switch_id, self.boot_id, table, self._attachments)
        self._reports = Reports(
            switch_id,
            self.boot_id,
            table,
            self._attachments,
            self._tickets,
            self._moves,
            self._hints,
            self._revocation,
            self.counters,
        )
        self._resolution = Resolution(
            switch_id, table, self._attachments, self._directory, random, seal, now, self.counters
        )
        self._start_hints = StartHints()
        self._aging = TableWalk(table)
        self._next_tick = self._next_step = now.mono

    # -- From the network

    def handle_report(self, datagram: bytes, source: Locator, now: Now) -> list[Out]:
        """A datagram of type REPORT. Untrusted."""
        out = self._reports.handle_untrusted(datagram, source, now)
        self._tell_changes(now)
        return out

    def terms(self, now: Now) -> Terms:
        """On which the compiled report path may answer by itself, now; what it leaves comes to `handle_report`."""
        return Terms(
            self._switch_id,
            self.boot_id,
            now.boot,
            now.wall,
            self._attachments.crl_number,
            self._attachments.revoked,
            self._hints.cookie_secrets(now),
            self._tickets.packed,
            self._attachments.waiting,
            lambda locator, node: self._hints.may_challenge(locator, node, now),
            lambda node, grant, prefixes: self._learn(node, grant, prefixes, now),
            self.counters,
        )

    def replays(self) -> list[Replay]:
        """To whom the tail is to be sent again, drained."""
        out = self._reports.replays[:]
        self._reports.replays.clear()
        return out

    def handle_private(self, datagram: bytes, source: Locator, now: Now) -> list[Out]:
        """A datagram of type PRIVATE. Untrusted."""
        try:
            header = parse_header(datagram)
            if header.type != PacketType.PRIVATE or header.flags or header.key_id or header.number:
                raise Malformed("private_header")
            parts = parse_sealed(datagram)
        except Malformed as error:
            return self._drop(error.reason)
        node = header.src
        record = self._attachments.find(node, now)
        if header.dst != self._switch_id:
            return self._drop("not_for_me")
        if record is None:
            self.counters["private_unattached"] += 1
            return self._hints.challenge_data(node, header.number, source, len(datagram), now)
        state, move = self._table.locators(node), self._moves.of(node)
        if state is None or source.packed() not in state[0]:
            self.counters["private_elsewhere"] += 1
            return self._hints.mismatch_data(node, header.number, source, len(datagram), now)
        if move is not None and move.locator == source.packed():
            return self._drop("private_provisional")
        if record.has_private_keys:
            return self._resolution.answer(node, record, parts, source, now)
        self.counters["nak_no_private_keys"] += 1
        if len(datagram) < NAK_SIZE or not self._hints.may_answer(node, source, now):
            return []
        echo = int.from_bytes(parts.nonce[:8], "big")
        common = Common(node, self._switch_id, echo, self.boot_id, record.grant)
        nak = Nak(common, NakReason.NO_PRIVATE_KEYS, 0)
        return [Out(nak.pack(master_keys(record.report_master)[1]), source)]

    def handle_unmatched(self, header: bytes, source: Locator, attached: bool, length: int, now: Now) -> list[Out]:
        """The forwarding loop met DATA or CONTROL of `length` bytes whose source is not where the table says.

        `header`: its first 28 bytes. Untrusted.
        """
        try:
            parsed = parse_header(header)
        except Malformed as error:
            return self._drop(error.reason)
        if attached:
            return self._hints.mismatch_data(parsed.src, parsed.number, source, length, now)
        return self._hints.challenge_data(parsed.src, parsed.number, source, length, now)

    # -- From the session layer

    def attach(
        self,
        identity: Identity,
        request: Attach,
        context: bytes,
        report_master: bytes,
        private_master: bytes,
        now: Now,
    ) -> Grant:
        """Answer a proved node's ATTACH, which came from `context` (packed locator, 18 bytes)."""
        source = Locator.unpack(context)
        grant = self._attachments.attach(identity, request, source, report_master, private_master, now)
        self.counters["attach_granted" if grant.grant else "attach_refused"] += 1
        return grant

    def settle(self, node: NodeID, report_master: bytes, now: Now) -> list[Out]:
        """The node has the grant of this report master: from now on it is attached under it."""
        replaced = self._attachments.settle(node, report_master, now)
        record = self._attachments.find(node, now)
        self._tell_changes(now)
        return [] if record is None else self._reports.tell_superseded(node, replaced, record)

    def set_crl(self, number: int, der: bytes, serials: Iterable[int]) -> None:
        """A revocation list, proved by the caller, is in force: its serials lose their attachments, all are told."""
        self._revocation.set_crl(number, der, frozenset(serials))

    # -- Time

    def deadline(self, now: Now) -> float:
        """When `tick` must be called at the latest, on the monotonic clock."""
        parts = (self._revocation, self._resolution, self._aging)
        due = self._next_step if any(part.active for part in parts) else self._next_tick
        times = (due, self._moves.deadline(), self._start_hints.deadline())
        return max(now.mono, min(at for at in times if at is not None))

    def start_hints(self, now: Now) -> bytes:
        """Entries of the snapshot whose nodes are to be called now, for who makes their hints faster than `tick`."""
        return self._start_hints.due(now.mono, self.counters["tickets_taken"])

    def tick(self, now: Now) -> list[Out]:
        """Do what is due; harmless when nothing is."""
        out = [
            self._hints.challenge_start(node, locator, now)
            for node, locator in parse_entries(self.start_hints(now))
            if self._table.record(node) is None
        ]
        for node in self._moves.handle_timer(now.mono):
            record = self._attachments.find(node, now)
            if record is not None:
                self._moves.restore(node, record)
                self.counters["moves_restored"] += 1
        if now.mono >= self._next_tick:
            self._next_tick = now.mono + _TICK
            self._tickets.rotate(now.wall)
            self._resolution.sweep(now)
            if not self._aging.active:
                self._aging.begin()
        return out + self._step(now) if now.mono >= self._next_step else out

    def _step(self, now: Now) -> list[Out]:
        """One step of every walk under way."""
        self._next_step = now.mono + _BUSY_TICK
        out = self._revocation.handle_timer(now.boot)
        for aged in self._aging.step(max(_AGED_MIN, int(len(self._table) * _BUSY_TICK / _AGING_SECONDS))):
            ended = self._attachments.age(aged, now)
            if ended is not None:
                self.counters[ended] += 1
        return out + self._resolution.handle_timer(now)

    # -- Files

    def snapshot(self) -> Iterator[bytes]:
        """Pieces of what `restore` takes after a restart; the caller may do other things between them."""
        return pack_snapshot(self._table)

    def restore(self, data: bytes, now: Now) -> int:
        """Call the nodes of a snapshot, spread over a second; their number. Raises Malformed."""
        return self._start_hints.load(data, now.mono)

    @property
    def ticket_keys_changed(self) -> bool:
        """True if `ticket_keys()` must be stored (before a grant goes out, for it to outlive a crash)."""
        return self._tickets.changed

    def ticket_keys(self) -> bytes:
        """The keys that seal tickets, for a file that nobody else can read."""
        return self._tickets.dump()

    def load_ticket_keys(self, data: bytes, now: Now) -> None:
        """Take up stored ticket keys. Raises Malformed."""
        self._tickets.load(data)
        self._tickets.rotate(now.wall)

    # -- Status

    def __len__(self) -> int:
        return len(self._table)

    def nodes(self, now: Now) -> Iterator[NodeInfo]:
        """All attached nodes."""
        for node in self._table.ids():
            record = self._attachments.find(node, now)
            if record is None:
                continue
            move = self._moves.of(node)
            yield NodeInfo(
                NodeID(node),
                confirmed_locator(self._table, node),
                None if move is None else Locator.unpack(move.locator),
                record.grant,
                record.ends - now.boot,
                max(0.0, max(record.lease) - now.boot),
                record.has_private_keys,
                standby_locators(self._table, node),
            )

    # -- Inside

    def _holds(self, node: int, grant: int) -> bool:
        return self._attachments.holds(node, grant)

    def _learn(self, node: int, grant: int, prefixes: Iterable[Key], now: Now) -> None:
        """As `Attachments.learn`; only who has asked is told."""
        for key in prefixes:
            if self._directory.add_key(key, node, grant) and self._resolution.was_asked:
                self._attachments.changed.append(prefix_of(key))
        self._tell_changes(now)

    def _tell_changes(self, now: Now) -> None:
        if self._attachments.changed:
            self._resolution.changed(self._attachments.changed, now)
            self._attachments.changed.clear()

    def _drop(self, reason: str) -> list[Out]:
        self.counters[reason] += 1
        return []
