"""What the node asks its Switch in private (PROTOCOL 7): seals requests, opens answers and pushes, knows lost keys.

The private keys come by TLS and are in no ticket: a Switch that restarted has none, says NAK 3 to the first request,
and the node attaches by TLS again, in the background. Until then everything already known stays good.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from ovng.clock import Now
from ovng.errors import Malformed
from ovng.forwarding.grantheld import GrantHeld
from ovng.forwarding.resolver import Resolver
from ovng.forwarding.routelist import RouteListCopy
from ovng.forwarding.store import Random
from ovng.ids import NodeID
from ovng.wire.header import PacketType, parse_header
from ovng.wire.private import (
    NONCE_SIZE,
    Changed,
    Private,
    Resolved,
    RouteList,
    parse_private,
    parse_sealed,
    private_header,
)

_ECHO_SIZE = 8
_NONCES = 64  # requests to which NAK 3 may answer


class PrivateLink:
    """Under one grant after the other. `need_tls(reason, now)`: keys are wanted; `queue` takes datagrams."""

    def __init__(
        self,
        me: NodeID,
        random: Random,
        queue: Callable[[bytes], None],
        need_tls: Callable[[str, Now], None],
        counters: Counter[str],
    ) -> None:
        self._me, self._random = me, random
        self._queue, self._need_tls, self._counters = queue, need_tls, counters
        self._held: GrantHeld | None = None
        self._echoes: OrderedDict[int, None] = OrderedDict()
        self._last_push = 0
        self.resolver = Resolver(random, self._send)
        self.routes = RouteListCopy(random, self._send)

    def use(self, held: GrantHeld, now: Now, *, restarted: bool) -> None:
        """TLS has brought keys: what waits is asked now. `restarted`: by a Switch that has lost its memory."""
        first = self._held is None
        self._held, self._last_push = held, 0
        self._echoes.clear()
        if restarted:
            self.resolver.spread(now)
        self.resolver.ask_at_once(now)
        self.resolver.handle_timer(now)
        if first or restarted or self.routes.waiting:
            self.routes.fetch(now)

    def restarted(self, now: Now) -> None:
        """The Switch knows us again by our ticket: what is known stays good, and is asked again at leisure."""
        self.resolver.spread(now)
        self.routes.spread(now)

    def keys_lost(self, echo: int, now: Now) -> bool:
        """An authenticated NAK 3. False unless it echoes a request of ours."""
        if self._held is None or echo not in self._echoes:
            return False
        self._echoes.clear()
        self._held.private_keys = False
        self._need_tls("private_keys_lost", now)
        return True

    def receive_untrusted(self, datagram: bytes, now: Now) -> bool:
        """A datagram of type PRIVATE. True if it answers what we asked: a push does not, nor a copy of an answer."""
        try:
            message = self._open(datagram)
        except Malformed as error:
            self._counters[error.reason] += 1
            return False
        if isinstance(message, Changed) and message.counter > self._last_push:
            self._last_push = message.counter
            if message.prefix is not None:
                self.resolver.changed(message.prefix, now)
            self.routes.told(message.version, now)
            return False
        asked = False
        if isinstance(message, Resolved):
            asked = self.resolver.receive(message, now)
        elif isinstance(message, RouteList):
            asked = self.routes.receive(message, now)
        if not asked:
            self._counters["private_unasked"] += 1
        return asked

    def deadline(self, now: Now) -> float | None:
        """When `handle_timer` has something to do, in monotonic seconds."""
        times = (self.resolver.deadline(now), self.routes.deadline())
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: Now) -> None:
        """Ask what is due."""
        self.resolver.handle_timer(now)
        self.routes.handle_timer(now)

    # -- Inside

    def _open(self, datagram: bytes) -> Private:
        header = parse_header(datagram)
        held = self._held
        if held is None or header[:5] != (PacketType.PRIVATE, 0, 0, self._me, held.switch_id):
            raise Malformed("private_unexpected")
        parts = parse_sealed(datagram)
        plaintext = held.open.open(parts.nonce, parts.header, parts.sealed)
        if plaintext is None:
            raise Malformed("private_forged")
        return parse_private(plaintext)

    def _send(self, message: Private, now: Now) -> bool:
        held = self._held
        if held is None:
            return False
        if not held.private_keys:
            self._need_tls("private_keys_lost", now)
            return False
        header, nonce = private_header(held.switch_id, self._me), self._random(NONCE_SIZE)
        self._echoes[int.from_bytes(nonce[:_ECHO_SIZE], "big")] = None
        while len(self._echoes) > _NONCES:
            self._echoes.popitem(last=False)
        self._queue(header + nonce + held.seal.seal(nonce, header, message.pack()))
        return True
