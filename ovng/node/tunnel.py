"""The TUN interface of a node as the machine sees it: made, addressed, routed, and taken away whatever happens.

The journal names the interface, every sysctl and the resolver before they are touched, so the next `up` or `down` of
the same profile undoes what a killed process left.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Collection, Iterable

from ovng.config.names import DnsSettings
from ovng.config.profile import NodeProfile
from ovng.errors import SystemProblem
from ovng.ids import IPAddress, Prefix
from ovng.io import dns, sysctl
from ovng.io.files import Journal, read_journal, remove_journal, write_journal
from ovng.io.interface import Configurator
from ovng.io.tun import open_tun
from ovng.node.policy import covers

log = logging.getLogger(__name__)


def clear_leftovers(name: str) -> list[str]:
    """Undo what a killed service of this profile left. Says what was undone. The caller holds the profile's lock."""
    journal = read_journal(name)
    if journal is None:
        return []
    undone: list[str] = []
    if journal.dns == dns.RESOLVCONF:  # systemd-resolved forgets with the interface
        dns.remove_servers(journal.dns, journal.interface)
        undone.append(f"DNS servers of {journal.interface}")
    if journal.interface:
        with Configurator(journal.interface) as configurator:
            if configurator.index() is not None:
                undone += configurator.remove_leftovers()
                configurator.delete()
                undone.append(f"interface {journal.interface}")
            configurator.set_exit((), ())
    for key, value in journal.sysctls.items():
        sysctl.write(key, value)
        undone.append(f"sysctl {key} back to {value}")
    remove_journal(name)
    return undone


class Tunnel:
    """The interface of a running node. Raises SystemProblem when it cannot be made. `close` removes everything."""

    def __init__(self, profile: NodeProfile) -> None:
        self._name = profile.name
        for line in clear_leftovers(profile.name):
            log.info("removed what a killed run left: %s", line)
        self._sysctls: dict[str, str] = {}
        self._resolver = ""
        self._dns = DnsSettings()
        self.dns_warning = ""
        """Why names are not asked as the profile wants it; empty when they are."""
        self.routes: set[Prefix] = set()
        self._interface = profile.interface
        write_journal(profile.name, Journal(profile.interface))
        try:
            self.tun = open_tun(profile.interface, wanted_offloads(profile))
        except SystemProblem:
            remove_journal(profile.name)
            raise
        self._configurator = Configurator(profile.interface)
        try:
            for address in profile.addresses:
                self._configurator.add_address(on_lan(address, profile.network_prefixes))
            self._configurator.forbid_link_local()
            self._configurator.bring_up(profile.mtu)
            self.set_dns(profile.dns)
        except BaseException:
            self.close()
            raise

    def set_dns(self, wanted: DnsSettings) -> None:
        """Have these servers asked, or none. A resolver that is missing or refuses is a warning: the tunnel serves."""
        if wanted == self._dns and not self.dns_warning:
            return
        self._dns, self.dns_warning = wanted, ""
        try:
            if self._resolver:
                dns.remove_servers(self._resolver, self._interface)
            self._resolver = dns.resolver() if wanted.servers else ""
            self._write_journal()
            if self._resolver:
                dns.set_servers(self._resolver, self._interface, wanted.servers, wanted.domains)
            elif wanted.servers:
                self.dns_warning = "dns: neither systemd-resolved nor resolvconf is here: install one of them"
        except SystemProblem as error:
            self.dns_warning = f"dns: {error}"
        if self.dns_warning:
            log.warning("%s", self.dns_warning)
        elif self._resolver:
            names = ", ".join(wanted.domains) or "all names"
            log.info("%s asks %s for %s", self._resolver, ", ".join(map(str, wanted.servers)), names)

    def _write_journal(self) -> None:
        write_journal(self._name, Journal(self._interface, self._sysctls, self._resolver))

    def reached(self) -> None:
        """The Switch has attached us. The interface is as it should be without."""

    def connected(self) -> set[Prefix]:
        """Subnets of this machine's other interfaces."""
        return self._configurator.connected()

    def set_routes(self, wanted: Iterable[Prefix], around: Collection[IPAddress] = ()) -> dict[Prefix, str]:
        """Make the kernel's routes into the tunnel be these; a default route leads around the Switch's addresses.

        Returns those it would not set or remove, and why."""
        wanted, held = set(wanted), set(self.routes)
        exits, failed = _exits(wanted), dict[Prefix, str]()
        try:
            if exits:
                self._configurator.set_exit({prefix.version for prefix in exits}, around)
        except SystemProblem as error:
            failed.update(dict.fromkeys(exits, str(error)))
            wanted -= exits
        for prefix in held ^ wanted:
            try:
                if prefix in wanted:
                    self._configurator.add_route(prefix)
                else:
                    self._configurator.remove_route(prefix)
            except SystemProblem as error:
                failed[prefix] = str(error)
            else:
                self.routes ^= {prefix}
        if _exits(held) and not _exits(self.routes):
            self._leave_exit()
        return failed

    def _leave_exit(self) -> None:
        try:
            self._configurator.set_exit((), ())
        except SystemProblem as error:
            log.warning("%s", error)

    def forwarding(self, served: Iterable[Prefix], enable: bool) -> list[str]:
        """What keeps this machine from forwarding to the prefixes it serves; with `enable` it is set right instead."""
        warnings: list[str] = []
        for version in sorted({prefix.version for prefix in served}):
            key = sysctl.FORWARD[version]
            if sysctl.read(key) not in (None, "0"):
                continue
            if not enable:
                warnings.append(
                    f"{key} is 0, so hosts behind this node cannot be reached:"
                    f" set `forward: true` in the profile, or run `sysctl -w {key}=1`"
                )
                continue
            self._sysctls[key] = "0"
            self._write_journal()
            sysctl.write(key, "1")
            log.info("%s set to 1 (forward: true)", key)
        return warnings

    def close(self) -> None:
        """Remove interface, addresses and routes; put sysctls back."""
        if self._resolver == dns.RESOLVCONF:
            try:
                dns.remove_servers(self._resolver, self._interface)
            except SystemProblem as error:
                log.warning("%s", error)
        self.tun.close()
        if _exits(self.routes):
            self._leave_exit()
        self._configurator.close()
        for key, value in self._sysctls.items():
            sysctl.write(key, value)
        remove_journal(self._name)


def _exits(routes: Iterable[Prefix]) -> set[Prefix]:
    """The default routes among them."""
    return {prefix for prefix in routes if not prefix.prefixlen}


def wanted_offloads(profile: NodeProfile) -> dict[str, bool]:
    """What the profile lets the TUN device try."""
    return {key: getattr(profile.offloads, key) for key in ("vnet_hdr", "tso", "uso")}


def on_lan(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: Iterable[Prefix]
) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """The address with the length of the network's prefix, which makes the overlay one LAN to the kernel."""
    host = ipaddress.ip_network(address)
    length = next((prefix.prefixlen for prefix in network if covers(prefix, host)), host.prefixlen)
    return ipaddress.ip_interface(f"{address}/{length}")
