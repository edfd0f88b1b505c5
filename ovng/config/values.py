"""Turns the text of one setting into its value. Each function raises ValueError with words for the user."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import NamedTuple

from ovng.config.yamlfile import shorten
from ovng.ids import IPAddress, NodeID, Prefix

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_NETWORK = re.compile(r"[a-z0-9-]{1,63}\Z")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")  # IFNAMSIZ is 16 with its NUL
_DIGITS = re.compile(r"[0-9]{1,5}\Z")
_MARK = re.compile(r"(?:0|[1-9][0-9]{0,9}|0[xX][0-9a-fA-F]{1,8})\Z")
_DSCP_CLASS, _DSCP_ASSURED = re.compile(r"cs([0-7])\Z"), re.compile(r"af([1-4])([1-3])\Z")
_DSCP_NAMES = {"ef": 46, "va": 44}
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s([A-Za-z0-9+/=\s]+)-----END \1-----\s*\Z")


class Endpoint(NamedTuple):
    """HOST:PORT. The host is a DNS name or a numeric address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """`vpn.example.net:5140`, `192.0.2.1:5140`, `[2001:db8::1]:5140`."""
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit():
        raise ValueError(f"{shorten(text)} should be HOST:PORT")
    if len(port_text) > 5 or not 1 <= int(port_text) <= 65_535:
        raise ValueError(f"{shorten(text)}: a port is 1 … 65535")
    if host.startswith("[") and host.endswith("]"):
        host = str(_address(host[1:-1], 6))
    elif ":" in host:
        raise ValueError(f"{shorten(text)}: write an IPv6 address as [{shorten(host, quote=False)}]:{port_text}")
    elif re.fullmatch(r"[0-9.]+", host):
        host = str(_address(host, 4))
    elif len(host) > 253 or not all(_HOST_LABEL.match(label) for label in host.rstrip(".").split(".")):
        raise ValueError(f"{shorten(host)} is not a host name")
    return Endpoint(host, int(port_text))


def _address(text: str, version: int) -> IPAddress:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{shorten(text)} is not an IPv{version} address") from None
    if address.version != version or "%" in text:
        raise ValueError(f"{shorten(text)} is not an IPv{version} address")
    return address


def parse_address(text: str) -> IPAddress:
    """An inner address: one that a host can have."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{shorten(text)} is not an IP address") from None
    if "%" in text or address.is_multicast or address.is_loopback or address.is_unspecified or address.is_link_local:
        raise ValueError(f"{shorten(text)} is not an address that a node can have")
    if address == ipaddress.ip_address("255.255.255.255"):
        raise ValueError(f"{shorten(text)} is not an address that a node can have")
    return address


def parse_prefix(text: str) -> Prefix:
    """A CIDR prefix without host bits."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{shorten(text)} is not a prefix such as 10.77.0.0/16 or fd77::/64") from None
    raise ValueError(f"{shorten(text)} is an address inside a prefix: write {meant}")


def parse_unicast_prefix(text: str) -> Prefix:
    """A prefix that may be routed into the overlay; not a default route."""
    prefix = parse_prefix(text)
    if prefix.prefixlen == 0:
        raise ValueError(f"{text} is a default route: `ovng ca issue --exit` makes a node one, `exit` names it")
    reserved = ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::1/128", "fe80::/10", "ff00::/8", "::/128")
    for other in map(ipaddress.ip_network, reserved):
        if prefix.version == other.version and prefix.overlaps(other):
            raise ValueError(f"{text} overlaps {other}, which cannot be routed")
    return prefix


def parse_name(text: str) -> str:
    """A node's name; it becomes a file name."""
    if not _NAME.match(text):
        raise ValueError(f"{shorten(text)} is no name: letters, digits, `.`, `_`, `-`, at most 63")
    return text


def parse_network(text: str) -> str:
    """A network's or cluster's name, as in certificates."""
    if not _NETWORK.match(text):
        raise ValueError(f"{shorten(text)} is no network name: small letters, digits, `-`, at most 63")
    return text


def parse_interface(text: str) -> str:
    """A Linux interface name."""
    if not _INTERFACE.match(text) or text in (".", "..", "all", "default"):
        raise ValueError(f"{shorten(text)} is no interface name: at most 15 letters, digits, `.`, `_`, `-`")
    return text


def parse_port(text: str) -> int:
    """A TCP or UDP port."""
    if not _DIGITS.match(text) or not 1 <= int(text) <= 65_535:
        raise ValueError(f"{shorten(text)} should be a port, 1 … 65535")
    return int(text)


def parse_mark(text: str) -> int:
    """A firewall mark, 32 bits, decimal or as `0x3f00`."""
    if not _MARK.match(text) or int(text, 0) >= 1 << 32:
        raise ValueError(f"{shorten(text)} should be a firewall mark, 0 … 0xffffffff")
    return int(text, 0)


def parse_dscp(text: str) -> int:
    """A DSCP, 0 … 63, or its name (RFC 2474, 2597, 3246, 5865): `cs5`, `af41`, `ef`, `va`."""
    if _DIGITS.match(text) and int(text) <= 63:
        return int(text)
    name = text.lower()
    if found := _DSCP_CLASS.match(name):
        return 8 * int(found[1])
    if found := _DSCP_ASSURED.match(name):
        return 8 * int(found[1]) + 2 * int(found[2])
    if name not in _DSCP_NAMES:
        raise ValueError(f"{shorten(text)} should be a DSCP: 0 … 63, or a name such as ef, af41, cs5")
    return _DSCP_NAMES[name]


def parse_node_id(text: str) -> NodeID:
    """`3f9a-77c1-02be-5d40`."""
    try:
        return NodeID.parse(text)
    except ValueError:
        raise ValueError(f"{shorten(text)} is not a node ID such as 3f9a-77c1-02be-5d40 (see `ovng ca list`)") from None


def parse_pem(text: str, label: str) -> bytes:
    """Exactly one PEM block of the kind `label`, as PEM. A private key may be in OpenSSL's older form."""
    found = _PEM.match(text)
    if found is None:
        raise ValueError(f"should be one PEM block, -----BEGIN {label}-----")
    if found[1] != label and (found[1], label) != ("EC PRIVATE KEY", "PRIVATE KEY"):
        raise ValueError(f"is {found[1]}, should be {label}")
    try:
        base64.b64decode("".join(found[2].split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the PEM block is damaged (not base64)") from None
    return text.strip().encode("ascii") + b"\n"


def pem_to_der(pem: bytes) -> bytes:
    """The bytes of what `parse_pem` accepted."""
    body = b"".join(line for line in pem.splitlines() if not line.startswith(b"-----"))
    return base64.b64decode(body)


def der_to_pem(der: bytes, label: str) -> bytes:
    """PEM, 64 characters a line (RFC 7468)."""
    text = base64.b64encode(der)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])
