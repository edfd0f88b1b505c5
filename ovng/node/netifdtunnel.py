"""The TUN interface of a node under netifd: made here, and given addresses and routes by netifd, as we tell it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ovng.config.names import DnsSettings
from ovng.config.profile import NodeProfile
from ovng.ids import IPAddress, Prefix
from ovng.io.interface import Configurator
from ovng.io.netifd import Netifd
from ovng.io.tun import open_tun
from ovng.node.tunnel import Tunnel, on_lan, wanted_offloads


class NetifdTunnel(Tunnel):
    """As `Tunnel`. netifd hears of it when the Switch has attached us, and from then on of each change; a move is none,
    nor is a Switch that is away: connections outlive both. When we end, the device goes, and netifd sees that.

    Nothing is written to a journal: what a killed service leaves, netifd takes away. `failed(words)` is called when
    netifd does not do what it is told.
    """

    def __init__(self, profile: NodeProfile, failed: Callable[[str], None]) -> None:
        self._netifd = Netifd(profile.interface, failed)
        self._sysctls: dict[str, str] = {}
        self.dns_warning = ""
        self.routes: set[Prefix] = set()
        self._addresses = [on_lan(address, profile.network_prefixes) for address in profile.addresses]
        self._around: tuple[IPAddress, ...] = ()
        self._reached = False
        self.tun = open_tun(profile.interface, wanted_offloads(profile))
        try:
            self._configurator = Configurator(profile.interface, lean=True)
            self._configurator.prepare(profile.mtu)
            self.set_dns(profile.dns)
        except BaseException:
            self.tun.close()
            raise

    def reached(self) -> None:
        """The Switch has attached us."""
        self._reached = True
        self._tell()

    def set_routes(self, wanted: Iterable[Prefix], around: Collection[IPAddress] = ()) -> dict[Prefix, str]:
        """netifd gets all of them, and says in its own log what the kernel refuses."""
        self.routes, self._around = set(wanted), tuple(around)
        self._tell()
        return {}

    def set_dns(self, wanted: DnsSettings) -> None:
        """Names are netifd's, too."""
        self.dns_warning = (
            "dns: has no effect under netifd: use `option dns` of the interface" if wanted.servers else ""
        )

    def forwarding(self, served: Iterable[Prefix], enable: bool) -> list[str]:
        """The sysctls are the router's own."""
        return super().forwarding(served, enable=False)

    def close(self) -> None:
        """The device goes."""
        self._netifd.close()
        self.tun.close()
        self._configurator.close()

    def _tell(self) -> None:
        if self._reached:
            self._netifd.tell(self.tun.name, self._addresses, self.routes, self._around)
