"""The node's link to its Switch: the look-ups behind the Switch's names, and a UDP socket for each path.

A path's socket is bound to its uplink's interface; the kernel chooses the source address there, anew for every
datagram, so a new address needs no new socket. The path for "any interface" (name "") is bound to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from ovng.clock import Now
from ovng.config.values import Endpoint
from ovng.errors import SystemProblem
from ovng.fields import Fields
from ovng.ids import IPAddress, Locator
from ovng.io import sockets
from ovng.io.datapath import NodeDataPath
from ovng.io.driver import Driver
from ovng.io.logs import escape
from ovng.io.resolve import Resolver
from ovng.io.sockets import UdpSocket, open_udp, open_uplink, send_to
from ovng.node.uplink import SwitchAddresses

log = logging.getLogger(__name__)

LOOK_UP_AGAIN, LOOK_UP_AGAIN_MAX = 2.0, 60.0  # seconds, doubling, while no address is known at all


class LinkPath(Fields):
    """One path's socket, and the Switch's addresses as they answer there."""

    name: str
    udp: UdpSocket
    reaches: frozenset[IPAddress]
    """Those of the Switch's addresses to which the uplink has a way."""
    addresses: SwitchAddresses
    data: Locator | None = None
    """That of them to which data goes: the one in use, or until there is one the first to be tried."""


