"""Reports at the Switch: the rules of PROTOCOL 6, in their order.

    structure → for me → boot ID → attached under this grant (else ticket) → sequence → tag → what it asks

Nothing is stored before the tag was good. The number of a report that asks to move is stored then, whatever becomes
of it, so that no copy can ask again. One that names another place than it comes from, or a REFRESH from elsewhere, is
perhaps a copy that was faster: it stores nothing, and the node's own still counts.

A locator is *proved* when the report shows a cookie that was sent there. Cookies come with CHALLENGE and MISMATCH,
their first halves with the ACK of a move.
"""

from __future__ import annotations

from collections import Counter

from ovng.clock import Now
from ovng.errors import Malformed, TableFull
from ovng.forwarding.attachments import Attachments, Replaced, newer
from ovng.forwarding.hints import Hints
from ovng.forwarding.moves import Moves
from ovng.forwarding.record import Record, serial_hash
from ovng.forwarding.revocation import Revocation
from ovng.forwarding.store import NodeTable, Out, Replay
from ovng.forwarding.tickets import TicketKeys
from ovng.ids import Locator, NodeID
from ovng.limits import ATTACH_AGAIN_BEFORE, GRACE_CREDIT, LEASE_KEEPALIVES, MAX_PATHS
from ovng.session.keys import master_keys
from ovng.wire.report import (
    PROOF_SIZE,
    UPDATE_SIZE,
    Ack,
    Common,
    Nak,
    NakReason,
    Probed,
    ReportFlags,
    ReportKind,
    Update,
    parse_report,
    verify,
)

_NO_PROOF = bytes(PROOF_SIZE)


