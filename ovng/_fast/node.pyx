"""The control thread's side of a node's loops: what Python may change and see. The picture is in `node.pxd`.

All methods but `run_outbound` and `run_inbound` are called under the GIL by one thread at a time, and never wait for a
loop. The door to this is `io/datapath.py`.
"""

from cpython.bytes cimport PyBytes_AsString
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ovng._fast.address cimport address_load, high_mask, low_mask, prefix
from ovng._fast.aead cimport AEAD_KEY, AEAD_NONCE
from ovng._fast.coalesce cimport coalesce_init
from ovng._fast.inbound cimport inbound_run
from ovng._fast.inner cimport INNER_MAX
from ovng._fast.intake cimport intake_free, intake_init
from ovng._fast.interactive cimport interactive_set
from ovng._fast.lookup cimport lookup_init
from ovng._fast.outbound cimport outbound_run
from ovng._fast.pages cimport pages_allocate
from ovng._fast.paths cimport MAX_PATHS, egress_free, egress_init, path
from ovng._fast.peers cimport (
    DOUBLE_ALL,
    DOUBLE_NONE,
    key_limits,
    peer,
    peer_add,
    peer_arrivals,
    peer_figures,
    peer_find,
    peer_install_receive,
    peer_install_send,
    peer_remove,
    peer_retire_receive,
    peer_retire_send,
    peers_free,
)
from ovng._fast.reclaim cimport flag_load, flag_store, pointer_publish, reclaim, reclaim_later
from ovng._fast.ring cimport ring_acknowledge, ring_create, ring_destroy, ring_drain, ring_put
from ovng._fast.routes cimport route_add, route_free, route_remove
from ovng._fast.stash cimport stash_free
from ovng._fast.tunqueue cimport TUN_FRAME, tunqueue_free, tunqueue_init
from ovng._fast.udp cimport UDP_BATCH_GRO, UDP_BATCH_SINGLE, UDP_COUNTERS, locator

import os
import socket

from ovng._fast import aead, frame, segment
from ovng._fast.udp import COUNTER_NAMES

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    FITS_MIN = 576
    INJECT_MAX = 65000  # bytes: header, tag and this fit one datagram
    UNKNOWN_PER_SECOND = 100
    EVENTS_PER_SECOND = 2000  # of packets that wait for a route or a key
    TOO_LARGE_PER_SECOND = 100
    DRAIN_MAX = 1024  # records of each ring per call

CONTROL, NO_ROUTE, NO_KEY, UNKNOWN_DATA = EVENT_CONTROL, EVENT_NO_ROUTE, EVENT_NO_KEY, EVENT_UNKNOWN_DATA
FIRST_RECEIVE, SOFT_LIMIT, HARD_LIMIT = EVENT_FIRST_RECEIVE, EVENT_SOFT_LIMIT, EVENT_HARD_LIMIT
TRAFFIC, TOO_LARGE = EVENT_TRAFFIC, EVENT_TOO_LARGE


def _in_order(names):
    """Names of the reasons −1, −2, …"""
    return tuple(names[reason] for reason in sorted(names, reverse=True))


INBOUND_DROPS = (
    *_in_order(frame.DROP_NAMES),
    "replay_number", "replay_old", "replay_duplicate",
    *_in_order(aead.DROP_NAMES),
    "inner_version", "inner_length",
    "misaddressed", "no_session", "unknown_key", "cluster_flag", "inner_source", "control_too_big",
    "sojourn",
)
OUTBOUND_DROPS = (
    *_in_order(segment.DROP_NAMES),
    "local_noise", "no_path", "too_big", "seal_failed", "event_rate", "held_over",
)
if len(INBOUND_DROPS) != IN_DROPS or len(OUTBOUND_DROPS) != OUT_DROPS:
    raise ImportError("drop counters and their names disagree")


cdef void _release_path(void* object) noexcept nogil:
    close((<path*> object).fd)
    free(object)


cdef void _release(void* object) noexcept nogil:
    free(object)


cdef int _read_prefix(prefix* into, version, bytes packed, bits) except -1:
    cdef int width = 4 if version == 4 else 16
    if version not in (4, 6) or len(packed) != width or not 0 <= bits <= 8 * width:
        raise ValueError("not a prefix")
    address_load(&into.base, <const uint8_t*> PyBytes_AsString(packed), version)
    into.bits = bits
    into.base.high &= high_mask(into.bits)
    into.base.low &= low_mask(into.bits)
    return 0


