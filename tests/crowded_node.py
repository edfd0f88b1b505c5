"""A node's session layer and data path in a process of its own, so that its memory can be told from its peers'.

`python -m tests.crowded_node FD`, where FD is a SOCK_SEQPACKET socket. It brings a JSON object first: network, ca,
certificate and key (PEM). Every packet after that is a CONTROL datagram, answered by those that it makes due and then
by "end"; a packet "end" is answered by {"resident": bytes, "sessions": count}. It ends with the other end.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from ovng.clock import Now, now
from ovng.io.credentials import memfd_path
from ovng.io.datapath import NodeDataPath
from ovng.io.tun import Offloads, Tun
from ovng.limits import HEADER_SIZE
from ovng.pki.trust import Trust
from ovng.session.events import InstallReceive, InstallSend, ReachTold, SessionUp
from ovng.session.manager import SessionManager
from ovng.wire.header import parse_header

END = b"end"
_STEP = 0.01  # virtual seconds between datagrams: the limit of handshakes per second is not what is measured


class Node:
    """One node; its TUN is a socket."""

    def __init__(self, network: str, ca: str, certificate: str, key: str) -> None:
        trust = Trust(network, ca.encode(), certificate.encode(), key.encode(), memfd_path)
        self.sessions = SessionManager(trust.identity.id, "node", trust, os.urandom)
        self._applications, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        device.setblocking(False)
        self._tun = Tun(device.detach(), "crowded", Offloads(True, True, True))
        self._path = NodeDataPath(trust.identity.id, self._tun)
        self._path.start()
        self._now = now()

    def receive(self, datagram: bytes) -> list[bytes]:
        """What it answers."""
        self._now = Now(self._now.mono + _STEP, self._now.boot + _STEP, self._now.wall + _STEP)
        self.sessions.receive(parse_header(datagram), datagram[HEADER_SIZE:], b"", self._now)
        self.sessions.handle_timer(self._now)
        for event in self.sessions.events():
            match event:
                case InstallReceive():
                    self._path.add_peer(event.peer, event.identity.prefixes)
                    self._path.install_receive(event.peer, event.key_id, event.cipher, event.key, event.iv)
                case SessionUp():
                    for prefix in event.identity.prefixes:
                        self._path.add_route(prefix, event.peer)
                case InstallSend():
                    self._path.install_send(event.peer, event.key_id, event.cipher, event.key, event.iv)
                case ReachTold():
                    pass  # nothing is sent to it
                case _:
                    raise AssertionError(f"{event}")
        return [answer for answer, _ in self.sessions.datagrams()]


def resident() -> int:
    """Bytes of memory that this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Until the other end closes."""
    link = socket.socket(fileno=int(sys.argv[1]))
    node = Node(**json.loads(link.recv(1 << 16)))
    while datagram := link.recv(1 << 16):
        if datagram == END:
            count = len(node.sessions.sessions())
            link.send(json.dumps({"resident": resident(), "sessions": count}).encode())
            continue
        for answer in [*node.receive(datagram), END]:
            link.send(answer)


if __name__ == "__main__":
    main()
