"""A NAT router behind one uplink, as a home or a carrier has it, and how it can fail."""

from __future__ import annotations

import contextlib
import socket
import struct

from ovng.demo.net import Host
from ovng.errors import SystemProblem

PORTS = ((40_000, 40_999), (50_000, 50_999))
_NETFILTER, _DELETE, _REQUEST_ACK = 12, 1 << 8 | 2, 5
"""NETLINK_NETFILTER; NFNL_SUBSYS_CTNETLINK with IPCTNL_MSG_CT_DELETE; NLM_F_REQUEST | NLM_F_ACK."""
_CLOSED = (
    'table inet closed { chain in { type filter hook input priority 0; iifname "internet" meta l4proto udp drop; }; }'
)


class Router:
    """IPv4 leaves by one of its two outer addresses, according to the network it comes from; IPv6 as it is.

    Without `nat` IPv4 leaves as it is, too.
    """

    def __init__(self, host: Host, internet: Host, number: int, *, nat: bool = True) -> None:
        self.host, self._number, self._ports, self._nat = host, number, 0, nat
        outer = [f"198.51.10{number}.{last}/24" for last in (2, 3)]
        host.net.join(internet, host, [f"198.51.10{number}.1/24", f"2001:db8:{number}::1/64"], outer)
        host.add_address("internet", f"2001:db8:{number}::2/64")
        host.default_via(f"198.51.10{number}.1", f"2001:db8:{number}::1")
        for place in (0, 1):
            internet.ip("-6", "route", "add", f"2001:db8:{number}{place}::/64", "via", f"2001:db8:{number}::2")
        host.forward()
        host.nft(_CLOSED)  # a port nobody has is silence, not an ICMP error
        if nat:
            self._translate()
            return
        for place in (0, 1):
            internet.ip("route", "add", f"192.168.{number}{place}.0/24", "via", f"198.51.10{number}.2")

    def seen_as(self, place: int) -> str:
        """The address by which the internet knows who is at this place behind it (IPv4)."""
        return f"198.51.10{self._number}.{place + 2}" if self._nat else f"192.168.{self._number}{place}.2"

    def rebind(self) -> None:
        """Forget every flow; the next datagram of each gets a port of another range."""
        self._ports = 1 - self._ports
        self._translate()
        self.forget()

    def forget(self) -> None:
        """Lose the table of flows."""
        with self.host.inside(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as netfilter:
            header = struct.pack("=IHHII", 20, _DELETE, _REQUEST_ACK, 1, 0)
            netfilter.send(header + struct.pack("=BBH", 0, 0, 0))  # no attributes: all
            (error,) = struct.unpack_from("=i", netfilter.recv(4096), 16)
        if error:
            raise SystemProblem(f"the NAT's table was not emptied: error {-error}")

    def kill(self) -> None:
        """From now on it forwards nothing and says nothing."""
        self._impair("drop")

    def lose(self, percent: int) -> None:
        """Drop at random in both directions."""
        self._impair(f"numgen random mod 100 < {percent} drop")

    def narrow(self, mtu: int) -> None:
        """Drop larger packets without a word."""
        self._impair(f"meta length > {mtu} drop")

    def heal(self) -> None:
        """Forward everything again."""
        with contextlib.suppress(SystemProblem):
            self.host.run("nft", "delete", "table", "inet", "impaired")

    def _impair(self, rule: str) -> None:
        self.heal()
        self.host.nft(f"table inet impaired {{ chain f {{ type filter hook forward priority -200; {rule}; }}; }}")

    def _translate(self) -> None:
        first, last = PORTS[self._ports]
        rules = "\n".join(
            f"ip saddr 192.168.{self._number}{place}.0/24 meta l4proto udp"
            f" snat to 198.51.10{self._number}.{place + 2}:{first}-{last}"
            for place in (0, 1)
        )
        self.host.nft(
            "table ip nat\ndelete table ip nat\n"
            f"table ip nat {{ chain out {{ type nat hook postrouting priority 100; {rules}\n}}; }}"
        )
