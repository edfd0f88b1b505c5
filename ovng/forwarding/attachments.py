"""Attachments as the Switch holds them: made by TLS or from a ticket, ended by time, revocation or the next one.

    attach ── GRANT goes out ── settle (the node holds it)      by TLS: an identity was proved
    restore ── a ticket opened, cookie and tag were good         after a restart: the ticket says what TLS said

Grant numbers are moments, in steps of 4 s modulo 2^16, or one more than the last: so of two grants of a node the newer
is known also after a restart (serial arithmetic, RFC 1982), and one that was superseded cannot come back.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from ovng.clock import Now
from ovng.errors import TableFull
from ovng.fields import Fields
from ovng.forwarding.directory import Directory
from ovng.forwarding.moves import NOWHERE, Moves, best_path, confirmed_locator
from ovng.forwarding.record import NO_MASTER, Record, needs_ageing, record_grant, serial_hash
from ovng.forwarding.store import NodeTable
from ovng.forwarding.tickets import Ticket, TicketKeys
from ovng.hashes import compare_digest
from ovng.ids import Locator, Prefix
from ovng.limits import GRACE_CREDIT, GRANT_LIFETIME, LEASE_KEEPALIVES, MAX_PATHS
from ovng.pki.identity import Identity
from ovng.wire.inner import Attach, AttachMode, Grant, GrantStatus

_GRANT_STEP = 4  # seconds; half of 2^16 steps is 36 h, longer than a grant lives
_PENDING_MAX = 4_096
_PENDING_SECONDS = 60.0
_REMOVED_MAX = 1_024  # in the 4 s in which a number could be given again


class _Pending(Fields):
    """An attachment whose GRANT is on its way."""

    record: Record
    prefixes: tuple[Prefix, ...]
    keepalive: int
    source: Locator
    until: float


class Replaced(NamedTuple):
    """An attachment that another one took the place of, and where its node was last."""

    record: Record
    locator: Locator | None
    by: Record


class Attachments:
    """The nodes that are attached: their records and locators in `table`, their prefixes in `directory`."""

    def __init__(self, table: NodeTable, directory: Directory, tickets: TicketKeys, moves: Moves, boot_id: int) -> None:
        self._table, self._directory, self._tickets, self._moves = table, directory, tickets, moves
        self._boot_id = boot_id
        self._pending: dict[int, _Pending] = {}
        self._removed: dict[int, int] = {}
        self.revoked: frozenset[bytes] = frozenset()
        """Serial hashes that may not attach."""
        self.crl_number = 0
        self.changed: list[Prefix] = []
        """Prefixes that got another holder; taken and cleared by the owner."""

    def __len__(self) -> int:
        return len(self._table)

    def find(self, node: int, now: Now) -> Record | None:
        """The attachment of a node, while its grant lasts."""
        data = self._table.record(node)
        if data is None:
            return None
        record = Record.unpack(data)
        return record if now.boot < record.ends else None

    def save(self, node: int, record: Record) -> None:
        """Store what has changed in a record."""
        self._table.put(node, record.pack())

    # -- By TLS

    def attach(
        self,
        identity: Identity,
        request: Attach,
        source: Locator,
        report_master: bytes,
        private_master: bytes,
        now: Now,
    ) -> Grant:
        """Answer a proved node. What is granted holds from `settle` on; until then the old attachment does."""
        serial = serial_hash(identity.serial)
        if serial in self.revoked:
            return self._refuse(GrantStatus.REVOKED, source)
        held = self.find(identity.id, now)
        if request.flags == AttachMode.CONTINUE and held is not None and held.instance != request.instance:
            return self._refuse(GrantStatus.SUPERSEDED, source)
        while self._pending and next(iter(self._pending.values())).until <= now.mono:  # in the order they were made
            del self._pending[next(iter(self._pending))]
        if (held is None and len(self._table) >= self._table.capacity) or len(self._pending) >= _PENDING_MAX:
            return self._refuse(GrantStatus.FULL, source)
        grant = next_grant(self._last_grant(identity.id, held) or request.grant, now.wall)
        lifetime = max(60, min(GRANT_LIFETIME, int(identity.not_after - now.wall)))
        record = Record(
            report_master,
            private_master,
            request.instance,
            serial,
            int(now.boot) + lifetime,
            grant,
        )
        self._pending.pop(identity.id, None)
        self._pending[identity.id] = _Pending(
            record, identity.prefixes, request.keepalive, source, now.mono + _PENDING_SECONDS
        )
        issued = int(now.wall)
        ticket = Ticket(
            identity.id,
            grant,
            issued,
            issued + lifetime,
            request.instance,
            identity.serial,
            report_master,
            identity.prefixes,
            identity.cluster,
        )
        sealed = self._tickets.seal(ticket, now.wall)
        return Grant(GrantStatus.GRANTED, grant, lifetime, self._boot_id, source, self.crl_number, sealed)

    def pending(self, node: int, grant: int) -> Record | None:
        """The record of a grant that is on its way: a report under it shows that it has arrived."""
        entry = self._pending.get(node)
        return entry.record if entry is not None and entry.record.grant == grant else None

    def settle(self, node: int, report_master: bytes, now: Now) -> Replaced | None:
        """The node holds the grant that came with this report master: it is in force. Returns what it replaced.

        The first to say so, an acknowledgement or a report, counts; the other changes nothing.
        """
        entry = self._pending.get(node)
        if entry is None or not compare_digest(entry.record.report_master, report_master):
            return None
        record, held = entry.record, self.find(node, now)
        del self._pending[node]
        replaced = None if held is None else Replaced(held, confirmed_locator(self._table, node), record)
        try:
            self._install(node, record, held, entry.source, entry.prefixes, 0, entry.keepalive, now)
        except TableFull:  # others came first; the node will find out, and ask again
            return None
        return replaced

    # -- By ticket

    def restore(self, ticket: Ticket, source: Locator, path: int, keepalive: int, now: Now) -> Record:
        """Make the attachment of a ticket again. Everything about ticket and report was proved. Raises TableFull."""
        lifetime = min(int(ticket.expires - now.wall), GRANT_LIFETIME)
        record = Record(
            ticket.report_master,
            NO_MASTER,
            ticket.instance,
            serial_hash(ticket.serial),
            int(now.boot) + lifetime,
            ticket.grant,
        )
        held = self.find(ticket.node, now)
        self._install(ticket.node, record, held, source, ticket.prefixes, path, keepalive, now)
        return record

    def learn(self, node: int, grant: int, prefixes: Iterable[Prefix]) -> None:
        """`node` attaches with these under `grant`: before its record says so, or nobody would be told of a change."""
        for prefix in prefixes:
            if self._directory.add(prefix, node, grant):
                self.changed.append(prefix)

    @property
    def waiting(self) -> Container[int]:
        """Nodes whose GRANT is on its way."""
        return self._pending

    # -- The end

    def remove(self, node: int) -> None:
        """Forget a node. Its prefixes go when the directory is swept."""
        data = self._table.record(node)
        if data is not None:
            self._removed[node] = record_grant(data)
            if len(self._removed) > _REMOVED_MAX:
                del self._removed[next(iter(self._removed))]
        self._moves.cancel(node)
        self._table.remove(node)

    def age(self, node: int, now: Now) -> str | None:
        """Take away what has ended: the attachment ("grant_ended") or locators ("lease_ended"); None = nothing had."""
        data = self._table.record(node)
        if data is None or not needs_ageing(data, now.boot):
            return None
        record = Record.unpack(data)
        if record.ends <= now.boot:
            self.remove(node)
            return "grant_ended"
        ended = [path for path in range(MAX_PATHS) if 0 < record.lease[path] <= now.boot]
        self.end_leases(node, record, ended)
        return "lease_ended"

    def end_leases(self, node: int, record: Record, paths: list[int]) -> None:
        """Take the locators of these paths away, never the attachment."""
        state = self._table.locators(node)
        if state is None:
            return
        slots, active, fallback, provisional = state
        for path in paths:
            record.lease[path] = 0
        borrowed = self._moves.of(node)
        slots = tuple(
            locator if record.lease[i] or (borrowed is not None and borrowed.slot == i) else None
            for i, locator in enumerate(slots)
        )
        if fallback != -1 and slots[fallback] is None:
            fallback = -1
        if active != -1 and slots[active] is None:
            active = best_path(slots, record)
        self._table.set_locators(node, slots, active, fallback, provisional)
        self.save(node, record)

    # -- Inside

    def _last_grant(self, node: int, held: Record | None) -> int:
        """The last number given to a node, 0 if that is not known; the directory needs the next to be another."""
        if node in self._pending:
            return self._pending[node].record.grant
        return held.grant if held is not None else self._removed.get(node, 0)

    def _refuse(self, status: GrantStatus, source: Locator) -> Grant:
        return Grant(status, 0, 0, self._boot_id, source, self.crl_number)

    def _install(
        self,
        node: int,
        record: Record,
        held: Record | None,
        source: Locator,
        prefixes: tuple[Prefix, ...],
        path: int,
        keepalive: int,
        now: Now,
    ) -> None:
        """Put a record in force at the locator it was proved from. Another instance's locators are gone."""
        state = self._table.locators(node) if held is not None and held.instance == record.instance else None
        if held is not None and state is not None:
            self._moves.restore(node, held)
            state = self._table.locators(node)
        slots = state[0] if state is not None else NOWHERE
        at = source.packed()
        if held is not None and state is not None:
            record.lease, record.priority, record.flags = held.lease, held.priority, held.flags
            path = next((i for i in range(MAX_PATHS) if slots[i] == at), path)
        record.lease[path] = int(now.boot) + LEASE_KEEPALIVES * keepalive + 1
        self.learn(node, record.grant, prefixes)
        self._moves.cancel(node)
        self.save(node, record)
        self._table.set_locators(node, (*slots[:path], at, *slots[path + 1 :]), path, -1, 0)
        self._table.set_credit(node, GRACE_CREDIT, 0)

    def holds(self, node: int, grant: int) -> bool:
        """True if `node` is attached under `grant`: what the directory asks."""
        data = self._table.record(node)
        return data is not None and record_grant(data) == grant


def newer(one: int, other: int) -> bool:
    """True if grant number `one` was given after `other` (RFC 1982)."""
    return 0 < (one - other) % (1 << 16) < 1 << 15


def next_grant(last: int, wall: float) -> int:
    """A number newer than `last` (0 = none), 1 … 65535."""
    moment = int(wall) // _GRANT_STEP % (1 << 16) or 1
    if not last or newer(moment, last):
        return moment
    return last % ((1 << 16) - 1) + 1
