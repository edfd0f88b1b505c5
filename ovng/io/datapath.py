"""The door to a node's data path: two threads of C speed, and what the control plane tells and hears of them.

    applications ⇄ TUN ⇄ [outbound, inbound loops: route, seal, open, check] ⇄ UDP sockets ⇄ Switch

Packets pass without Python. The control plane publishes peers, keys, routes and paths, which the loops read without
locks, and hears `Event`s: poll `fileno()`, then call `events()`. Nothing here ever waits for a loop but `stop`, and no
loop waits for Python: a control plane that is slow or raises loses events, which are counted, and never traffic.

Call everything from one thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ovng import limits
from ovng._fast import node as fast
from ovng._fast.udp import gso_limit, stamp
from ovng.errors import SystemProblem
from ovng.ids import LOCATOR_SIZE, NODE_ID_SIZE, Locator, NodeID, Prefix
from ovng.io.sockets import grow_buffers, set_fragments
from ovng.io.tun import Tun

Event = (
    tuple[Literal["control"], int, Locator, bytes]  # path, source, datagram (CONTROL, REPORT or PRIVATE)
    | tuple[Literal["no_route"], bytes]  # IP packet to a destination without route
    | tuple[Literal["no_key"], NodeID, bytes]  # peer, IP packet that waits for a key
    | tuple[Literal["unknown_data"], NodeID]  # source of DATA without a session; at most 100 per second
    | tuple[Literal["first_receive", "soft_limit", "hard_limit"], NodeID, int]  # peer, key ID; once per generation
    | tuple[Literal["too_large"], NodeID, bytes]  # peer, the first bytes of an IP packet; at most 100 per second
    | tuple[Literal["traffic"]]  # the first packet after `wake_on_traffic`
)

GSO_SEGMENTS = 128  # UDP_MAX_SEGMENTS of Linux 6.9 and newer
RING_BYTES = 1 << 20
SOCKET_BUFFER = 8 << 20  # holds 6 ms at 10 Gbit/s; unused buffer costs nothing
EVERYTHING = (1 << 64) - 1  # bytes
STOP_SECONDS = 5.0

_KEY_EVENTS: dict[int, Literal["first_receive", "soft_limit", "hard_limit"]] = {
    fast.FIRST_RECEIVE: "first_receive",
    fast.SOFT_LIMIT: "soft_limit",
    fast.HARD_LIMIT: "hard_limit",
}

_SOL_UDP = 17
_UDP_GRO = 104  # <linux/udp.h>


class PathFigures(NamedTuple):
    """What passed on a path since it was set: datagrams of every type, and their bytes as UDP payload."""

    sent_datagrams: int
    sent_bytes: int
    received_datagrams: int
    received_bytes: int
    last_tx_ms: int
    """CLOCK_MONOTONIC milliseconds of the last DATA datagram sent; 0: never."""
    last_rx_ms: int
    """The same of the last authentic DATA datagram received."""


class _ControlSide:
    """Python's own hand on a path: its socket, the Switch's address for it, and what control sent."""

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.sock, self.address = sock, address
        self.datagrams = self.bytes = 0


class NodeDataPath:
    """The data path of the node `me` over `tun`, which stays the caller's to close, after `close`.

    `offloads` turns `gso` or `gro` off (missing = on); the TUN's own are decided by `open_tun`. `segments_max` bounds
    the datagrams of one segmented send, as an older kernel does (64).
    Without `short_queue` nothing is dropped for having waited too long. Raises SystemProblem.
    """

    def __init__(
        self,
        me: NodeID,
        tun: Tun,
        offloads: Mapping[str, bool] | None = None,
        *,
        ring_bytes: int = RING_BYTES,
        short_queue: bool = True,
        segments_max: int = GSO_SEGMENTS,
    ) -> None:
        wanted = offloads or {}
        self._tun, self._short_queue = tun, short_queue
        self._timestamps = short_queue
        self._gro = wanted.get("gro", True) and _kernel_has_gro()
        self._paths: dict[int, _ControlSide] = {}
        self._active = -1
        self._threads: list[threading.Thread] = []
        self._control_failed = 0
        self._loops = fast.NodeLoops(
            me,
            tun.fileno(),
            tun.offloads.vnet_hdr,
            tun.offloads.tso,
            tun.offloads.uso,
            self._gro,
            min(gso_limit(), segments_max) if wanted.get("gso", True) else 1,
            ring_bytes,
            os.urandom(16),
        )

    # -- Life

    def start(self) -> None:
        """Run the two loops in threads of their own. Once."""
        if self._threads:
            raise RuntimeError("started already")
        for name, run in (("ovng-outbound", self._loops.run_outbound), ("ovng-inbound", self._loops.run_inbound)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Return when both loops have ended: after the batch they are in. Harmless when not running."""
        if not self._threads:
            return
        self._loops.stop()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
            if thread.is_alive():
                raise SystemProblem(f"the {thread.name} thread does not end")
        self._threads.clear()

    def close(self) -> None:
        """Stop, erase all keys, close the paths. The TUN stays open. Harmless when done twice."""
        self.stop()
        self._loops.close()
        for held in self._paths.values():
            held.sock.close()
        self._paths.clear()

    # -- Paths

    def set_path(self, index: int, sock: socket.socket, switch: Locator, switch_id: NodeID | None = None) -> None:
        """Make `sock` (UDP, IPv6 dual-stack or IPv4) the path `index` (0 … 3) to the Switch at `switch`.

        The socket is duplicated, and its buffers, GRO and fragmentation are set; the caller may close its own.
        It takes the place of a path of that index, whose figures begin anew. Where both are the same socket nothing is
        lost; else what waits unread in the old one is.
        Raises SystemProblem when a socket of its family cannot reach `switch`.
        """
        address = _address(sock, switch)
        _prepare(sock, self._gro)
        if self._short_queue and not stamp(sock.fileno()):
            self._timestamps = False
        ours, loops_own = sock.dup(), sock.dup()
        try:
            self._loops.set_path(index, loops_own.fileno(), sock.family, switch.packed())
        except BaseException:
            ours.close()
            loops_own.close()
            raise
        loops_own.detach()
        self._forget(index)
        self._paths[index] = _ControlSide(ours, address)

    def clear_path(self, index: int) -> None:
        """Stop using a path. Harmless when there is none."""
        self._loops.clear_path(index)
        self._forget(index)

    def _forget(self, index: int) -> None:
        if index in self._paths:
            self._paths.pop(index).sock.close()

    def set_active(self, index: int) -> None:
        """Send on this path; −1: on none.

        While there is none (or that path is not set) the newest 256 KiB of packets are held, and leave when there is
        one: 32 KiB of them at once, the rest in their order 40 ms later. What the path before could not send for want
        of a link leaves then too, if that was within a second.
        """
        self._active = index
        self._loops.set_active(index)

    def set_second(self, index: int) -> None:
        """Send doubled packets (`set_doubling`) on this path, too; −1: on none. The active path counts as none."""
        self._loops.set_second(index)

    def set_standby(self, index: int) -> None:
        """The path that takes what the active one refuses for want of a link or a route, at once, until another is made
        active; −1: none does.
        """
        self._loops.set_standby(index)

    def send_control(self, datagram: bytes, path: int | None = None) -> bool:
        """Send one datagram to the Switch from this thread, on `path` or the active one. False: lost, and counted."""
        held = self._paths.get(self._active if path is None else path)
        if held is None:
            self._control_failed += 1
            return False
        for _ in range(2):  # an ICMP error of an earlier datagram is told once
            try:
                held.sock.sendto(datagram, socket.MSG_DONTWAIT, held.address)
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    continue
                break
            held.datagrams += 1
            held.bytes += len(datagram)
            return True
        self._control_failed += 1
        return False

    # -- Peers, keys, routes

    def add_peer(self, peer: NodeID, prefixes: Iterable[Prefix]) -> None:
        """Know a peer and the inner source addresses it may use. Again: prefixes are replaced, keys stay."""
        self._loops.add_peer(peer, [_packed(prefix) for prefix in prefixes])

    def remove_peer(self, peer: NodeID) -> bool:
        """Forget a peer and erase its keys; its routes stay and lead to no_key. Whether it was known."""
        return self._loops.remove_peer(peer)

    def set_doubling(self, peer: NodeID, mode: int) -> None:
        """Which packets to `peer` carry DUP (PROTOCOL 2) and leave on the second path, too: 0 none, 1 interactive ones,
        2 all. A peer begins with 0. Raises LookupError for an unknown peer.
        """
        self._loops.set_doubling(peer, mode)

    def set_fits(self, peer: NodeID, size: int) -> None:
        """IP packets of at most `size` bytes (576 … 65,535) reach `peer` in one piece; 0: not known, nothing is done.

        SYNs announce no more, both ways, and TCP is cut to it. Of what cannot be cut and must not be fragmented
        (IPv4 with DF, IPv6 above 1280) "too_large" is told; it leaves nevertheless, and the outer IP layer fragments
        it. Raises LookupError for an unknown peer.
        """
        self._loops.set_fits(peer, size)

    def set_interactive(self, dscp: frozenset[int], ports: frozenset[int]) -> None:
        """What is interactive, for all peers: packets of these DSCP values (0 … 63), and TCP and UDP from or to these
        ports. ValueError when one is out of range.
        """
        self._loops.set_interactive(dscp, ports)

    def install_send(
        self,
        peer: NodeID,
        key_id: int,
        cipher: int,
        key: bytes,
        iv: bytes,
        *,
        soft_packets: int = limits.REKEY_PACKETS,
        soft_blocks: int = limits.REKEY_BLOCKS,
        hard_packets: int = limits.HARD_PACKETS,
        hard_blocks: int = limits.HARD_BLOCKS,
        first_packet: int = 1,
        first_block: int = 1,
    ) -> None:
        """Seal what goes to `peer` with this generation from the next packet on (PROTOCOL 2 and 4).

        `cipher` 1 or 2, `key` 32 and `iv` 12 bytes; `key_id` is the receiver's. Raises LookupError for an unknown peer,
        ValueError for the key that it had last: packet numbers would be used twice. Tests begin near the limits, at a
        later `first_packet` and `first_block`: numbers are left out, and none is used twice by that.
        """
        bounds = (soft_packets, soft_blocks, hard_packets, hard_blocks, first_packet, first_block)
        self._loops.install_send(peer, key_id, cipher, key, iv, bounds)

    def install_receive(self, peer: NodeID, key_id: int, cipher: int, key: bytes, iv: bytes) -> None:
        """Open packets of `peer` under this key ID too; at most four generations at a time (RuntimeError).

        Raises ValueError when that key is installed there already: what it opened could be replayed.
        """
        self._loops.install_receive(peer, key_id, cipher, key, iv)

    def retire_send(self, peer: NodeID) -> bool:
        """Erase the sending key: packets come up as no_key. Whether there was one."""
        return self._loops.retire_send(peer)

    def retire_receive(self, peer: NodeID, key_id: int) -> bool:
        """Erase one receiving generation. Whether there was one."""
        return self._loops.retire_receive(peer, key_id)

    def add_route(self, prefix: Prefix, peer: NodeID) -> None:
        """Lead inner destinations in `prefix` to `peer`, the longest prefix first. Replaces another peer's route."""
        self._loops.add_route(*_packed(prefix), peer)

    def remove_route(self, prefix: Prefix, peer: NodeID) -> bool:
        """Whether `prefix` led to `peer`; if not, nothing changes."""
        return self._loops.remove_route(*_packed(prefix), peer)

    # -- Packets and events

    def inject(self, packet: bytes) -> bool:
        """Route, seal and send an IP packet held back earlier. False when it found no room (counted)."""
        return self._loops.inject(packet)

    def send_keepalive(self, peer: NodeID) -> bool:
        """Send an empty packet, by which `peer` hears that we are here: after a gap it then sends again what was lost.

        Nothing leaves without a key or an active path. False when it found no room (counted).
        """
        return self._loops.send_keepalive(peer)

    def send_again(self, since: float, most: int = EVERYTHING) -> bool:
        """Send once more, by the active path, what was sent since then (monotonic seconds) by others, which may not
        have carried it: of the last second the newest 256 KiB, unless there went on being more than that path could
        lose unnoticed (64 KiB in 5 ms); of that the newest `most` bytes, rounded up to whole datagrams, in parts of
        8 KiB every 2 ms behind what is new. What is left can be asked for again. The far end drops what it has.
        False when it found no room (counted).
        """
        return self._loops.send_again(int(1000 * max(0.0, since)), most)

    def write_tun(self, packet: bytes) -> bool:
        """Hand an IP packet to this machine, for example an ICMP error. False when the TUN does not take it."""
        header = bytes(10) if self._tun.offloads.vnet_hdr else b""
        try:
            os.write(self._tun.fileno(), header + packet)
        except OSError:
            return False
        return True

    def fileno(self) -> int:
        """An eventfd that is readable when `events` has something to tell."""
        return self._loops.fileno()

    def events(self) -> list[Event]:
        """What happened since the last call. What one call leaves behind makes `fileno` readable again."""
        return [_decode(kind, payload) for kind, payload in self._loops.records()]

    # -- Figures

    def stats(self) -> dict[str, Any]:
        """Counters since the start: packets and bytes (inner) each way, `drops` by reason, `offloads` in use,
        `gso_segments` per send (1: none). Without the offload `timestamps` nothing is dropped for having waited.

        `held` packets had to wait for a path (TUN's frames, also super-packets), `held_sent` have left since;
        `sent_later` datagrams left on another path than the one that could not send them, `sent_again` once more,
        because the first path may not have carried them.
        `stashed` TCP packets were kept because their peer was silent, `resent` left again when it was heard; `doubled`
        packets left with DUP.
        `cut`: TUN frames whose TCP was cut smaller to fit the path; `oversize` packets were too large and left whole.
        `last_rx_ms`, `last_tx_ms`: CLOCK_MONOTONIC milliseconds of the last authentic packet in and sealed packet out.
        """
        figures = self._loops.stats()
        figures["offloads"] |= {"gro": self._gro, "timestamps": self._timestamps}
        figures["drops"]["send_control"] = self._control_failed
        return figures

    def path_stats(self, index: int) -> PathFigures | None:
        """What passed on the path `index` since it was set; None when it is not."""
        figures, held = self._loops.path_stats(index), self._paths.get(index)
        if figures is None or held is None:
            return None
        sent, sent_bytes, last_tx, received, received_bytes, last_rx = figures
        return PathFigures(sent + held.datagrams, sent_bytes + held.bytes, received, received_bytes, last_tx, last_rx)

    def wake_on_traffic(self) -> None:
        """Tell "traffic" once, when the next packet is sealed or found authentic: nobody needs to look until then."""
        self._loops.wake_on_traffic()

    def bulk(self) -> int:
        """Bytes of packets of 1000 and more that were sent, or received and authentic, since the start."""
        return self._loops.bulk()

    def peer_stats(self, peer: NodeID) -> dict[str, Any] | None:
        """Counters and key IDs of one peer; None when it is unknown."""
        return self._loops.peer_stats(peer)

    def arrivals(self, peer: NodeID) -> dict[int, tuple[int, int]]:
        """By key ID of each receiving generation of a peer: newest packet number, and how many packets came.

        What is missing between was lost, or is late. Exact while nothing comes in, else to a batch. Empty: unknown.
        """
        return self._loops.arrivals(peer)

    @property
    def last_rx(self) -> int:
        """CLOCK_MONOTONIC milliseconds of the last authentic packet; 0: none yet."""
        return self._loops.activity()[0]

    @property
    def last_tx(self) -> int:
        """CLOCK_MONOTONIC milliseconds of the last packet sealed; 0: none yet."""
        return self._loops.activity()[1]


