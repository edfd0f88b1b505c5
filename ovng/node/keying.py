"""What sessions decide about peers and their keys, done to overlay and data path; in a simulated world, too."""

from __future__ import annotations

from typing import Protocol

from ovng.clock import Now
from ovng.ids import NodeID
from ovng.node.overlay import Overlay
from ovng.session import events as session
from ovng.wire.inner import Doubling


class KeyedPath(Protocol):
    """What keys are installed in: `io/datapath` says what the methods do."""

    def install_receive(self, peer: NodeID, key_id: int, cipher: int, key: bytes, iv: bytes) -> None: ...

    def install_send(self, peer: NodeID, key_id: int, cipher: int, key: bytes, iv: bytes) -> None: ...

    def retire_receive(self, peer: NodeID, key_id: int) -> object: ...

    def retire_send(self, peer: NodeID) -> object: ...

    def set_doubling(self, peer: NodeID, mode: int) -> None: ...


def follow_session(event: session.Event, overlay: Overlay, path: KeyedPath, doubling: Doubling, now: Now) -> None:
    """Do what this event asks for. `doubling`: what this node wants to send doubled to everybody."""
    match event:
        case session.SessionUp():
            overlay.on_session_up(event.peer, event.identity)
        case session.InstallReceive():
            overlay.on_receive_key(event.peer, event.identity)
            path.install_receive(event.peer, event.key_id, event.cipher, event.key, event.iv)
        case session.InstallSend():
            path.set_doubling(event.peer, max(doubling, event.wish))
            path.install_send(event.peer, event.key_id, event.cipher, event.key, event.iv)
            overlay.on_send_ready(event.peer)
        case session.RetireReceive():
            path.retire_receive(event.peer, event.key_id)
            overlay.on_receive_key_retired(event.peer)
        case session.RetireSend():
            path.retire_send(event.peer)
            overlay.on_send_paused(event.peer)
        case session.SessionDown():
            overlay.on_session_down(event.peer, now)
        case session.ConnectFailed():
            overlay.on_connect_failed(event.peer)
        case _:
            pass
