"""The up to four paths of one attachment client: what is told of their uplinks, which is active, what leaves by each.

They share what networks are known to bear: a NAT's patience belongs to the network, not to the path that is there now.
"""

from __future__ import annotations

from collections import OrderedDict

from ovng.forwarding.bindinglife import BindingLife
from ovng.forwarding.clientconfig import ClientConfig
from ovng.forwarding.clientpath import ClientPath
from ovng.forwarding.grantheld import GrantHeld
from ovng.forwarding.keepalive import Keepalive, Use
from ovng.forwarding.reporter import Reporter
from ovng.forwarding.store import Random
from ovng.ids import NodeID
from ovng.limits import MAX_PATHS

_NETWORKS = 32  # of which is remembered what their NATs bear


class ClientPaths(dict[int, ClientPath]):
    """Path number (0 … 3) → path; 0 is there from the start, and active."""

    def __init__(self, me: NodeID, random: Random, config: ClientConfig) -> None:
        super().__init__()
        self._me, self._random, self._config = me, random, config
        self._lives: OrderedDict[str, BindingLife] = OrderedDict()
        self.outgoing: list[tuple[int, bytes]] = []
        """Path and datagram."""
        self.asides: list[tuple[int, bytes]] = []
        """The same, not by the path's own socket."""
        self.active = 0
        """The path that data takes."""
        self[0] = self._new(0)
        self.set_uplink(0, 0)

    @property
    def here(self) -> ClientPath:
        """The active one."""
        return self[self.active]

    @property
    def reach(self) -> int:
        """Bytes of the largest datagram that comes to us, and leaves from us, in one piece by every path in use."""
        others = [path.size.size for path in self.values() if path.knows_where()] if self._config.copies else []
        return min(self.here.size.size, *others) if others else self.here.size.size

    def open(self, index: int, held: GrantHeld | None) -> None:
        """There is a path `index`. Raises ValueError beyond 0 … 3."""
        if not 0 <= index < MAX_PATHS:
            raise ValueError(f"a path is 0 to {MAX_PATHS - 1}")
        if index not in self:
            self[index] = known = self._new(index)
            known.reporter.use(held)
            known.reporter.active = index == self.active

    def set_uplink(self, index: int, priority: int, *, metered: bool = False, network: str = "") -> None:
        """`priority` 0 … 255 (0 = best), told by the path's next report; `network` names what stands behind its NAT."""
        path = self[index]
        path.reporter.priority, path.metered = priority, metered
        path.reporter.copies = self._config.copies and not metered
        life = self._lives.setdefault(network, BindingLife())
        self._lives.move_to_end(network)
        if len(self._lives) > _NETWORKS:
            self._lives.popitem(last=False)
        if path.keepalive.life is not life:
            path.keepalive.life = life
            life.doubt()
        self._use()

    def activate(self, index: int) -> None:
        """Data goes by this path from now on, which is there and is another than before."""
        self.here.reporter.active = False
        self.here.reporter.finish()
        self.active = index
        self.here.reporter.active = True
        self._use()
        self.here.keepalive.abandon()

    def _use(self) -> None:
        for index, path in self.items():
            if index == self.active or path.reporter.copies:
                path.keepalive.use = Use.ACTIVE
            else:
                path.keepalive.use = Use.SPARED if path.metered else Use.STANDBY

    def _new(self, index: int) -> ClientPath:
        keepalive = Keepalive(self._random, self._config.keepalive)
        queue = lambda datagram: self.outgoing.append((index, datagram))  # noqa: E731
        aside = lambda datagram: self.asides.append((index, datagram))  # noqa: E731
        reporter = Reporter(self._me, self._random, lambda: keepalive.seconds, queue, aside, index)
        return ClientPath(reporter, keepalive, self._config.datagram_max)
