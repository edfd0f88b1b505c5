"""Configures the tunnel's interface through netlink: link, addresses, routes. All of it may be said twice.

Every route carries our own protocol number, so that what a killed service left is told from other people's.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface

from ovng.errors import SystemProblem
from ovng.ids import IPAddress, Prefix
from ovng.io import rtnetlink as rt
from ovng.io.exitrules import EXIT_TABLE, ExitRules
from ovng.io.netlink import ROUTE_PROTOCOL, TUNNEL_ALIAS, address_of
from ovng.io.rtnetlink import Message, Raw, RouteSocket

_MAIN_TABLE, _UNICAST, _SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 254, 1, 0, 253, 254
_IFF_UP = 0x1
_ADDR_GEN_NONE = 1  # IN6_ADDR_GEN_MODE_NONE (linux/if_link.h)
_IFA_NODAD = 0x02


class Configurator:
    """Of one interface, by name. Errors are SystemProblem, one line each."""

    def __init__(self, name: str, *, lean: bool = False) -> None:
        """`lean`: without pyroute2, for one that sets no exit."""
        self.name = name
        with self._told("netlink cannot be used"):
            self._socket = RouteSocket(lean=lean)
        self._rules = ExitRules(self._socket)

    def close(self) -> None:
        """Forget the socket; the configuration stays."""
        self._socket.close()

    def __enter__(self) -> Configurator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- Link

    def index(self) -> int | None:
        """The interface's index, None when there is no such interface."""
        query = self._socket.message(rt.RTM_GETLINK, attrs=[("IFLA_IFNAME", self.name)])
        try:
            return int(self._socket.ask(rt.RTM_GETLINK, query)["index"])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise SystemProblem(f"{self.name}: cannot be looked up: {error.strerror}") from None

    def bring_up(self, mtu: int, queue_length: int = 1000) -> None:
        """Set MTU (bytes) and queue length (packets), then up."""
        self.prepare(mtu, queue_length, flags=_IFF_UP, change=_IFF_UP)

    def prepare(self, mtu: int, queue_length: int = 1000, **fields: int) -> None:
        """As `bring_up`, for an interface that somebody else brings up."""
        attributes = [("IFLA_MTU", mtu), ("IFLA_TXQLEN", queue_length), ("IFLA_IFALIAS", TUNNEL_ALIAS)]
        self._set_link(mtu, attributes, **fields)

    def forbid_link_local(self) -> None:
        """Before it is up: no link-local address of IPv6, for which the kernel would ask the tunnel for routers again
        and again (RFC 7559), and wake us. Where there is no IPv6, there is none anyway."""
        family = ("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_NONE)]})
        message = self._socket.message(
            rt.RTM_NEWLINK, index=self._need(), attrs=[("IFLA_AF_SPEC", {"attrs": [family]})]
        )
        with contextlib.suppress(OSError):
            self._socket.change(rt.RTM_NEWLINK, message)

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU, bytes."""
        self._set_link(mtu, [("IFLA_MTU", mtu)])

    def delete(self) -> None:
        """Remove the interface, and with it its addresses and routes. None there is fine."""
        index = self.index()
        if index is not None:
            with contextlib.suppress(_Gone), self._told("cannot be removed"):
                self._socket.change(rt.RTM_DELLINK, self._socket.message(rt.RTM_DELLINK, index=index))

    # -- Addresses

    def add_address(self, address: IPv4Interface | IPv6Interface) -> None:
        """Add an address with the length of its prefix; of IPv6 at once, without duplicate address detection."""
        attributes: list[tuple[str, object]] = [("IFA_LOCAL", str(address.ip)), ("IFA_ADDRESS", str(address.ip))]
        if address.version == 6:
            attributes = [*attributes[1:], ("IFA_FLAGS", _IFA_NODAD)]
        with self._told(f"cannot have the address {address}", address.version):
            message = self._socket.message(
                rt.RTM_NEWADDR,
                family=rt.FAMILIES[address.version],
                prefixlen=address.network.prefixlen,
                flags=_IFA_NODAD if address.version == 6 else 0,
                scope=_SCOPE_UNIVERSE,
                index=self._need(),
                attrs=attributes,
            )
            self._socket.change(rt.RTM_NEWADDR, message, rt.F_CREATE | rt.F_REPLACE)

    def remove_address(self, address: IPv4Interface | IPv6Interface) -> None:
        """Remove an address. Not there is fine."""
        with contextlib.suppress(_Gone), self._told(f"cannot give up the address {address}"):
            message = self._socket.message(
                rt.RTM_DELADDR,
                family=rt.FAMILIES[address.version],
                prefixlen=address.network.prefixlen,
                index=self._need(),
                attrs=[("IFA_LOCAL", str(address.ip))],
            )
            self._socket.change(rt.RTM_DELADDR, message)

    def addresses(self) -> set[IPv4Interface | IPv6Interface]:
        """Those the interface has, link-local ones left out."""
        index = self._need()
        return {
            ipaddress.ip_interface(f"{address_of(entry)}/{entry['prefixlen']}")
            for entry in self._all_addresses()
            if entry["index"] == index and entry["scope"] != _SCOPE_LINK
        }

    # -- Routes

    def add_route(self, prefix: Prefix) -> None:
        """Send `prefix` through the interface. Refused when another route to just this prefix is there.

        A default route stands in a table of its own, which counts where `set_exit` says so."""
        try:
            with self._told(f"cannot have a route to {prefix}", prefix.version):
                self._socket.change(rt.RTM_NEWROUTE, self._route(prefix), rt.F_CREATE | rt.F_EXCL)
        except _Exists:
            if prefix not in self.routes():
                raise SystemProblem(f"{self.name}: there is another route to {prefix} (`ip route`)") from None

    def remove_route(self, prefix: Prefix) -> None:
        """Take it back. Not there is fine, and so is an interface that is gone."""
        if self.index() is not None:
            with contextlib.suppress(_Gone), self._told(f"cannot give up the route to {prefix}"):
                self._socket.change(rt.RTM_DELROUTE, self._route(prefix))

    def routes(self) -> set[Prefix]:
        """Prefixes that we send through the interface."""
        index = self.index()
        with self._told("cannot be looked at"):
            found = self._socket.dump_routes(_is_ours) if index is not None else []
        return {_destination(entry) for entry in found if entry.get_attr("RTA_OIF") == index}

    def remove_leftovers(self) -> list[str]:
        """Remove our routes through this interface, as a killed service left them. Says what was removed."""
        removed = sorted(self.routes(), key=lambda prefix: (prefix.version, prefix))
        for prefix in removed:
            self.remove_route(prefix)
        return [f"route to {prefix} through {self.name}" for prefix in removed]

    def set_exit(self, versions: Collection[int], around: Collection[IPAddress]) -> None:
        """Default routes of these IP versions count for all but the Switch's addresses and this machine's subnets."""
        with self._told("cannot be kept out of the way to the Switch"):
            if versions or not self._socket.dump_routes(_is_exit):  # else another tunnel uses the rules
                self._rules.keep(versions, around)

    def connected(self) -> set[Prefix]:
        """Subnets of all other interfaces: no route of a peer may overlap one."""
        index = self.index()
        return {
            ipaddress.ip_network(f"{address_of(entry)}/{entry['prefixlen']}", strict=False)
            for entry in self._all_addresses()
            if entry["index"] != index and entry["scope"] not in (_SCOPE_LINK, _SCOPE_HOST)
        }

    # -- Helpers

    def _set_link(self, mtu: int, attributes: Sequence[tuple[str, object]], **fields: int) -> None:
        with self._told(f"cannot have an MTU of {mtu}"):
            message = self._socket.message(rt.RTM_NEWLINK, index=self._need(), attrs=list(attributes), **fields)
            self._socket.change(rt.RTM_NEWLINK, message)

    def _need(self) -> int:
        index = self.index()
        if index is None:
            raise SystemProblem(f"{self.name}: there is no such interface")
        return index

    def _route(self, prefix: Prefix) -> Message:
        return self._socket.message(
            rt.RTM_NEWROUTE,
            family=rt.FAMILIES[prefix.version],
            dst_len=prefix.prefixlen,
            table=_MAIN_TABLE if prefix.prefixlen else EXIT_TABLE,
            proto=ROUTE_PROTOCOL,
            scope=_SCOPE_LINK if prefix.version == 4 else _SCOPE_UNIVERSE,
            type=_UNICAST,
            attrs=[("RTA_DST", str(prefix.network_address)), ("RTA_OIF", self._need())],
        )

    def _all_addresses(self) -> list[Message]:
        with self._told("cannot be looked at"):
            return self._socket.dump(rt.RTM_GETADDR)

    @contextmanager
    def _told(self, what: str, version: int = 4) -> Iterator[None]:
        """Make one line of the kernel's errors."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV):
                raise _Gone(f"{self.name}: {what}: {error.strerror}") from None
            if error.errno == errno.EEXIST:
                raise _Exists(f"{self.name}: {what}: {error.strerror}") from None
            if version == 6 and error.errno in (errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                help_ = "IPv6 is switched off here (sysctl net.ipv6.conf.all.disable_ipv6)"
                raise SystemProblem(f"{self.name}: {what}: {help_}") from None
            if error.errno == errno.EPERM:
                raise SystemProblem(f"{self.name}: {what}: run as root, or with CAP_NET_ADMIN") from None
            raise SystemProblem(f"{self.name}: {what}: {error.strerror}") from None


class _Gone(SystemProblem):
    """It was not there."""


class _Exists(SystemProblem):
    """It is there already."""


def _is_ours(raw: Raw) -> bool:
    family, _, _, _, _, protocol, _, _ = raw.body(rt.ROUTE)
    return protocol == ROUTE_PROTOCOL and family in rt.VERSIONS


def _is_exit(raw: Raw) -> bool:
    return _is_ours(raw) and raw.body(rt.ROUTE)[4] == EXIT_TABLE


def _destination(entry: Message) -> Prefix:
    address = entry.get_attr("RTA_DST") or ("0.0.0.0" if rt.VERSIONS[entry["family"]] == 4 else "::")
    return ipaddress.ip_network(f"{address}/{entry['dst_len']}")
