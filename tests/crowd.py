"""Very many nodes that hold tickets, on loopback sockets: after their Switch has started again, all want to be known.

They say what real nodes say (PROTOCOL 6): called by CHALLENGE without echo, a plain REFRESH under the boot ID of
before; challenged, the same with the new boot ID, cookie and ticket, again after 0.3 s, doubling, until an ACK under
their own key; and unasked, every keepalive of 5 s. Every /24 of 127.0.0.0/8 is a site of its own to the limits of
hints.
"""

from __future__ import annotations

import hashlib
import hmac
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ovng._fast.udp import Receiver, Sender
from ovng.forwarding.tickets import Ticket, TicketKeys
from ovng.ids import Locator, NodeID, Prefix
from ovng.io.libcrypto import make_aead
from ovng.session.keys import master_keys
from ovng.wire.report import ACK_SIZE, CHALLENGE_SIZE, Common, ReportKind, Update
from tests.attachment_fixture import prefix, seeded

FIRST = 0x7100_0000_0000_0000
PER_SITE = 500
GRANT, KEEPALIVE, OLD_BOOT = 4_711, 5, 0x0B00_7000
NUMBER = 1_000  # of the last report to the Switch before
TRY_AGAIN, TRY_AGAIN_MAX = 0.3, 2.0
SWEEP = 0.05  # seconds between looks at who has something to say

_HEAD = struct.Struct(">BBHQQQQHBB")
_UPDATE = struct.Struct(">18sH16s")


