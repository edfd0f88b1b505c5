"""Value types that name things: node IDs, locators, inner prefixes."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from ovng.errors import Malformed
from ovng.hashes import sha256

NODE_ID_SIZE = 8
LOCATOR_SIZE = 18  # IPv6 address 16, port 2; IPv4 as ::ffff:a.b.c.d

MAPPED = b"\0" * 10 + b"\xff\xff"  # ::ffff:0:0/96
_PRINTED = re.compile(r"[0-9a-f]{4}(?:-[0-9a-f]{4}){3}\Z")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network


class NodeID(int):
    """64-bit node ID, 1 … 2^64−1; 0 stands for "the Switch at this locator" in a destination only."""

    __slots__ = ()

    def __new__(cls, value: int) -> NodeID:
        if not 0 <= value < 1 << 64:
            raise ValueError("a node ID has 64 bits")
        return int.__new__(cls, value)

    @classmethod
    def from_public_key(cls, spki: bytes) -> NodeID:
        """The ID of a key: first 8 bytes of SHA-256 of its DER SubjectPublicKeyInfo. Raises Malformed on ID 0."""
        value = int.from_bytes(sha256(spki)[:NODE_ID_SIZE], "big")
        if value == 0:
            raise Malformed("id_zero")
        return cls(value)

    @classmethod
    def parse(cls, text: str) -> NodeID:
        """Read the printed form `3f9a-77c1-02be-5d40`. Raises ValueError."""
        if not _PRINTED.match(text):
            raise ValueError(f"{text!r} is not a node ID (four groups of four hex digits)")
        return cls(int(text.replace("-", ""), 16))

    def packed(self) -> bytes:
        """8 bytes, network order."""
        return self.to_bytes(NODE_ID_SIZE, "big")

    def __str__(self) -> str:
        digits = f"{int(self):016x}"
        return f"{digits[:4]}-{digits[4:8]}-{digits[8:12]}-{digits[12:]}"

    def __repr__(self) -> str:
        return f"NodeID({self})"


class Locator(NamedTuple):
    """Where the Switch reaches a node now: 16 address bytes (IPv4 mapped) and a UDP port."""

    address: bytes
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Locator:
        """From a numeric IPv4 or IPv6 address (a scope after % is ignored). Raises ValueError."""
        ip = ipaddress.ip_address(host.split("%", 1)[0])
        packed = ip.packed if ip.version == 6 else MAPPED + ip.packed
        return cls(packed, port)

    @classmethod
    def unpack(cls, data: bytes) -> Locator:
        """From its 18 bytes on the wire. Raises Malformed."""
        if len(data) != LOCATOR_SIZE:
            raise Malformed("locator_length")
        return cls(bytes(data[:16]), int.from_bytes(data[16:], "big"))

    def packed(self) -> bytes:
        """18 bytes, network order."""
        return self.address + self.port.to_bytes(2, "big")

    @property
    def ip(self) -> IPAddress:
        """The address; IPv4 when it is a mapped one."""
        v6 = ipaddress.IPv6Address(self.address)
        return v6.ipv4_mapped or v6

    @property
    def site(self) -> bytes:
        """The /24 or /56 it belongs to, as a key: what one stranger can be taken to hold."""
        return site_of(self.address)

    @property
    def known(self) -> bool:
        """False for the all-zero locator."""
        return self != UNKNOWN_LOCATOR

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


def site_of(address: bytes) -> bytes:
    """`Locator.site` of a packed address or locator."""
    return address[12:15] if address.startswith(MAPPED) else address[:7]


UNKNOWN_LOCATOR = Locator(bytes(16), 0)
