"""Whoever is not meant to be there: handshakes with the wrong papers, and datagrams by the hundred thousand.

Strangers live in the test's own process; only their sockets are on another host.
"""

from __future__ import annotations

import secrets
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from ovng._fast.udp import Sender
from ovng.clock import now
from ovng.config.profile import NodeProfile
from ovng.demo.net import Host
from ovng.errors import Malformed
from ovng.fields import replace
from ovng.ids import Locator, NodeID
from ovng.io.credentials import memfd_path, read_profile, trust_of
from ovng.limits import HEADER_SIZE
from ovng.pki.trust import Trust
from ovng.session import events
from ovng.session.manager import SessionManager
from ovng.wire.header import PacketType, parse_header
from ovng.wire.inner import Attach, AttachMode

BATCH = 512


def trust_from(profile: Path) -> Trust:
    """The papers in a node's profile."""
    found = read_profile(profile)
    assert isinstance(found, NodeProfile)
    return trust_of(found)


def impostor_from(profile: Path, ca: Path, *, silent: bool = False) -> Trust:
    """Shows the papers in a profile, none when `silent`, to members of the network whose CA's certificate is `ca`."""
    credentials = read_profile(profile).credentials
    papers = b"" if silent else credentials.certificate + credentials.key
    return Impostor(trust_from(profile), papers, ca.read_bytes())


class Impostor(Trust):
    """Shows what it was given, a certificate or none, and believes whoever the network's CA signed."""

    def __init__(self, own: Trust, chain: bytes, ca: bytes) -> None:
        self.__dict__.update(own.__dict__)
        self._shown, self._believed = chain, ca

    def client_context(self) -> ssl.SSLContext:
        """As a node's, but for the papers."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.set_alpn_protocols(["ovng/1"])
        with memfd_path(self._believed) as path:
            context.load_verify_locations(cafile=path)
        if self._shown:
            with memfd_path(self._shown) as path:
                context.load_cert_chain(path)
        return context


class Stranger:
    """A session manager of ours behind a real socket on `host`, talking to the Switch as a node does."""

    def __init__(self, host: Host, switch: Locator, me: NodeID, trust: Trust) -> None:
        self._name = (socket.inet_ntop(socket.AF_INET6, switch.address), switch.port)
        with host.inside():
            self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.socket.bind(("::", 0))
        self.socket.setblocking(False)
        # The manager's own check that ID and papers agree is what a stranger leaves out.
        trust.identity = replace(trust.identity, id=me)
        self.manager = SessionManager(me, "node", trust, secrets.token_bytes)
        self.events: list[events.Event] = []

    def attach(self) -> None:
        """Ask the Switch for an attachment."""
        self.manager.attach(now(), Attach(AttachMode.START, 0, 1, 25))

    def connect(self, peer: NodeID) -> None:
        """Ask a node for a session."""
        self.manager.connect(peer, now())

    def run(self, until: Callable[[list[events.Event]], bool], seconds: float = 10.0) -> bool:
        """Talk until `until` holds of the events so far; False when it does not within `seconds`."""
        deadline = now().mono + seconds
        while True:
            at = now()
            self.manager.handle_timer(at)
            for datagram, _ in self.manager.datagrams():
                self.socket.sendto(datagram, self._name)
            self.events += self.manager.events()
            if until(self.events):
                return True
            if at.mono > deadline:
                return False
            if select.select([self.socket], [], [], 0.02)[0]:
                self._take(self.socket.recv(65_536))

    def _take(self, datagram: bytes) -> None:
        try:
            header = parse_header(datagram)
        except Malformed:
            return
        if header.type is PacketType.CONTROL:
            self.manager.receive(header, datagram[HEADER_SIZE:], b"", now())

    def close(self) -> None:
        self.socket.close()


class Flood:
    """Datagrams from a socket on `host`, many per system call."""

    def __init__(self, host: Host, target: Locator) -> None:
        self._to = target.packed()
        with host.inside():
            self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setblocking(False)
        self._sender = Sender(self.socket.fileno(), 1)
        self.received: list[bytes] = []

    def send(self, datagrams: Iterable[bytes]) -> int:
        """Send them; how many left."""
        before = self._sender.counters()["sent"]
        for queued, datagram in enumerate(datagrams, 1):
            self._sender.queue(self._to, datagram)
            if queued % BATCH == 0:
                self._sender.flush()
        self._sender.flush()
        return self._sender.counters()["sent"] - before

    def answers(self) -> list[bytes]:
        """What has come back since the last call."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(65_536))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self.socket.close()


class Forger:
    """IPv4 UDP datagrams from any source address and port, put on the wire by a raw socket on `host`."""

    def __init__(self, host: Host) -> None:
        with host.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, 32, 1 << 23)  # SO_SNDBUFFORCE

    def send(self, source: Locator, target: Locator, datagram: bytes) -> None:
        """One datagram; the kernel fills in length and checksum of the IP header, UDP goes without (RFC 768)."""
        udp = struct.pack("!4H", source.port, target.port, 8 + len(datagram), 0) + datagram
        addresses = source.address[12:] + target.address[12:]
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses + udp
        self._socket.sendto(packet, (str(target.ip), 0))

    def close(self) -> None:
        self._socket.close()
