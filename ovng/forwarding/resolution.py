"""The overlay's ARP at the Switch: who has this inner address, and which routes there are (PROTOCOL 7).

Asked and answered under the private keys of an attachment. An answer goes only to a confirmed locator of the asker,
because it is larger than the question, and questions can be replayed. Whoever asked is told when the answer changes;
a node that asked for the route list is told when that does.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, deque
from collections.abc import Iterable

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.forwarding.admission import RateLimit
from ovng.forwarding.askers import Askers
from ovng.forwarding.attachments import Attachments
from ovng.forwarding.directory import Directory
from ovng.forwarding.moves import confirmed_locator
from ovng.forwarding.record import FLAG_WANTS_ROUTES, Record, record_flags
from ovng.forwarding.store import AES_256_GCM, AeadFactory, NodeTable, Out, Random
from ovng.forwarding.walk import TableWalk
from ovng.ids import Locator, NodeID, Prefix
from ovng.limits import NOBODY_SECONDS, NOT_YET_SECONDS, RESOLUTION_SECONDS
from ovng.session.keys import master_keys
from ovng.wire.private import (
    NONCE_SIZE,
    ROUTES_PER_PAGE,
    Changed,
    Private,
    Resolve,
    Resolved,
    ResolveStatus,
    RouteList,
    Routes,
    Sealed,
    parse_private,
    private_header,
)

_REQUESTS_PER_SECOND = 200  # of one node
_PUSHES_MAX = 65_536
_PUSHES_PER_TICK = 1_000
_SWEPT_PER_SECOND = 5_000


class Resolution:
    """Answers private requests and pushes changes."""

    def __init__(
        self,
        switch_id: NodeID,
        table: NodeTable,
        attachments: Attachments,
        directory: Directory,
        random: Random,
        seal: AeadFactory,
        now: Now,
        counters: Counter[str],
    ) -> None:
        self._switch_id, self._random, self._factory = switch_id, random, seal
        self._table, self._attachments, self._directory = table, attachments, directory
        self._counters = counters
        self._askers = Askers()
        self._requests = RateLimit(_REQUESTS_PER_SECOND)
        self._not_yet_until = now.mono + NOT_YET_SECONDS
        self._pushes: deque[tuple[int, Prefix]] = deque()
        self._push_count = 0
        self._telling_routes = TableWalk(table)
        self._told_version = directory.version

    def answer(self, node: NodeID, record: Record, parts: Sealed, source: Locator, now: Now) -> list[Out]:
        """Answer a request from a confirmed locator. What is wrong with it is counted."""
        if not self._requests.allow(node, now.mono):
            self._counters["private_rate"] += 1
            return []
        up, down = master_keys(record.private_master)
        plaintext = self._factory(AES_256_GCM, up).open(parts.nonce, parts.header, parts.sealed)
        if plaintext is None:
            self._counters["private_forged"] += 1
            return []
        try:
            request = parse_private(plaintext)
        except Malformed as error:
            self._counters[error.reason] += 1
            return []
        if isinstance(request, Resolve):
            return [self._seal(node, down, self._resolve(node, request, now), source)]
        if isinstance(request, Routes):
            if not record.flags & FLAG_WANTS_ROUTES:
                record.flags |= FLAG_WANTS_ROUTES
                self._attachments.save(node, record)
            return [self._seal(node, down, self._routes(request), source)]
        self._counters["private_direction"] += 1
        return []

    def changed(self, prefixes: Iterable[Prefix], now: Now) -> None:
        """These have other holders than before: whoever asked will be told."""
        for prefix in prefixes:
            for node in self._askers.of(prefix, now.boot):
                if len(self._pushes) >= _PUSHES_MAX:
                    self._counters["pushes_full"] += 1
                    return
                self._pushes.append((node, prefix))

    @property
    def was_asked(self) -> bool:
        """True if anybody asked lately, and may have to be told of a change."""
        return not self._askers.empty

    @property
    def active(self) -> bool:
        return bool(self._pushes) or self._telling_routes.active

    def sweep(self, now: Now) -> None:
        """Free entries of nodes that are gone; to be called every second."""
        self.changed(self._directory.sweep(_SWEPT_PER_SECOND), now)
        self._tell_routes()

    def handle_timer(self, now: Now) -> list[Out]:
        """Some more pushes."""
        out: list[Out] = []
        for _ in range(min(_PUSHES_PER_TICK, len(self._pushes))):
            node, prefix = self._pushes.popleft()
            out += self._push(node, prefix, now)
        for node in self._telling_routes.step(_PUSHES_PER_TICK):
            data = self._table.record(node)
            if data is not None and record_flags(data) & FLAG_WANTS_ROUTES:
                out += self._push(node, None, now)
        return out

    # -- Inside

    def _tell_routes(self) -> None:
        if self._directory.version != self._told_version and not self._telling_routes.active:
            self._told_version = self._directory.version
            self._telling_routes.begin()

    def _resolve(self, node: NodeID, request: Resolve, now: Now) -> Resolved:
        if not self._askers.note(node, request.address, now.boot):
            self._counters["askers_full"] += 1
        found = self._directory.holders(request.address)
        if found is not None:
            prefix, nodes = found
            nodes.sort(key=lambda holder: confirmed_locator(self._table, holder) is None)  # who can be reached first
            return Resolved(request.request, ResolveStatus.FOUND, RESOLUTION_SECONDS, prefix, tuple(nodes))
        alone = ipaddress.ip_network(request.address)
        if now.mono < self._not_yet_until:
            return Resolved(request.request, ResolveStatus.NOT_YET, 1, alone)
        return Resolved(request.request, ResolveStatus.NOBODY, NOBODY_SECONDS, alone)

    def _routes(self, request: Routes) -> RouteList:
        routes = self._directory.routes()
        start = min(request.start, len(routes))
        page = tuple(routes[start : start + ROUTES_PER_PAGE])
        return RouteList(request.request, self._directory.version, len(routes), start, page)

    def _push(self, node: int, prefix: Prefix | None, now: Now) -> list[Out]:
        record = self._attachments.find(node, now)
        at = confirmed_locator(self._table, node)
        if record is None or at is None or not record.has_private_keys:
            return []
        self._push_count += 1
        message = Changed(self._push_count, self._directory.version, prefix)
        return [self._seal(NodeID(node), master_keys(record.private_master)[1], message, at)]

    def _seal(self, node: NodeID, key: bytes, message: Private, to: Locator) -> Out:
        header, nonce = private_header(node, self._switch_id), self._random(NONCE_SIZE)
        return Out(header + nonce + self._factory(AES_256_GCM, key).seal(nonce, header, message.pack()), to)
