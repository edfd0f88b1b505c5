"""A Switch's registrar and table with many nodes, in a process of its own: `python -m tests.crowded_switch COUNT`.

Prints {"idle": bytes, "full": bytes, "nodes": count}, resident memory before and after COUNT nodes have attached, each
with an inner IPv4 address.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys

from ovng._fast.table import Table
from ovng.clock import now
from ovng.forwarding.registrar import Registrar
from ovng.ids import Locator, NodeID
from ovng.io.libcrypto import load_libcrypto, make_aead
from ovng.pki.identity import Identity
from ovng.switch import service  # a Switch's process holds all of it
from ovng.wire.inner import Attach, AttachMode
from tests.crowded_node import resident

_FIRST = int(ipaddress.IPv4Address("10.0.0.1"))
_CAPACITY = 1 << 20
_SPREAD = 0x9E3779B97F4A7C15  # odd: every product is another


def main() -> None:
    """Attach them all."""
    assert service
    load_libcrypto(None)
    count, time = int(sys.argv[1]), now()
    networks = (ipaddress.IPv4Network("10.0.0.0/8"),)
    table = Table(_CAPACITY, os.urandom(16))
    registrar = Registrar(NodeID(1), table, os.urandom, make_aead, time, networks)
    idle = resident()
    for number in range(count):
        node = NodeID((number + 1) * _SPREAD % (1 << 64))
        prefixes = (ipaddress.IPv4Network((_FIRST + number, 32)),)
        identity = Identity("crowd", "node", node, prefixes, None, False, number + 1, time.wall, time.wall + 1e6)
        source = Locator.of(str(ipaddress.IPv4Address(0xC0000000 + number)), 5140)
        master = number.to_bytes(32, "big")
        registrar.attach(identity, Attach(AttachMode.START, 0, 1, 25), source.packed(), master, master, time)
        registrar.settle(node, master, time)
    sys.stdout.write(json.dumps({"idle": idle, "full": resident(), "nodes": len(table)}))


if __name__ == "__main__":
    main()