class SwitchLink:
    """Sends control datagrams to the Switch, and tells the data path where it is. `port` 0 = any local UDP port.

    `found(now)` is called when a look-up has changed the candidates. Raises SystemProblem when the port is taken.
    """

    def __init__(self, port: int, path: NodeDataPath, found: Callable[[Now], None], mark: int = 0) -> None:
        self._port, self._mark = port, mark
        self._path, self._found = path, found
        self._names = SwitchAddresses()  # what all paths may try
        self._paths: dict[int, LinkPath] = {}
        self._active = -1
        self._resolvers: list[Resolver] = []
        self._tasks: set[asyncio.Task[tuple[Locator, ...]]] = set()
        self._again_at: float | None = None
        self._wait = LOOK_UP_AGAIN
        self.driver: Driver | None = None
        self.send_failed = 0
        open_udp("::", port).sock.close()  # a port that is taken is told at the start

    # -- Paths

    def open(self, slot: int, name: str, reaches: Iterable[IPAddress]) -> bool:
        """Make a path (0 … 3) of this interface ("" = any), to these of the Switch's addresses.

        False: it could not be, and the log says why.
        """
        self.close(slot)
        if self._port:  # a socket bound to nothing would hold it
            for other in [other for other, path in self._paths.items() if not (path.name and name)]:
                self.close(other)
        try:
            udp = open_uplink(name, self._port, self._mark) if name else open_udp("::", self._port)
        except SystemProblem as error:
            log.warning("uplink %s cannot be used: %s", name, error)
            return False
        path = self._paths[slot] = LinkPath(name, udp, frozenset(reaches), SwitchAddresses())
        path.addresses.update(self._usable(path))
        self._use(slot)
        return True

    def set_reaches(self, slot: int, reaches: Iterable[IPAddress]) -> None:
        """The uplink's ways are others now: what could not be sent by the old ones is sent by these."""
        path = self._paths.get(slot)
        if path is not None:
            path.reaches = frozenset(reaches)
            path.addresses.update(self._usable(path))
            self._use(slot)

    def close(self, slot: int) -> None:
        """Forget a path. Harmless when there is none."""
        path = self._paths.pop(slot, None)
        if path is not None:
            self._path.clear_path(slot)
            path.udp.sock.close()

    def activate(self, slot: int) -> None:
        """Data goes by this path; by none (−1), it waits."""
        self._active = slot
        self._path.set_active(slot)

    def address(self, slot: int) -> Locator | None:
        """The Switch's address in use on this path; None until one has answered there."""
        path = self._paths.get(slot)
        return None if path is None else path.addresses.current

    @property
    def current(self) -> Locator | None:
        """The same for the active path."""
        return self.address(self._active)

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """All addresses that the Switch may have."""
        return tuple(locator.ip for locator in self._names.candidates)

    def heard(self, slot: int, source: Locator) -> None:
        """The Switch has proved itself from there."""
        path = self._paths.get(slot)
        if path is not None and path.addresses.heard(source) and source != path.data:
            self._use(slot)

    def silent(self, slot: int) -> None:
        """The address in use does not answer on this path: try all."""
        path = self._paths.get(slot)
        if path is not None:
            path.addresses.silent()

    def send(self, slot: int, datagram: bytes) -> None:
        """Send by this path to the address in use, or to every candidate while there is none."""
        path = self._paths.get(slot)
        if path is None:
            self.send_failed += 1
            return
        for locator in path.addresses.targets():
            self.send_failed += not send_to(path.udp.sock, datagram, locator)

    def send_aside(self, slot: int, datagram: bytes) -> None:
        """Send by the path's uplink to the address in use, but from another port, and hear no answer there."""
        path = self._paths.get(slot)
        locator = None if path is None else path.addresses.current
        if path is None or locator is None:
            self.send_failed += 1
            return
        try:
            udp = open_uplink(path.name, 0, self._mark) if path.name else open_udp("::", 0)
        except SystemProblem as error:
            log.debug("nothing can be sent aside: %s", error)
            self.send_failed += 1
            return
        self.send_failed += not send_to(udp.sock, datagram, locator)
        udp.sock.close()

    # -- Names

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """The profile's `switch:`."""
        for resolver in self._resolvers:
            resolver.close()
        self._resolvers = [Resolver(endpoint.host, endpoint.port) for endpoint in endpoints]

    def look_up(self) -> None:
        """Ask for the addresses behind the names again; what is found is used at once."""
        self._again_at = None
        for resolver in self._resolvers:
            task = asyncio.get_running_loop().create_task(resolver.resolve())
            self._tasks.add(task)
            task.add_done_callback(self._asked)

    def deadline(self) -> float | None:
        """When to look up again, in monotonic seconds."""
        return self._again_at

    def handle_timer(self, now: Now) -> None:
        """Look up again if it is time."""
        if self._again_at is not None and now.mono >= self._again_at:
            self.look_up()

    def close_all(self) -> None:
        """Forget what is being asked, and all paths."""
        for task in self._tasks:
            task.cancel()
        for resolver in self._resolvers:
            resolver.close()
        for path in self._paths.values():
            path.udp.sock.close()
        self._paths.clear()

    # -- Inside

    def _asked(self, task: asyncio.Task[tuple[Locator, ...]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and self.driver is not None:
            self.driver.call_soon(self._looked_up)

    def _looked_up(self, now: Now) -> None:
        known = [locator for resolver in self._resolvers for locator in resolver.locators]
        found = [locator for locator in known if locator.ip.version == 4 or sockets.ipv6_available()]
        if self._names.update(found):
            self._wait = LOOK_UP_AGAIN
            for slot, path in self._paths.items():
                if path.addresses.update(self._usable(path)):
                    self._use(slot)
            self._found(now)
        elif not found and self._again_at is None:
            self._again_at = now.mono + self._wait
            self._wait = min(2 * self._wait, LOOK_UP_AGAIN_MAX)
            why = "; ".join(resolver.failure for resolver in self._resolvers if resolver.failure)
            why = "IPv6 only, and this machine has no IPv6" if known else why
            log.warning("the Switch's name gives no address to use (%s), asking again", escape(why))

    def _usable(self, path: LinkPath) -> list[Locator]:
        return [
            locator
            for locator in self._names.candidates
            if locator.ip in path.reaches and (path.udp.reaches_v6 or locator.ip.version == 4)
        ]

    def _use(self, slot: int) -> None:
        """Data goes to the address in use, or to the first candidate until one has answered."""
        addresses = self._paths[slot].addresses
        locator = addresses.current or next(iter(addresses.candidates), None)
        if locator is not None:
            self._paths[slot].data = locator
            self._path.set_path(slot, self._paths[slot].udp.sock, locator)
