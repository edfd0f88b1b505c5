"""Very many nodes in one process that lose their network together, and get another one at the same instant (S14).

Each is what a node's process has for its attachment (`AttachmentClient`, real keys, real tickets) behind a socket of
its own; they know the Switch from a process before, so that their tickets attach them and no TLS is needed.

    python -m benchmarks.mobility.crowd SWITCH:PORT SWITCH_ID TICKET_KEYS SWITCH_PID COUNT GAP RUNS

For each run, after GAP seconds without network, one line of JSON: `taken`, the milliseconds from the return until the
Switch had confirmed each node at its new place (null: not within the patience), sorted; and `cores` and `own`, the CPU
time that the Switch and this process spent for each second meanwhile, or for one second.
"""

from __future__ import annotations

import heapq
import ipaddress
import json
import os
import resource
import select
import socket
import sys
import time
from pathlib import Path

from benchmarks.usage import process_seconds
from ovng.clock import Now, now
from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.clientevents import LocatorChanged
from ovng.forwarding.tickets import Ticket, TicketKeys
from ovng.ids import Locator, NodeID
from ovng.io.libcrypto import load_libcrypto, make_aead
from ovng.wire.inner import Grant

FIRST = 0x7200_0000_0000_0000
PATIENCE = 10.0
_ADDRESSES = int(ipaddress.IPv4Address("10.77.16.0"))
_BUFFER = 65_536


class Node:
    """One of them. `sock` is None while there is no network."""

    def __init__(self, number: int, switch: NodeID, keys: TicketKeys, at: Now) -> None:
        self.client = AttachmentClient(NodeID(FIRST + number), os.urandom, make_aead)
        self.sock: socket.socket | None = None
        self.confirmed: float | None = None
        report, private = os.urandom(32), os.urandom(32)
        issued, grant = int(at.wall) - 60, number % 65_535 + 1
        address = ipaddress.IPv4Network((_ADDRESSES + number, 32))
        ticket = Ticket(
            NodeID(FIRST + number), grant, issued, issued + 86_400, number, 10**40 + number, report, (address,)
        )
        sealed = keys.seal(ticket, at.wall)
        self.client.start(at)
        self.client.granted(switch, Grant(0, grant, 86_400, 1, Locator(bytes(16), 0), 0, sealed), report, private, at)
        self.client.events()

    def plug(self, to: tuple[str, int], poll: select.epoll) -> None:
        """Another network, or the first."""
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.connect(to)
        poll.register(self.sock, select.EPOLLIN)

    def unplug(self) -> None:
        """No network."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def send(self, at: Now) -> None:
        """What it wants sent; without a network it is lost. What it was told is noted."""
        for datagram in self.client.datagrams():
            if self.sock is not None:
                try:
                    self.sock.send(datagram)
                except OSError:
                    pass
        for event in self.client.events():
            if isinstance(event, LocatorChanged) and self.confirmed is None:
                self.confirmed = at.mono


class Crowd:
    """All of them, and the loop."""

    def __init__(self, to: tuple[str, int], switch: NodeID, keys: TicketKeys, count: int) -> None:
        self._to, self._poll = to, select.epoll()
        self.nodes = [Node(number, switch, keys, now()) for number in range(count)]
        self._by_fd: dict[int, Node] = {}
        self._due: list[tuple[float, int]] = []
        self._armed = [float("inf")] * count
        self._numbers = {id(node): number for number, node in enumerate(self.nodes)}

    def plug(self) -> float:
        """All get a network, and are told; that instant."""
        for node in self.nodes:
            node.confirmed = None
            node.plug(self._to, self._poll)
            assert node.sock is not None
            self._by_fd[node.sock.fileno()] = node
        began = now()
        for node in self.nodes:
            node.client.network_changed(now())
            self._after(node, now())
        return began.mono

    def unplug(self) -> None:
        """All lose it."""
        self._by_fd.clear()
        for node in self.nodes:
            node.unplug()

    def run(self, seconds: float, *, until_confirmed: bool = False) -> None:
        """Let time pass; or until all are where they are."""
        end = now().mono + seconds
        while (at := now()).mono < end and not (until_confirmed and all(node.confirmed for node in self.nodes)):
            due = self._due[0][0] if self._due else end
            for fd, _ in self._poll.poll(max(0.0, min(due, end) - at.mono), len(self.nodes)):
                self._hear(self._by_fd[fd])
            at = now()
            while self._due and self._due[0][0] <= at.mono:
                when, number = heapq.heappop(self._due)
                if self._armed[number] == when:
                    self._armed[number] = float("inf")
                    self.nodes[number].client.handle_timer(at)
                    self._after(self.nodes[number], at)

    def _hear(self, node: Node) -> None:
        assert node.sock is not None
        try:
            datagram = node.sock.recv(_BUFFER)
        except OSError:
            return
        at = now()
        node.client.receive_report(datagram, at)
        self._after(node, at)

    def _after(self, node: Node, at: Now) -> None:
        node.send(at)
        due, number = node.client.deadline(at), self._numbers[id(node)]
        if due is not None and due != self._armed[number]:
            self._armed[number] = due
            heapq.heappush(self._due, (due, number))


def main() -> int:
    """The program."""
    server, switch, keys_file, pid, count, gap, runs = sys.argv[1:]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, int(count) + 100)), hard))
    load_libcrypto(None)
    keys = TicketKeys(NodeID.parse(switch), make_aead, os.urandom)
    keys.load(Path(keys_file).read_bytes())
    host, _, port = server.rpartition(":")
    crowd = Crowd((host, int(port)), NodeID.parse(switch), keys, int(count))
    crowd.plug()
    crowd.run(60.0, until_confirmed=True)
    if any(node.confirmed is None for node in crowd.nodes):
        print("not all could be attached", flush=True)
        return 1
    for _ in range(int(runs)):
        crowd.run(2.0)
        crowd.unplug()
        crowd.run(float(gap))
        used, own = process_seconds(int(pid)), time.process_time()
        began = crowd.plug()
        crowd.run(PATIENCE, until_confirmed=True)
        crowd.run(began + 1.0 - now().mono)
        seconds = now().mono - began
        cores, own = (process_seconds(int(pid)) - used) / seconds, (time.process_time() - own) / seconds
        taken = [None if node.confirmed is None else round(1000 * (node.confirmed - began), 1) for node in crowd.nodes]
        taken.sort(key=lambda value: (value is None, value))
        print(json.dumps({"taken": taken, "cores": round(cores, 3), "own": round(own, 3)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
