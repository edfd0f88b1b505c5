"""The node's link to its Switch: one UDP socket, the look-ups behind the Switch's names, and the address in use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from ovng.clock import Now
from ovng.config.values import Endpoint
from ovng.ids import IPAddress, Locator
from ovng.io.datapath import NodeDataPath
from ovng.io.driver import Driver
from ovng.io.logs import escape
from ovng.io.resolve import Resolver
from ovng.io.sockets import open_udp, send_to
from ovng.node.uplink import SwitchAddresses

log = logging.getLogger(__name__)

PATH = 0  # one path in this version
LOOK_UP_AGAIN, LOOK_UP_AGAIN_MAX = 2.0, 60.0  # seconds, doubling, while no address is known at all


class SwitchLink:
    """Sends control datagrams to the Switch, and tells the data path where it is. `port` 0 = any local UDP port.

    `found(now)` is called when a look-up has changed the candidates. Raises SystemProblem when the port is taken.
    """

    def __init__(self, port: int, path: NodeDataPath, found: Callable[[Now], None]) -> None:
        self._udp = open_udp("::", port)
        self._path, self._found = path, found
        self._addresses = SwitchAddresses()
        self._resolvers: list[Resolver] = []
        self._tasks: set[asyncio.Task[tuple[Locator, ...]]] = set()
        self._again_at: float | None = None
        self._wait = LOOK_UP_AGAIN
        self.driver: Driver | None = None
        self.send_failed = 0

    @property
    def current(self) -> Locator | None:
        """The address in use; None until one has answered."""
        return self._addresses.current

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """All addresses that the Switch may have."""
        return tuple(locator.ip for locator in self._addresses.candidates)

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

    def heard(self, source: Locator) -> None:
        """The Switch has proved itself from there."""
        if self._addresses.heard(source):
            self._use()

    def silent(self) -> None:
        """The address in use does not answer: try all, and ask for them again."""
        self._addresses.silent()
        self.look_up()

    def send(self, datagram: bytes) -> None:
        """Send to the address in use, or to every candidate while there is none."""
        for locator in self._addresses.targets():
            self.send_failed += not send_to(self._udp.sock, datagram, locator)

    def deadline(self) -> float | None:
        """When to look up again, in monotonic seconds."""
        return self._again_at

    def handle_timer(self, now: Now) -> None:
        """Look up again if it is time."""
        if self._again_at is not None and now.mono >= self._again_at:
            self.look_up()

    def close(self) -> None:
        """Forget what is being asked."""
        for task in self._tasks:
            task.cancel()
        for resolver in self._resolvers:
            resolver.close()
        self._udp.sock.close()

    # -- Inside

    def _asked(self, task: asyncio.Task[tuple[Locator, ...]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and self.driver is not None:
            self.driver.call_soon(self._looked_up)

    def _looked_up(self, now: Now) -> None:
        known = [locator for resolver in self._resolvers for locator in resolver.locators]
        found = [locator for locator in known if self._udp.reaches_v6 or locator.ip.version == 4]
        if self._addresses.update(found):
            self._wait = LOOK_UP_AGAIN
            self._use()
            self._found(now)
        elif not found and self._again_at is None:
            self._again_at = now.mono + self._wait
            self._wait = min(2 * self._wait, LOOK_UP_AGAIN_MAX)
            why = "; ".join(resolver.failure for resolver in self._resolvers if resolver.failure)
            why = "IPv6 only, and this machine has no IPv6" if known else why
            log.warning("the Switch's name gives no address to use (%s), asking again", escape(why))

    def _use(self) -> None:
        """Data goes to the address in use, or to the first candidate until one has answered."""
        locator = self.current or next(iter(self._addresses.candidates), None)
        if locator is not None:
            self._path.set_path(PATH, self._udp.sock, locator)
            self._path.set_active(PATH)
