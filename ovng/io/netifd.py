"""OpenWrt's netifd, told by `ubus` what an interface of its own should have (proto-ext.c and netifd-proto.sh there).

Each word is the whole state: netifd compares it with what is there, and adds and removes what differs. One `ubus` runs
at a time, for a few milliseconds and once per change; while it runs, the newest word waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from ovng.errors import SystemProblem
from ovng.ids import IPAddress, Prefix
from ovng.io.logs import escape
from ovng.io.niceness import as_others
from ovng.io.programs import find

SECONDS = 10.0
"""How long netifd may take to answer; it answers at once unless it hangs."""
_UPDATE = 0  # the action that gives an interface its state


class Netifd:
    """Tells netifd of the interface `name`. Raises SystemProblem where there is no ubus.

    `failed(words)` is called when netifd does not take what it is told. `tell` needs a running loop.
    """

    def __init__(self, name: str, failed: Callable[[str], None]) -> None:
        command = find("ubus", os.environ.get("PATH", os.defpath))
        if command is None:
            raise SystemProblem("there is no `ubus`: `configured_by: netifd` is for OpenWrt, leave it out here")
        self._command, self._name, self._failed = command, name, failed
        self._waiting: dict[str, Any] | None = None
        self._told: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None

    def tell(
        self,
        device: str,
        addresses: Iterable[IPv4Interface | IPv6Interface],
        routes: Iterable[Prefix],
        switch: Iterable[IPAddress],
    ) -> None:
        """The interface is up on `device`, with these addresses and routes. `switch`, the Switch's addresses, is for
        scripts: they find it in the interface's status."""
        state = update(self._name, device, addresses, routes, switch)
        if state != (self._told if self._waiting is None else self._waiting):
            self._waiting = state
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._work())

    def close(self) -> None:
        """Tell it nothing more."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        try:
            while self._waiting is not None:
                self._told, self._waiting = self._waiting, None
                problem = await self._call(json.dumps(self._told, separators=(",", ":")))
                if problem:
                    self._waiting = None
                    self._failed(problem)
        finally:
            self._task = None

    async def _call(self, text: str) -> str:
        """What went wrong, nothing if all is well."""
        words = (self._command, "call", "network.interface", "notify_proto", text)
        try:
            with as_others():
                process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                )
        except OSError as error:
            return f"{self._command} cannot be run: {error.strerror}"
        try:
            async with asyncio.timeout(SECONDS):
                _, errors = await process.communicate()
        except TimeoutError:
            return f"netifd does not answer within {SECONDS:g} s"
        finally:
            if process.returncode is None:
                process.kill()
                await _ended(process)
        return f"netifd refuses: {escape(errors.strip()) or process.returncode}" if process.returncode else ""


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Of one that was killed. Not even cancelling ends this before: a loop that closes without it complains."""
    while process.returncode is None:
        with contextlib.suppress(asyncio.CancelledError):
            await process.wait()


def update(
    name: str,
    device: str,
    addresses: Iterable[IPv4Interface | IPv6Interface],
    routes: Iterable[Prefix],
    switch: Iterable[IPAddress],
) -> dict[str, Any]:
    """The message, as netifd-proto.sh makes it of the same facts.

    A default route is told as its two halves: one with the metric of an uplink's would take that one's place.
    """
    given = {version: [address for address in addresses if address.version == version] for version in (4, 6)}
    halves = [half for prefix in routes for half in (prefix.subnets() if prefix.prefixlen == 0 else (prefix,))]
    ways = {version: sorted(half for half in halves if half.version == version) for version in (4, 6)}
    message: dict[str, Any] = {
        "action": _UPDATE,
        "interface": name,
        "ifname": device,
        "link-up": True,
        "keep": False,
        "ipaddr": [_address(address) for address in given[4]],
        "ip6addr": [_address(address) for address in given[6]],
        "routes": [_route(prefix) for prefix in ways[4]],
        "routes6": [_route(prefix) for prefix in ways[6]],
        "data": {"switch": [str(address) for address in switch]},
    }
    return message


def _address(address: IPv4Interface | IPv6Interface) -> dict[str, str]:
    return {"ipaddr": str(address.ip), "mask": str(address.network.prefixlen)}


def _route(prefix: Prefix) -> dict[str, str]:
    return {"target": str(prefix.network_address), "netmask": str(prefix.prefixlen)}
