"""All TLS conversations of one node or Switch. Sans-IO: bytes, `Now`, random in; datagrams, events, deadlines out.

The owner calls one of the verbs, then drains `events()` and `datagrams()` and arms one timer with `deadline()`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ovng.clock import Now
from ovng.ids import NodeID
from ovng.pki.identity import Kind
from ovng.pki.trust import Trust
from ovng.session.config import SessionConfig
from ovng.session.events import AttemptRef, Event, SessionInfo
from ovng.wire.header import Header
from ovng.wire.inner import Attach, CloseReason, Grant


class SessionManager:
    """Sessions of a node with its peers and its attachment, or the Switch's endpoint. Not thread-safe."""

    def __init__(
        self,
        me: NodeID,
        kind: Kind,
        trust: Trust,
        random: Callable[[int], bytes],
        config: SessionConfig | None = None,
        traffic: Callable[[NodeID], int] | None = None,
    ) -> None:
        """`random(n)` gives n secret bytes. `traffic(peer)` = data packets so far, both ways: sessions without new
        traffic are not rekeyed until they have some; None = all have."""
        self.counters: Counter[str] = Counter()

    # -- From the network

    def receive(self, header: Header, payload: bytes, context: bytes, now: Now) -> None:
        """A CONTROL datagram for us (dst = our ID, or 0 at the Switch). Untrusted; what is wrong with it is counted.

        `context` is where it came from (packed locator) at the Switch, b"" at a node.
        """
        raise NotImplementedError

    # -- From the owner

    def connect(self, peer: NodeID, now: Now) -> None:
        """A session with `peer` is wanted: start unless there is one, or a try under way or in backoff."""
        raise NotImplementedError

    def attach(self, now: Now, request: Attach) -> None:
        """At a node: (again) ask the Switch at the locator in use for an attachment, until granted."""
        raise NotImplementedError

    def grant(self, ref: AttemptRef, grant: Grant, now: Now) -> None:
        """At the Switch: answer `AttachRequested`. Unknown refs (the node went away) are ignored."""
        raise NotImplementedError

    def on_unknown_data(self, src: NodeID, now: Now) -> None:
        """DATA came from an ID without session: start one, once per 5 s and ID, 20 per second in all."""
        raise NotImplementedError

    def on_first_receive(self, peer: NodeID, key_id: int, now: Now) -> None:
        """The first packet opened under this receive key."""
        raise NotImplementedError

    def on_limit(self, peer: NodeID, key_id: int, now: Now) -> None:
        """A soft or hard limit of packets or blocks was reached under this key (either direction): rekey."""
        raise NotImplementedError

    def rekey_all(self, now: Now) -> None:
        """Rekey every session at once."""
        raise NotImplementedError

    def ping(self, peer: NodeID, now: Now) -> bool:
        """Measure the RTT to `peer` inside TLS; False if there is no session. The result is in `sessions()`."""
        raise NotImplementedError

    def retry_now(self, now: Now) -> None:
        """The network is back: what waits in a backoff or for a retransmission goes out now."""
        raise NotImplementedError

    def end(self, peer: NodeID, reason: CloseReason, text: str, now: Now) -> None:
        """End the session with `peer` and tell it why (CLOSE); any try under way ends too."""
        raise NotImplementedError

    def shutdown(self, now: Now) -> None:
        """End everything. Send what `datagrams()` then holds; waiting for acknowledgements is optional."""
        raise NotImplementedError

    def revocation_changed(self, now: Now) -> None:
        """`trust` holds a newer CRL: end sessions of revoked certificates and pass the list on."""
        raise NotImplementedError

    def replace_trust(self, trust: Trust, now: Now) -> None:
        """A new certificate of the same key (same ID) or CA: rekey everything under it. Raises ValueError."""
        raise NotImplementedError

    # -- Out

    def datagrams(self) -> list[tuple[bytes, bytes]]:
        """(datagram, context) to send, drained. A node sends them to its Switch; the Switch to `context`."""
        raise NotImplementedError

    def events(self) -> list[Event]:
        """What happened, drained."""
        raise NotImplementedError

    def deadline(self, now: Now) -> float | None:
        """When `handle_timer` must be called at the latest, on the monotonic clock."""
        raise NotImplementedError

    def handle_timer(self, now: Now) -> None:
        """Do what is due; harmless when nothing is."""
        raise NotImplementedError

    def sessions(self) -> list[SessionInfo]:
        """All sessions, for status."""
        raise NotImplementedError
