"""What a node holds of its attachment: keys, grant, ticket, sequence."""

from __future__ import annotations

from ovng.fields import Fields, hidden
from ovng.forwarding.store import AES_256_GCM, Aead, AeadFactory
from ovng.ids import NodeID
from ovng.session.keys import master_keys
from ovng.wire.inner import Grant
from ovng.wire.report import SEQUENCE_MAX


class GrantHeld(Fields):
    """One grant. `lifetime` in seconds, `renew_at` in those of the boot clock."""

    switch_id: NodeID
    boot_id: int
    grant: int
    lifetime: int
    renew_at: float
    ticket: bytes = hidden()
    up: bytes = hidden()
    down: bytes = hidden()
    seal: Aead = hidden()
    open: Aead = hidden()
    private_keys: bool = True
    """False once the Switch has lost them (they are in no ticket)."""
    sequence: int = 0
    candidate: int | None = None
    """Boot ID that a hint has told; in force when an authenticated answer carries it."""

    @classmethod
    def of(
        cls,
        switch_id: NodeID,
        grant: Grant,
        report_master: bytes,
        private_master: bytes,
        factory: AeadFactory,
        boot: float,
        renew_share: float,
    ) -> GrantHeld:
        """From a GRANT received now; it is renewed after `renew_share` (0 … 1) of its life."""
        up, down = master_keys(report_master)
        private_up, private_down = master_keys(private_master)
        return cls(
            switch_id,
            grant.boot_id,
            grant.grant,
            grant.lifetime,
            boot + grant.lifetime * renew_share,
            grant.ticket,
            up,
            down,
            factory(AES_256_GCM, private_up),
            factory(AES_256_GCM, private_down),
        )

    def next_sequence(self) -> int | None:
        """The next report's number; None when the grant has no more."""
        if self.sequence >= SEQUENCE_MAX:
            return None
        self.sequence += 1
        return self.sequence