class Reports:
    """Handles what nodes report. Nothing here is kept per node: all state is in the table's records."""

    def __init__(
        self,
        switch_id: NodeID,
        boot_id: int,
        table: NodeTable,
        attachments: Attachments,
        tickets: TicketKeys,
        moves: Moves,
        hints: Hints,
        revocation: Revocation,
        counters: Counter[str],
    ) -> None:
        self._switch_id, self._boot_id = switch_id, boot_id
        self._table, self._attachments, self._tickets = table, attachments, tickets
        self._moves, self._hints, self._revocation = moves, hints, revocation
        self._counters = counters
        self.replays: list[Replay] = []
        """To whom the tail is to be sent again; taken by the owner."""

    def handle_untrusted(self, datagram: bytes, source: Locator, now: Now) -> list[Out]:
        """One datagram of type REPORT, and the answers to it."""
        try:
            update = parse_report(datagram)
        except Malformed as error:
            return self._drop(error.reason)
        if not isinstance(update, Update):
            return self._drop("report_direction")
        if update.common.dst != self._switch_id:
            return self._drop("not_for_me")
        if update.common.boot_id != self._boot_id:
            self._counters["challenge_boot_id"] += 1
            return self._hints.challenge_report(update.common, datagram, source, now)
        common = update.common
        record = self._attachments.find(common.src, now)
        if record is None or record.grant != common.grant:
            return self._other_grant(update, datagram, record, source, now)
        return self._attached(update, datagram, record, source, now)

    # -- Under the grant in force

    def _attached(self, update: Update, datagram: bytes, record: Record, source: Locator, now: Now) -> list[Out]:
        common = update.common
        last = record.sequence[common.path]
        if common.number < last and not self._hints.may_answer(common.src, source, now):
            return self._drop("sequence")
        up, down = master_keys(record.report_master)
        if not verify(datagram, up):
            return self._drop("report_tag")
        if record.serial in self._attachments.revoked:
            self._attachments.remove(common.src)
            return self._refuse(common, NakReason.REVOKED, last, down, source)
        if common.number < last:
            self._counters["sequence"] += 1
            return self._refuse(common, NakReason.SEQUENCE, last, down, source)
        if update.observed.known and update.observed != source:  # a copy, which must not use up the number
            self._counters["observed_elsewhere"] += 1
            return self._hints.mismatch_report(common, source, now)
        if update.kind == ReportKind.KNOCK:
            return self._knock(update, record, down, now)
        if common.number == last:
            return self._repeated(update, down, source, now)
        if update.kind == ReportKind.PROBE and not self._is_own(common, source):
            self._counters["probe_elsewhere"] += 1
            return self._hints.mismatch_report(common, source, now)
        if update.kind == ReportKind.REFRESH and not self._is_own(common, source):
            if not self._hints.proves(update.cookie, common.src, source, now):
                return self._refresh_elsewhere(update, down, source, now)
            self._moves.confirm(common.src, source.packed(), common.path, activate=False)
        record.sequence[common.path] = common.number
        out = self._obey(update, record, down, source, now)
        self._attachments.save(common.src, record)
        return out

    def _repeated(self, update: Update, down: bytes, source: Locator, now: Now) -> list[Out]:
        """A number seen before: the network's copy, or an attacker's that came first."""
        common = update.common
        if update.kind == ReportKind.PROBE:  # asked once, answered once: its answer is large
            return self._drop("probe_repeated")
        move = self._moves.of(common.src)
        raced = move is not None and move.path == common.path
        if self._is_provisional(common, source) or (self._is_own(common, source) and not raced):
            if update.kind == ReportKind.GET_CRL:
                return self._crl_piece(update, down, source)
            return self._ack(update, down, source, now)
        self._counters["sequence_other_locator"] += 1
        places = [source] if move is None else [source, Locator.unpack(move.locator)]
        return [hint for place in places for hint in self._hints.mismatch_report(common, place, now)]

    def _refresh_elsewhere(self, update: Update, down: bytes, source: Locator, now: Now) -> list[Out]:
        """REFRESH never moves data; so nothing is stored, and the node's own, should this be a copy, still counts."""
        if self._is_provisional(update.common, source):
            return self._ack(update, down, source, now)
        self._counters["refresh_elsewhere"] += 1
        return self._hints.mismatch_report(update.common, source, now)

    def _obey(self, update: Update, record: Record, down: bytes, source: Locator, now: Now) -> list[Out]:
        common = update.common
        record.priority[common.path] = common.priority
        before = self._table.wishes(common.src)
        copies = before[1] & ~(1 << common.path) | (ReportFlags.COPY in common.flags) << common.path
        if before != (wishes := (ReportFlags.TAIL in common.flags, copies)):
            self._table.set_wishes(common.src, *wishes)
        if update.kind == ReportKind.BYE:
            self._moves.restore(common.src, record)
            self._attachments.end_leases(common.src, record, list(range(MAX_PATHS)))
            return self._ack(update, down, source, now, lifetime=0)
        if update.kind == ReportKind.GET_CRL:
            return self._crl_piece(update, down, source)
        if update.kind == ReportKind.PROBE:
            return [Out(Probed(common.answer(self._boot_id), update.size).pack(down), source)]
        if update.kind == ReportKind.REFRESH:
            return self._refresh(update, record, down, source, now)
        return self._move(update, record, down, source, now)

    def _knock(self, update: Update, record: Record, down: bytes, now: Now) -> list[Out]:
        """Answered at the path's own place, wherever it came from, and once: does anything still get in there?"""
        common = update.common
        own = self._own(common)
        if own is None or common.number == record.sequence[common.path]:
            return self._drop("knock")
        record.sequence[common.path] = common.number
        self._attachments.save(common.src, record)
        lifetime = max(0, record.lease[common.path] - int(now.boot))
        ack = Ack(common.answer(self._boot_id), Locator.unpack(own), lifetime, self._attachments.crl_number, _NO_PROOF)
        return [Out(ack.pack(down), Locator.unpack(own))]

    def _refresh(self, update: Update, record: Record, down: bytes, source: Locator, now: Now) -> list[Out]:
        common = update.common
        self._renew(update, record, now)
        if record.ends - now.boot < ATTACH_AGAIN_BEFORE:
            return self._refuse(common, NakReason.ATTACH_AGAIN, common.number, down, source)
        return self._ack(update, down, source, now)

    def _move(self, update: Update, record: Record, down: bytes, source: Locator, now: Now) -> list[Out]:
        """MOVE or CONFIRM, whose observed locator is not another's."""
        common, node = update.common, update.common.src
        newest = common.number > record.change
        provisional = self._is_provisional(common, source)
        if self._is_own(common, source) or self._hints.proves(update.cookie, node, source, now):
            rest = provisional and not self._moves.doubtful(node)
            self._moves.confirm(node, source.packed(), common.path, activate=newest)
            record.change = max(record.change, common.number)
            self._renew(update, record, now)
            if newest and ReportFlags.REPLAY in common.flags:
                self.replays.append(Replay(node, rest))
            return self._ack(update, down, source, now)
        if provisional:
            self._moves.doubt(node)
            return self._ack(update, down, source, now)
        if update.kind == ReportKind.CONFIRM or not newest or self._moves.full:
            return self._hints.mismatch_report(common, source, now)
        if self._moves.limited(node, now.mono):
            self._counters["move_limit"] += 1
            return self._refuse(common, NakReason.MOVE_LIMIT, common.number, down, source)
        record.change = common.number
        self._moves.begin(node, source.packed(), common.path, UPDATE_SIZE, now.mono)
        self._counters["moves"] += 1
        return self._ack(update, down, source, now)

    # -- Under another grant, or none

    def _other_grant(
        self, update: Update, datagram: bytes, record: Record | None, source: Locator, now: Now
    ) -> list[Out]:
        common, node = update.common, update.common.src
        pending = self._attachments.pending(node, common.grant)
        if pending is not None and verify(datagram, master_keys(pending.report_master)[0]):
            replaced = self._attachments.settle(node, pending.report_master, now)
            settled = self._attachments.find(node, now)
            if settled is None:
                return self._drop("table_full")
            out = self.tell_superseded(node, replaced, settled)
            return out + self._attached(update, datagram, settled, source, now)
        if not update.ticket or not self._hints.proves(update.cookie, node, source, now):
            self._counters["challenge_grant"] += 1
            return self._hints.challenge_report(common, datagram, source, now)
        try:
            ticket = self._tickets.open_untrusted(update.ticket)
        except Malformed as error:
            return self._drop(error.reason)
        if (ticket.node, ticket.grant) != (node, common.grant):
            return self._drop("ticket_of_another")
        up, down = master_keys(ticket.report_master)
        if not verify(datagram, up):
            return self._drop("report_tag")
        if serial_hash(ticket.serial) in self._attachments.revoked:
            return self._refuse(common, NakReason.REVOKED, 0, down, source)
        if record is not None and not newer(ticket.grant, record.grant):
            self._counters["ticket_superseded"] += 1
            other = record.instance != ticket.instance
            return self._refuse(common, NakReason.SUPERSEDED if other else NakReason.GRANT, 0, down, source)
        if ticket.expires <= now.wall:
            return self._refuse(common, NakReason.GRANT, 0, down, source)
        try:
            restored = self._attachments.restore(ticket, source, common.path, update.keepalive, now)
        except TableFull:
            return self._drop("table_full")
        self._counters["tickets_taken"] += 1
        restored.sequence[common.path] = restored.change = common.number
        restored.priority[common.path] = common.priority
        self._attachments.save(node, restored)
        return self._ack(update, down, source, now)

    def tell_superseded(self, node: NodeID, replaced: Replaced | None, by: Record) -> list[Out]:
        """Tell the process whose attachment another instance took over, where it was last. Pushed: echoes nothing."""
        if replaced is None or replaced.record.instance == by.instance or replaced.locator is None:
            return []
        common = Common(node, self._switch_id, 0, self._boot_id, replaced.record.grant)
        down = master_keys(replaced.record.report_master)[1]
        return self._nak(common, NakReason.SUPERSEDED, 0, down, replaced.locator)

    # -- Small things

    def _renew(self, update: Update, record: Record, now: Now) -> None:
        """A report from a proved locator: lease and grace credit are full again."""
        node = update.common.src
        record.lease[update.common.path] = int(now.boot) + LEASE_KEEPALIVES * update.keepalive + 1
        _, outgoing = self._table.credit(node) or (0, 0)
        self._table.set_credit(node, GRACE_CREDIT, outgoing)

    def _own(self, common: Common) -> bytes | None:
        """The path's confirmed locator."""
        state, move = self._table.locators(common.src), self._moves.of(common.src)
        borrowed = move is not None and move.slot == common.path
        return None if state is None or borrowed else state[0][common.path]

    def _is_own(self, common: Common, source: Locator) -> bool:
        return self._own(common) == source.packed()

    def _is_provisional(self, common: Common, source: Locator) -> bool:
        move = self._moves.of(common.src)
        return move is not None and move.path == common.path and move.locator == source.packed()

    def _crl_piece(self, update: Update, down: bytes, source: Locator) -> list[Out]:
        piece = self._revocation.piece(update.common.answer(self._boot_id), update.offset)
        return [] if piece is None else [Out(piece.pack(down), source)]

    def _ack(self, update: Update, down: bytes, source: Locator, now: Now, lifetime: int | None = None) -> list[Out]:
        common = update.common
        proof = self._hints.proof(common.src, source, now) if self._is_provisional(common, source) else _NO_PROOF
        ack = Ack(
            common.answer(self._boot_id),
            source,
            LEASE_KEEPALIVES * update.keepalive if lifetime is None else lifetime,
            self._attachments.crl_number,
            proof,
        )
        return [Out(ack.pack(down), source)]

    def _refuse(self, common: Common, reason: NakReason, last: int, down: bytes, source: Locator) -> list[Out]:
        return self._nak(common.answer(self._boot_id), reason, last, down, source)

    def _nak(self, common: Common, reason: NakReason, last: int, down: bytes, to: Locator) -> list[Out]:
        self._counters[f"nak_{reason.name.lower()}"] += 1
        return [Out(Nak(common, reason, last).pack(down), to)]

    def _drop(self, reason: str) -> list[Out]:
        self._counters[reason] += 1
        return []
