"""What happens to uplinks and to the hub in the scenarios. Each act returns when it began and when it was over."""

from __future__ import annotations

import threading
import time

from benchmarks.mobility.drive import Moment
from benchmarks.mobility.systems import Running
from benchmarks.mobility.topology import End, Uplink
from ovng.clock import now
from ovng.demo.net import wait_until

_ACTIVE_PACKETS = 20


def nothing(_: Running) -> Moment:
    """S0: what the probe and the machine do by themselves."""
    at = now().mono
    return Moment(at, at)


def rebinding(running: Running) -> Moment:
    """S1: the NAT before a's Wi-Fi forgets, and gives other ports from now on."""
    began = now().mono
    running.world.a.wifi.router.rebind()
    return Moment(began, now().mono)


def readdressing(running: Running) -> Moment:
    """S2: a's Wi-Fi is on another network; the old address is gone first."""
    return together([running.world.a.wifi])


def readdressing_of_both(running: Running) -> Moment:
    """S3: as S2 at both ends, in two threads."""
    return together([running.world.a.wifi, running.world.b.wifi])


def better_link(running: Running) -> Moment:
    """S4a: a's other uplink becomes the better one by its route metric; nothing breaks."""
    a = running.world.a
    began = now().mono
    a.lte.prefer(not a.lte.preferred)
    return Moment(began, began)


class ActiveUplink:
    """S4b and S5: the uplink of `a` that carries traffic fails, and is well again."""

    def __init__(self) -> None:
        self._uplink: Uplink | None = None

    def removal(self, running: Running) -> Moment:
        """Its device disappears."""
        self._uplink = active(running.world.a)
        began = now().mono
        self._uplink.unplug()
        return Moment(began, began)

    def returned(self, _: Running) -> None:
        """It is there again, up, at the same place."""
        assert self._uplink is not None
        self._uplink.replug()
        self._uplink.up()

    def death(self, running: Running) -> Moment:
        """Its router drops everything, and says nothing."""
        self._uplink = active(running.world.a)
        began = now().mono
        self._uplink.router.kill()
        return Moment(began, began)

    def healed(self, _: Running) -> None:
        """The router works again."""
        assert self._uplink is not None
        self._uplink.router.heal()


class CoverageGap:
    """S7: no network for a while, then another one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, running: Running) -> Moment:
        wifi = running.world.a.wifi
        began = now().mono
        wifi.down()
        arrival = wifi.arrival(1 - wifi.at)
        time.sleep(self._seconds)
        arrival()
        return Moment(began, now().mono)


def hub_restart(running: Running) -> Moment:
    """S8: the hub's process is killed and started again; over when it listens."""
    began = now().mono
    running.restart_hub()()
    return Moment(began, now().mono)


def narrowing(running: Running) -> Moment:
    """S11: the way narrows to 1280 bytes, without a word."""
    began = now().mono
    running.world.a.wifi.router.narrow(1280)
    return Moment(began, began)


def widening(running: Running) -> None:
    """As wide as before."""
    running.world.a.wifi.router.heal()


def other_family(running: Running) -> Moment:
    """S12: a's Wi-Fi has only IPv6 where it had only IPv4, or the other way round."""
    wifi = running.world.a.wifi
    arrival = wifi.arrival(wifi.at, six=not wifi.six)
    began = now().mono
    arrival()
    return Moment(began, now().mono)


def active(end: End) -> Uplink:
    """The uplink by which most packets leave now."""
    before = [uplink.sent() for uplink in end.uplinks]

    def busiest() -> Uplink | None:
        rises = [uplink.sent() - was for uplink, was in zip(end.uplinks, before, strict=True)]
        return end.uplinks[rises.index(max(rises))] if max(rises) >= _ACTIVE_PACKETS else None

    return wait_until(busiest, "traffic on an uplink")


def together(uplinks: list[Uplink]) -> Moment:
    """Each of these is on another network, at the same instant; the old addresses are gone first."""
    arrivals = [uplink.arrival(1 - uplink.at) for uplink in uplinks]
    threads = [threading.Thread(target=arrival) for arrival in arrivals]
    began = now().mono
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Moment(began, now().mono)