class Crowd:
    """`count` nodes behind sockets of 500 each, the state a Switch has kept of them, and their part in coming back."""

    def __init__(self, count: int, switch: NodeID, wall: float) -> None:
        random = seeded(count)
        self.count, self._switch = count, switch
        self.keys = TicketKeys(switch, make_aead, random)
        self.keys.rotate(wall)
        self._masters = [random(32) for _ in range(count)]
        self._tickets = [self._ticket(i, wall) for i in range(count)]
        self._up, self._down = map(list, zip(*map(master_keys, self._masters), strict=True))
        self._sockets = [self._socket(site) for site in range(-(-count // PER_SITE))]
        self.places = [Locator.of(*self._sockets[i // PER_SITE].getsockname()) for i in range(count)]
        self._number = [NUMBER] * count
        self._waits: dict[int, tuple[float, float, int, bytes, int]] = {}
        """Node → when to try again, the wait after that, boot ID, cookie, number of the first try."""
        self.attached: set[int] = set()
        self.seen: Counter[str] = Counter()

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def keep(self, directory: Path) -> None:
        """The files of the Switch that is to start: ticket keys and snapshot."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = (NodeID(FIRST + i).packed() + place.packed() for i, place in enumerate(self.places))
        for name, data in (("ticket-keys", self.keys.dump()), ("snapshot", b"ovng nodes 1\n" + b"".join(entries))):
            (directory / name).touch(0o600)
            (directory / name).write_bytes(data)

    def come_back(self, switch: Locator, until: Callable[[], bool]) -> None:
        """Answer the Switch until all are attached, or `until` says so."""
        to = switch.packed()
        ends = [(Receiver(sock.fileno(), 256), Sender(sock.fileno(), 1)) for sock in self._sockets]
        poll = select.epoll()
        for sock in self._sockets:
            poll.register(sock.fileno(), select.EPOLLIN)
        by_fd = {sock.fileno(): site for site, sock in enumerate(self._sockets)}
        next_sweep = time.monotonic()
        turns = int(KEEPALIVE / SWEEP)
        turn = 0
        while len(self.attached) < self.count and not until():
            ready = poll.poll(0.02)
            for fd, _ in ready:
                self._listen(*ends[by_fd[fd]], to)
            now = time.monotonic()
            if now >= next_sweep:
                next_sweep = now + SWEEP
                late = [i for i, (due, *_) in self._waits.items() if due <= now]
                for site in {i // PER_SITE for i in late}:  # whose answer is there has not waited in vain
                    while self._listen(*ends[site], to):
                        pass
                for i in late:
                    if i in self._waits and self._waits[i][0] <= now:
                        self.seen["tried again"] += 1
                        ends[i // PER_SITE][1].queue(to, self._show(i))
                turn = (turn + 1) % turns
                for i in set(range(turn, self.count, turns)) - self.attached - self._waits.keys():
                    self.seen["kept alive"] += 1
                    ends[i // PER_SITE][1].queue(to, self._report(i, OLD_BOOT, bytes(16), b""))
                for _, sender in ends:
                    sender.flush()
        poll.close()

    def _listen(self, receiver: Receiver, sender: Sender, to: bytes) -> bool:
        """Hear some of what waits at a socket and answer it; False when there was nothing."""
        messages = receiver.receive()
        for message, *_ in messages:
            answer = self.hear(message)
            if answer is not None:
                sender.queue(to, answer)
        sender.flush()
        return bool(messages)

    def hear(self, datagram: bytes) -> bytes | None:
        """A datagram from the Switch; what its node says to it."""
        _, kind, _, node, _, number, boot_id, _, _, _ = _HEAD.unpack_from(datagram)
        i = node - FIRST
        if kind == ReportKind.ACK and len(datagram) == ACK_SIZE:
            right = hmac.digest(self._down[i], datagram[:-16], hashlib.sha256)[:16]
            if hmac.compare_digest(right, datagram[-16:]) and i in self._waits and number >= self._waits[i][4]:
                self.attached.add(i)
                del self._waits[i]
                return None
        elif kind == ReportKind.CHALLENGE and len(datagram) == CHALLENGE_SIZE:
            if not any(datagram[-8:]):
                self.seen["called"] += 1
                return self._report(i, OLD_BOOT, bytes(16), b"")
            if number == self._number[i]:
                self.seen["challenged"] += 1
                self._waits[i] = 0.0, TRY_AGAIN, boot_id, datagram[40:56], number + 1
                return self._show(i)
        self.seen["other"] += 1
        return None

    def _show(self, i: int) -> bytes:
        """The ticket, and when to show it again."""
        _, wait, boot_id, cookie, first = self._waits[i]
        self._waits[i] = time.monotonic() + wait, min(2 * wait, TRY_AGAIN_MAX), boot_id, cookie, first
        return self._report(i, boot_id, cookie, self._tickets[i])

    def _report(self, i: int, boot_id: int, cookie: bytes, ticket: bytes) -> bytes:
        """As `Update.pack` has it, at a tenth of its time."""
        self._number[i] = number = self._number[i] + 1
        head = _HEAD.pack(0x13, ReportKind.REFRESH, 0, self._switch, FIRST + i, number, boot_id, GRANT, 0, 0)
        data = head + _UPDATE.pack(bytes(18), KEEPALIVE, cookie) + ticket
        return data + hmac.digest(self._up[i], data, hashlib.sha256)[:16]

    def check(self) -> None:
        """The quick way of packing is the right one."""
        i, boot_id, cookie = 0, 7, bytes(range(16))
        common = Common(self._switch, NodeID(FIRST + i), self._number[i] + 1, boot_id, GRANT)
        wanted = Update(ReportKind.REFRESH, common, Locator(bytes(16), 0), KEEPALIVE, cookie, self._tickets[i])
        assert self._report(i, boot_id, cookie, self._tickets[i]) == wanted.pack(self._up[i])

    def _ticket(self, i: int, wall: float) -> bytes:
        issued = int(wall) - 3_600
        ticket = Ticket(
            NodeID(FIRST + i), GRANT, issued, issued + 86_400, i, 10**40 + i, self._masters[i], (address(i),)
        )
        return self.keys.seal(ticket, wall)

    def _socket(self, site: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        sock.bind((f"127.{1 + site // 256}.{site % 256}.1", 0))
        return sock


def address(i: int) -> Prefix:
    """The inner address of node number `i`."""
    return prefix(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32")