cdef const uint8_t* _bytes_of(bytes data, Py_ssize_t length) except NULL:
    if len(data) != length:
        raise ValueError(f"{length} bytes are needed, not {len(data)}")
    return <const uint8_t*> PyBytes_AsString(data)


cdef class NodeLoops:
    """Both loops' memory and what the control thread may do to it.

    Raises MemoryError or OSError; `hash_key` is 16 random bytes; `segments_max` 1 turns GSO off.
    """

    cdef node_state* node
    cdef int running
    cdef uint64_t serial  # of the newest path
    cdef bint closed

    def __cinit__(self):
        self.node = <node_state*> calloc(1, sizeof(node_state))
        if self.node == NULL:
            raise MemoryError
        self.node.event_fd = self.node.outbound_wake = self.node.outbound_called = self.node.inbound_wake = -1

    def __init__(
        self,
        uint64_t id,
        int tun_fd,
        bint vnet,
        bint tso,
        bint uso,
        bint gro,
        uint32_t segments_max,
        size_t ring_bytes,
        bytes hash_key not None,
    ):
        cdef node_state* node = self.node
        cdef uint64_t now = monotonic_ms()
        if node.event_fd >= 0:
            raise RuntimeError("initialised already")
        node.id, node.tun_fd, node.vnet, node.segments_max = id, tun_fd, vnet, segments_max
        node.active, node.second, node.standby, node.awake = -1, -1, -1, 1
        node.event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        node.outbound_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        node.outbound_called = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        node.inbound_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        lookup_init(&node.peers, &node.readers, _bytes_of(hash_key, 16))
        lookup_init(&node.routes.prefixes, &node.readers, _bytes_of(hash_key, 16))
        node.outbound.ring = ring_create(ring_bytes, node.event_fd)
        node.inbound.ring = ring_create(ring_bytes, node.event_fd)
        node.outbound.injected = ring_create(ring_bytes, node.outbound_wake)
        node.outbound.held = ring_create(HELD_BYTES, -1)
        node.outbound.frame = pages_allocate(TUN_FRAME)
        node.outbound.arena = pages_allocate(ARENA)
        memcpy(&node.outbound.flows.key, _bytes_of(os.urandom(8), 8), 8)
        node.outbound.events.rate = EVENTS_PER_SECOND
        node.outbound.events.tokens, node.outbound.events.at_ms = EVENTS_PER_SECOND, now
        node.outbound.too_large.rate = TOO_LARGE_PER_SECOND
        node.outbound.too_large.tokens, node.outbound.too_large.at_ms = TOO_LARGE_PER_SECOND, now
        node.inbound.unknown.rate = UNKNOWN_PER_SECOND
        node.inbound.unknown.tokens, node.inbound.unknown.at_ms = UNKNOWN_PER_SECOND, now
        if (
            node.outbound.ring == NULL
            or node.inbound.ring == NULL
            or node.outbound.injected == NULL
            or node.outbound.held == NULL
            or node.outbound.frame == NULL
            or node.outbound.arena == NULL
            or tunqueue_init(&node.outbound.queue) < 0
            or intake_init(&node.inbound.intake, UDP_BATCH_GRO if gro else UDP_BATCH_SINGLE) < 0
        ):
            raise MemoryError
        # The sender's socket is set batch by batch; any one will do to begin with.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            if egress_init(&node.outbound.active, any_socket.fileno(), segments_max, True) < 0:
                raise MemoryError
            if egress_init(&node.outbound.second, any_socket.fileno(), segments_max, False) < 0:
                raise MemoryError
        coalesce_init(&node.inbound.out, tun_fd, vnet, tso, uso)

    def __dealloc__(self):
        if self.node != NULL:
            self._free()
            free(self.node)

    cdef void _free(self) noexcept:
        """No loop runs: a running one holds a reference to us."""
        cdef node_state* node = self.node
        cdef int i
        if self.closed:
            return
        self.closed = True
        peers_free(&node.peers)
        route_free(&node.routes)
        for i in range(MAX_PATHS):
            if node.paths[i] != NULL:
                _release_path(node.paths[i])
                node.paths[i] = NULL
        reclaim(&node.readers)
        ring_destroy(node.outbound.ring)
        ring_destroy(node.inbound.ring)
        ring_destroy(node.outbound.injected)
        ring_destroy(node.outbound.held)
        node.inbound.ring = node.outbound.ring = node.outbound.injected = NULL
        node.outbound.held = NULL
        free(node.outbound.frame)
        free(node.outbound.arena)
        node.outbound.frame = node.outbound.arena = NULL
        tunqueue_free(&node.outbound.queue)
        intake_free(&node.inbound.intake)
        egress_free(&node.outbound.active)
        egress_free(&node.outbound.second)
        stash_free(&node.outbound.stash)
        free(node.interactive)
        node.interactive = NULL
        for fd in (node.event_fd, node.outbound_wake, node.outbound_called, node.inbound_wake):
            if fd >= 0:
                close(fd)
        node.event_fd = node.outbound_wake = node.outbound_called = node.inbound_wake = -1

    cdef node_state* _open(self) except NULL:
        """What nobody can hold any more is freed here, at the control thread's next step."""
        if self.closed:
            raise RuntimeError("the data path is closed")
        reclaim(&self.node.readers)
        return self.node

    # -- Threads

    def run_outbound(self):
        """One thread's only call; returns after `stop`."""
        self._open()
        self.running += 1
        with nogil:
            outbound_run(self.node)
        self.running -= 1

    def run_inbound(self):
        """As `run_outbound`."""
        self._open()
        self.running += 1
        with nogil:
            inbound_run(self.node)
        self.running -= 1

    def stop(self):
        """Both loops return after the batch they are in. Does not wait."""
        flag_store(&self._open().stopping, 1)
        self._wake()

    def close(self):
        """Free all, erase keys, close paths. The loops must have returned (RuntimeError)."""
        if self.running:
            raise RuntimeError("stop the loops first")
        self._free()

    def _wake(self):
        os.eventfd_write(self.node.outbound_called, 1)
        os.eventfd_write(self.node.outbound_wake, 1)
        os.eventfd_write(self.node.inbound_wake, 1)

    # -- Paths

    def set_path(self, int index, int fd, int family, bytes switch not None):
        """Publish a path (0 … 3). `fd` becomes ours and is closed when the path is replaced; `switch` is a locator."""
        cdef node_state* node = self._open()
        cdef path* new
        if not 0 <= index < MAX_PATHS:
            raise ValueError(f"a path is 0 to {MAX_PATHS - 1}")
        new = <path*> calloc(1, sizeof(path))
        if new == NULL:
            raise MemoryError
        try:
            memcpy(&new.switch, _bytes_of(switch, sizeof(locator)), sizeof(locator))
        except BaseException:
            free(new)
            raise
        self.serial += 1
        new.fd, new.family, new.segments_max, new.serial = fd, family, node.segments_max, self.serial
        self._replace_path(index, new)

    def clear_path(self, int index):
        """Take a path away; harmless when there is none."""
        self._open()
        if not 0 <= index < MAX_PATHS:
            raise ValueError(f"a path is 0 to {MAX_PATHS - 1}")
        self._replace_path(index, NULL)

    cdef int _replace_path(self, int index, path* new) except -1:
        cdef path* old = <path*> self.node.paths[index]
        pointer_publish(&self.node.paths[index], new)
        if old != NULL:
            reclaim_later(&self.node.readers, old, _release_path)
        self._wake()  # the inbound loop has the old one in its poll
        return 0

    def set_active(self, int index):
        """The path that is sent on; −1: none, packets are held."""
        flag_store(&self._open().active, index)
        os.eventfd_write(self.node.outbound_wake, 1)

    def set_second(self, int index):
        """The path on which doubled packets leave, too; −1: none."""
        flag_store(&self._open().second, index)

    def set_standby(self, int index):
        """The path that is sent on as soon as the active one refuses; −1: none."""
        flag_store(&self._open().standby, index)

    # -- What is doubled

    def set_doubling(self, uint64_t id, int mode):
        """0: none of the packets to the peer, 1: interactive ones, 2: all. Raises LookupError for an unknown peer."""
        cdef peer* p = peer_find(&self._open().peers, id)
        if not DOUBLE_NONE <= mode <= DOUBLE_ALL:
            raise ValueError("a mode is 0 to 2")
        if p == NULL:
            raise LookupError(f"no peer {id:016x}")
        flag_store(&p.doubling, mode)

    # -- What fits

    def set_fits(self, uint64_t id, int size):
        """Packets of at most `size` bytes reach the peer in one piece; 0: not known. LookupError: unknown peer."""
        cdef peer* p = peer_find(&self._open().peers, id)
        if size and not FITS_MIN <= size <= INNER_MAX:
            raise ValueError(f"a packet has {FITS_MIN} to {INNER_MAX} bytes")
        if p == NULL:
            raise LookupError(f"no peer {id:016x}")
        flag_store(&p.fits, size)

    def bulk(self):
        """Bytes of large packets that were sealed or authentic, until now."""
        return self.node.outbound.bulk + self.node.inbound.bulk

    def set_interactive(self, dscp, ports):
        """DSCP values (0 … 63) and ports (0 … 65535)."""
        cdef node_state* node = self._open()
        cdef interactive_set* new
        cdef interactive_set* old = <interactive_set*> node.interactive
        if not all(0 <= value < 64 for value in dscp) or not all(0 <= port < 65536 for port in ports):
            raise ValueError("a DSCP is 0 to 63, a port 0 to 65535")
        new = <interactive_set*> calloc(1, sizeof(interactive_set))
        if new == NULL:
            raise MemoryError
        for value in dscp:
            new.dscp |= <uint64_t> 1 << <int> value
        for port in ports:
            new.ports[<int> port >> 3] |= <uint8_t> (1 << (<int> port & 7))
        pointer_publish(&node.interactive, new)
        if old != NULL:
            reclaim_later(&node.readers, old, _release)

    # -- Peers, keys, routes

    def add_peer(self, uint64_t id, list prefixes not None):
        """`prefixes` are (version, packed address, bits). Again: the prefixes are replaced, keys stay."""
        cdef prefix* owned = <prefix*> calloc(len(prefixes) or 1, sizeof(prefix))
        cdef uint32_t count = 0
        if owned == NULL:
            raise MemoryError
        try:
            for version, packed, bits in prefixes:
                _read_prefix(&owned[count], version, packed, bits)
                count += 1
            peer_add(&self._open().peers, id, owned, count)
        finally:
            free(owned)

    def remove_peer(self, uint64_t id):
        """With all its keys. Whether it was there."""
        return bool(peer_remove(&self._open().peers, id))

    def install_send(
        self, uint64_t id, uint8_t key_id, int cipher, bytes key not None, bytes iv not None, limits not None
    ):
        """`limits`: soft packets and blocks, hard ones, the first ones. Replaces the active generation."""
        cdef key_limits bounds
        bounds.soft_packets, bounds.soft_blocks, bounds.hard_packets, bounds.hard_blocks = limits[:4]
        bounds.first_packet, bounds.first_block = limits[4:]
        peer_install_send(
            &self._open().peers, id, key_id, cipher, _bytes_of(key, AEAD_KEY), _bytes_of(iv, AEAD_NONCE), &bounds
        )

    def install_receive(self, uint64_t id, uint8_t key_id, int cipher, bytes key not None, bytes iv not None):
        """Beside at most three others; one of the same key ID is replaced."""
        peer_install_receive(
            &self._open().peers, id, key_id, cipher, _bytes_of(key, AEAD_KEY), _bytes_of(iv, AEAD_NONCE)
        )

    def retire_send(self, uint64_t id):
        """Packets to the peer come up as no_key from now on. Whether there was a key."""
        return bool(peer_retire_send(&self._open().peers, id))

    def retire_receive(self, uint64_t id, uint8_t key_id):
        """Whether there was such a generation."""
        return bool(peer_retire_receive(&self._open().peers, id, key_id))

    def add_route(self, int version, bytes packed not None, int bits, uint64_t id):
        """Lead a prefix to a peer; another peer's route for the same prefix is replaced."""
        cdef prefix p
        _read_prefix(&p, version, packed, bits)
        route_add(&self._open().routes, &p, id)

    def remove_route(self, int version, bytes packed not None, int bits, uint64_t id):
        """Whether the prefix led to that peer."""
        cdef prefix p
        _read_prefix(&p, version, packed, bits)
        return bool(route_remove(&self._open().routes, &p, id))

    # -- Packets and events

    def inject(self, bytes packet not None):
        """Hand one IP packet to the outbound loop. False when the ring is full or the packet too large or empty."""
        cdef node_state* node = self._open()
        cdef size_t length = <size_t> len(packet)
        if not 0 < length <= INJECT_MAX:
            return False
        return ring_put(node.outbound.injected, INJECT_PACKET, PyBytes_AsString(packet), length, NULL, 0) == 0

    def send_keepalive(self, uint64_t id):
        """An empty DATA packet. False when the ring is full."""
        return ring_put(self._open().outbound.injected, INJECT_KEEPALIVE, &id, sizeof(id), NULL, 0) == 0

    def send_again(self, uint64_t since_ms, uint64_t most):
        """The newest `most` bytes of what others took since then (CLOCK_MONOTONIC milliseconds) by the active path.

        False: no room.
        """
        return ring_put(
            self._open().outbound.injected, INJECT_AGAIN, &since_ms, sizeof(since_ms), &most, sizeof(most)
        ) == 0

    def fileno(self):
        """The eventfd that is readable while `records` has something."""
        return self.node.event_fd

    def records(self):
        """(kind, payload) of what the loops told since the last call; at most 1024 of each."""
        cdef node_state* node = self._open()
        ring_acknowledge(node.event_fd)
        return ring_drain(node.inbound.ring, DRAIN_MAX) + ring_drain(node.outbound.ring, DRAIN_MAX)

    # -- Figures

    def wake_on_traffic(self):
        """Tell TRAFFIC once, with the next packet that is sealed or authentic."""
        flag_store(&self._open().awake, 0)

    def activity(self):
        """CLOCK_MONOTONIC milliseconds of the last authentic packet in and the last sealed one out; 0: never."""
        return self.node.inbound.last_ms, self.node.outbound.last_ms

    cdef uint64_t _sent(self, int counter):
        """Of both egresses."""
        cdef node_state* node = self.node
        return node.outbound.active.sender.counters[counter] + node.outbound.second.sender.counters[counter]

    def stats(self):
        cdef node_state* node = self._open()
        cdef path* active = <path*> node.paths[node.active] if 0 <= node.active < MAX_PATHS else NULL
        drops = {name: node.inbound.drops[i] for i, name in enumerate(INBOUND_DROPS)}
        drops.update({name: node.outbound.drops[i] for i, name in enumerate(OUTBOUND_DROPS)})
        drops["event_ring_full"] = node.inbound.ring.dropped + node.outbound.ring.dropped
        drops["inject_ring_full"] = node.outbound.injected.dropped
        drops["tun_write"] = node.inbound.out.failed
        for i, name in enumerate(COUNTER_NAMES):
            value = node.inbound.intake.receiver.counters[i] + self._sent(i)
            if name.startswith("send_") or name == "receive_truncated":
                drops[name] = value
        return {
            "sent_packets": node.outbound.packets,
            "sent_bytes": node.outbound.bytes,
            "sent_messages": self._sent(COUNTER_NAMES.index("sent_messages")),
            "gso_given_up": self._sent(COUNTER_NAMES.index("gso_given_up")),
            "received_packets": node.inbound.packets,
            "received_bytes": node.inbound.bytes,
            "received_messages": node.inbound.intake.receiver.counters[COUNTER_NAMES.index("received_messages")],
            "receive_errors": node.inbound.intake.receiver.counters[COUNTER_NAMES.index("receive_errors")],
            "held": node.outbound.held_packets,
            "held_sent": node.outbound.held_sent,
            "sent_later": node.outbound.active.sent_later,
            "sent_again": node.outbound.active.recent.sent_again,
            "stashed": node.outbound.stashed,
            "resent": node.outbound.resent,
            "doubled": node.outbound.doubled,
            "cut": node.outbound.cut,
            "oversize": node.outbound.oversize,
            "sparse": node.outbound.sparse,
            "keepalives": node.inbound.keepalives,
            "tun_reads": node.outbound.reads,
            "tun_writes": node.inbound.out.writes,
            "tun_error": node.outbound.tun_error,
            "moderation": bool(node.outbound.moderation.works),
            "last_tx_ms": node.outbound.last_ms,
            "last_rx_ms": node.inbound.last_ms,
            "gso_segments": active.segments_max if active != NULL else node.segments_max,
            "drops": drops,
            "offloads": {
                "vnet_hdr": bool(node.vnet),
                "tso": bool(node.inbound.out.tso),
                "uso": bool(node.inbound.out.uso),
                "gso": (active.segments_max if active != NULL else node.segments_max) > 1,
            },
        }

    def path_stats(self, int index):
        """Datagrams and bytes sent and received, milliseconds of the last DATA each way; None: there is no such path."""
        cdef node_state* node = self._open()
        cdef path* at = <path*> node.paths[index] if 0 <= index < MAX_PATHS else NULL
        if at == NULL:
            return None
        return (
            at.sent.datagrams, at.sent.bytes, at.sent.last_ms,
            at.received.datagrams, at.received.bytes, at.received.last_ms,
        )

    def peer_stats(self, uint64_t id):
        """None for an unknown peer."""
        cdef peer* p = peer_find(&self._open().peers, id)
        return None if p == NULL else peer_figures(p)

    def arrivals(self, uint64_t id):
        """Of each receiving generation of a peer, by key ID: newest packet number, how many came. Empty: unknown."""
        cdef peer* p = peer_find(&self._open().peers, id)
        return {} if p == NULL else peer_arrivals(p)
