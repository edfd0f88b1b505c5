"""The revocation list at the Switch: whom it ends, and how everybody gets it (PROTOCOL 6).

The list is signed by the CA and no secret. Every ACK carries its number. When it changes, two walks go over the
table: a fast one ends the attachments of revoked certificates, a slower one pushes the list in pieces to every
confirmed locator. Of a long list only the first piece is pushed; whoever misses a piece asks for it (GET_CRL).
"""

from __future__ import annotations

from ovng.forwarding.attachments import Attachments
from ovng.forwarding.moves import confirmed_locator
from ovng.forwarding.record import Record, serial_hash
from ovng.forwarding.store import NodeTable, Out
from ovng.forwarding.walk import TableWalk
from ovng.ids import NodeID
from ovng.limits import CRL_PIECE
from ovng.session.keys import master_keys
from ovng.wire.report import Common, CrlPiece, Nak, NakReason

_PUSHED_PIECES = 4
_CHECKED_PER_TICK = 20_000
_PUSHED_PER_TICK = 300  # datagrams; a quarter of a core, and a million nodes take three minutes


class Revocation:
    """The list in force."""

    def __init__(self, switch_id: NodeID, boot_id: int, table: NodeTable, attachments: Attachments) -> None:
        self._switch_id, self._boot_id = switch_id, boot_id
        self._table, self._attachments = table, attachments
        self._der = b""
        self._ending, self._pushing = TableWalk(table), TableWalk(table)
        self.number = 0

    def set_crl(self, number: int, der: bytes, serials: frozenset[int]) -> None:
        """A list (proved by the caller) is in force from now on."""
        self.number, self._der = number, der
        self._attachments.crl_number = number
        self._attachments.revoked = frozenset(map(serial_hash, serials))
        self._ending.begin()
        self._pushing.begin()

    def piece(self, common: Common, offset: int) -> CrlPiece | None:
        """The piece from `offset` on; None when there is nothing there."""
        data = self._der[offset : offset + CRL_PIECE]
        return CrlPiece(common, self.number, len(self._der), offset, data) if data else None

    @property
    def active(self) -> bool:
        return self._ending.active or self._pushing.active

    def handle_timer(self, boot: float) -> list[Out]:
        """Some more of the walks: what to send. `boot`: seconds of the boot clock."""
        out: list[Out] = []
        for node in self._ending.step(_CHECKED_PER_TICK):
            data = self._table.record(node)
            if data is not None and (record := Record.unpack(data)).serial in self._attachments.revoked:
                out += self._end(NodeID(node), record)
        pieces = min(_PUSHED_PIECES, -(-len(self._der) // CRL_PIECE))
        if len(self._der) > _PUSHED_PIECES * CRL_PIECE:
            pieces = 1
        for node in self._pushing.step(_PUSHED_PER_TICK // max(1, pieces)):
            data = self._table.record(node)
            if data is not None and (record := Record.unpack(data)).ends > boot:
                out += self._push(NodeID(node), record, pieces)
        return out

    def _end(self, node: NodeID, record: Record) -> list[Out]:
        at = confirmed_locator(self._table, node)
        self._attachments.remove(node)
        if at is None:
            return []
        common = Common(node, self._switch_id, 0, self._boot_id, record.grant)
        return [Out(Nak(common, NakReason.REVOKED, 0).pack(master_keys(record.report_master)[1]), at)]

    def _push(self, node: NodeID, record: Record, pieces: int) -> list[Out]:
        at = confirmed_locator(self._table, node)
        if at is None:
            return []
        common = Common(node, self._switch_id, 0, self._boot_id, record.grant)
        key = master_keys(record.report_master)[1]
        found = (self.piece(common, i * CRL_PIECE) for i in range(pieces))
        return [Out(piece.pack(key), at) for piece in found if piece is not None]
