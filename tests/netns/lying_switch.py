"""A Switch that answers one resolution with the wrong node: `python -m tests.netns.lying_switch switch FILE`.

`LIE` says which: ADDRESS=NODE-ID. Everything else is the real Switch.
"""

from __future__ import annotations

import ipaddress
import os
import sys

from ovng.cli.main import main
from ovng.forwarding import registrar
from ovng.forwarding.directory import Directory
from ovng.ids import IPAddress, NodeID, Prefix


class LyingDirectory(Directory):
    """Names another node as the holder of one address."""

    def holders(self, address: IPAddress) -> tuple[Prefix, list[NodeID]] | None:
        victim, liar = os.environ["LIE"].split("=")
        if address == ipaddress.ip_address(victim):
            return ipaddress.ip_network(victim), [NodeID.parse(liar)]
        return super().holders(address)


if __name__ == "__main__":
    setattr(registrar, "Directory", LyingDirectory)  # noqa: B010 - the registrar makes its directory by this name
    sys.exit(main(sys.argv[1:]))