def _decode(kind: int, payload: bytes) -> Event:
    if kind == fast.CONTROL:
        return "control", payload[0], Locator.unpack(payload[1 : 1 + LOCATOR_SIZE]), payload[1 + LOCATOR_SIZE :]
    if kind == fast.NO_ROUTE:
        return "no_route", payload
    if kind == fast.TRAFFIC:
        return ("traffic",)
    # The loops write IDs in the machine's order.
    peer, rest = NodeID(int.from_bytes(payload[:NODE_ID_SIZE], sys.byteorder)), payload[NODE_ID_SIZE:]
    if kind == fast.NO_KEY:
        return "no_key", peer, rest
    if kind == fast.TOO_LARGE:
        return "too_large", peer, rest
    if kind == fast.UNKNOWN_DATA:
        return "unknown_data", peer
    return _KEY_EVENTS[kind], peer, rest[0]


def _packed(prefix: Prefix) -> tuple[int, bytes, int]:
    return prefix.version, prefix.network_address.packed, prefix.prefixlen


def _address(sock: socket.socket, switch: Locator) -> tuple[str, int]:
    if sock.family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, switch.address), switch.port
    if switch.ip.version != 4:
        raise SystemProblem(f"an IPv4 socket cannot reach the Switch at {switch}")
    return str(switch.ip), switch.port


def _prepare(sock: socket.socket, gro: bool) -> None:
    """Options that help; a kernel that refuses one serves without."""
    with contextlib.suppress(OSError):
        sock.setsockopt(_SOL_UDP, _UDP_GRO, int(gro))
    with contextlib.suppress(OSError):
        # The outer IP layer fragments what is above the path's MTU; GSO of such is refused, so it goes singly.
        set_fragments(sock, allowed=True)
    grow_buffers(sock, SOCKET_BUFFER)


def _kernel_has_gro() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        except OSError:
            return False
    return True
