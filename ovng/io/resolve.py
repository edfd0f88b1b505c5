"""Looks up the Switch's addresses: A and AAAA side by side, in threads, with a limit of time.

The last good answer is kept: a resolver that cannot be reached says nothing about where the Switch is. Both families
are asked at once and the first good answer is not held up by the other for long (RFC 8305, 3).

The threads are daemons and not an executor's: those are waited for at exit, and getaddrinfo(3) may take a minute.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence

from ovng.ids import IPAddress, Locator

TIMEOUT = 5.0  # seconds for a family
RESOLUTION_DELAY = 0.5  # seconds that one family waits for the other
ADDRESSES_MAX = 16  # per name
THREADS_MAX = 4  # so that two that hang do not hold up the next look-up

LookUp = Callable[[str, int], Sequence[str]]
"""Host and address family to numeric addresses; raises OSError. Blocks."""


def system_look_up(host: str, family: int) -> list[str]:
    """By the system's resolver."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, family, socket.SOCK_DGRAM)]


class Resolver:
    """Addresses of one host and port. For the thread of the loop."""

    def __init__(self, host: str, port: int, look_up: LookUp = system_look_up, timeout: float = TIMEOUT) -> None:
        self.host, self.port = host, port
        self.locators: tuple[Locator, ...] = ()
        """The last good answer, IPv6 first; empty before it."""
        self.failure: str = ""
        """Why the last look-up gave nothing; empty after a good one."""
        self._look_up, self._timeout = look_up, timeout
        self._asking: asyncio.Task[tuple[Locator, ...]] | None = None
        self._threads = 0
        try:
            self.locators = (Locator.of(host.strip("[]"), port),)
            self.numeric = True
        except ValueError:
            self.numeric = False

    async def resolve(self) -> tuple[Locator, ...]:
        """Ask, and return the answer, or the last good one. Who asks while an answer is on its way shares it."""
        if self.numeric:
            return self.locators
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(self._asking)

    def close(self) -> None:
        """Wait for nothing; a thread that still asks ends by itself."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> tuple[Locator, ...]:
        tasks = {asyncio.create_task(self._ask_family(family)) for family in (socket.AF_INET6, socket.AF_INET)}
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if waiting and any(not isinstance(task.result(), str) for task in done):
            more, waiting = await asyncio.wait(waiting, timeout=RESOLUTION_DELAY)
            done |= more
        elif waiting:
            more, waiting = await asyncio.wait(waiting)
            done |= more
        for task in waiting:
            task.cancel()
        answers = [task.result() for task in done]
        addresses = [address for answer in answers if not isinstance(answer, str) for address in answer]
        if addresses:
            ordered = sorted(dict.fromkeys(addresses), key=lambda address: -address.version)
            self.locators = tuple(Locator.of(str(address), self.port) for address in ordered)
            self.failure = ""
        else:
            self.failure = next((answer for answer in answers if isinstance(answer, str)), "no address")
        return self.locators

    async def _ask_family(self, family: int) -> list[IPAddress] | str:
        """Addresses, or why there are none."""
        if self._threads >= THREADS_MAX:
            return "the resolver does not answer"
        try:
            async with asyncio.timeout(self._timeout):
                texts = await self._in_thread(family)
        except TimeoutError:
            return f"no answer within {self._timeout:g} s"
        except (OSError, UnicodeError) as error:
            return getattr(error, "strerror", None) or str(error)
        return [ipaddress.ip_address(text.split("%")[0]) for text in texts[:ADDRESSES_MAX]] or "no address"

    def _in_thread(self, family: int) -> asyncio.Future[Sequence[str]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(texts: Sequence[str], error: Exception | None) -> None:
            self._threads -= 1
            if not answer.done():  # nobody waits any more after the timeout
                answer.set_exception(error) if error else answer.set_result(texts)

        def work() -> None:
            texts: Sequence[str] = ()
            error: Exception | None = None
            try:
                texts = self._look_up(self.host, family)
            except Exception as raised:  # handed to who waits
                error = raised
            try:
                loop.call_soon_threadsafe(settle, texts, error)
            except RuntimeError:
                pass  # the loop is closed: the service has ended

        self._threads += 1
        threading.Thread(target=work, name=f"resolve {self.host}", daemon=True).start()
        return answer
