"""Where the nodes of the table are: so many that their locators fill 16 addresses of `b`, as many ports as it takes."""

from __future__ import annotations

import ipaddress

from benchmarks.star import A, B

ADDRESSES = 16
FIRST_PORT, PORTS = 2000, 60_000
SOURCE_PORT = 21_000


def destination(index: int) -> tuple[str, int]:
    """Address and port of the node with this number, 0 …: as the prototype's own `dst=` places them."""
    address = ipaddress.IPv4Address(B) + index % ADDRESSES
    return str(address), FIRST_PORT + index // ADDRESSES % PORTS


def source(index: int) -> tuple[str, int]:
    """Address and port from which the generator's source 0 … sends."""
    return A, SOURCE_PORT + index
