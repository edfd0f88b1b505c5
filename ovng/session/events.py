"""What a session manager tells its owner. Drained by `SessionManager.events()`, in the order in which they happened.

Key material is in no repr. Key IDs are 0 … 255; a receive key is found by (peer, key ID).
"""

from __future__ import annotations

from ovng.fields import Frozen, hidden
from ovng.ids import NodeID
from ovng.pki.identity import Identity
from ovng.wire.inner import Attach, Doubling, Grant

AttemptRef = tuple[NodeID, int]
"""Names one handshake at the Switch: the node's ID and the attempt ID it chose."""


class InstallReceive(Frozen):
    """Packets from `peer` under `key_id` open with this: `cipher` (PROTOCOL 2), `key` 32 bytes, `iv` 12 bytes.

    `identity` is proved: it says which inner sources the peer may use. It comes ahead of `SessionUp`, whose first
    packets it must be able to open."""

    peer: NodeID
    key_id: int
    cipher: int
    key: bytes = hidden()
    iv: bytes = hidden()
    identity: Identity


class InstallSend(Frozen):
    """Packets to `peer` are sealed with this from now on, numbers from 1; it replaces what was there. `wish`: which of
    them the peer wants doubled."""

    peer: NodeID
    key_id: int
    cipher: int
    key: bytes = hidden()
    iv: bytes = hidden()
    wish: Doubling = Doubling.NONE


class ReachTold(Frozen):
    """Datagrams of at most `size` bytes reach `peer` in one piece, as it says; told with each generation, ahead of
    `InstallSend`, and when it changes."""

    peer: NodeID
    size: int


class RetireReceive(Frozen):
    """Forget this receive key."""

    peer: NodeID
    key_id: int


class RetireSend(Frozen):
    """Forget the send key of `peer`; traffic to it waits."""

    peer: NodeID


class SessionUp(Frozen):
    """A session, or a further generation of one, is ready both ways. `identity` is proved and may differ from that of
    the generation before."""

    peer: NodeID
    session_id: int
    generation: int
    identity: Identity
    cipher: int
    group: str
    initiator: bool
    handshake_seconds: float


class SessionDown(Frozen):
    """The session is gone and its keys are retired. `reason`: lower_snake; `text`: what the peer said, or empty."""

    peer: NodeID
    reason: str
    text: str = ""


class ConnectFailed(Frozen):
    """There is no session with `peer` and none is coming until `connect()` is called again. `reason` as SessionDown;
    `detail`: for people."""

    peer: NodeID
    reason: str
    detail: str = ""


class AttachRequested(Frozen):
    """At the Switch: a proved node asks for an attachment; answer with `SessionManager.grant(ref, …)`. `context`: what
    came with its latest datagram (the packed locator). The masters (32 bytes each) are those of `AttachSettled`: the
    ticket in the answer holds one, and the node's first report may come before its acknowledgement."""

    ref: AttemptRef
    identity: Identity
    request: Attach
    context: bytes
    report_master: bytes = hidden()
    private_master: bytes = hidden()


class AttachSettled(Frozen):
    """At the Switch: the node holds the GRANT, these masters (32 bytes each) are shared, its TLS object is gone."""

    ref: AttemptRef
    node_id: NodeID
    report_master: bytes = hidden()
    private_master: bytes = hidden()


class Attached(Frozen):
    """At a node: the Switch granted the attachment."""

    switch_id: NodeID
    grant: Grant
    report_master: bytes = hidden()
    private_master: bytes = hidden()
    group: str
    handshake_seconds: float


class AttachFailed(Frozen):
    """At a node: one try has failed. Unless `final` (the Switch refused: superseded, revoked) the next follows by
    itself, after `retry_seconds`."""

    reason: str
    detail: str = ""
    retry_seconds: float = 0.0
    final: bool = False


class CrlChanged(Frozen):
    """A peer passed on a newer revocation list; it is proved and in force. Sessions it revokes are being ended."""

    number: int
    der: bytes = hidden()


Event = (
    InstallReceive
    | InstallSend
    | ReachTold
    | RetireReceive
    | RetireSend
    | SessionUp
    | SessionDown
    | ConnectFailed
    | AttachRequested
    | AttachSettled
    | Attached
    | AttachFailed
    | CrlChanged
)


class SessionInfo(Frozen):
    """One session for status. Ages in seconds on the boot clock; RTTs in seconds, None when not measured."""

    peer: NodeID
    session_id: int
    generation: int
    age: float
    key_age: float
    cipher: int
    tls_cipher: str
    group: str
    initiator: bool
    handshake_seconds: float
    srtt: float | None
    """Of the reliable stream under TLS, smoothed (RFC 6298)."""
    ping_rtt: float | None
    """Of the last `ping()` answered."""
    has_keys: bool
    """False when the keys reached their greatest age and traffic waits for new ones."""
    identity: Identity
