"""Writes profiles for people to read, and replaces credentials in one without touching what its owner wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ovng.config.names import DnsSettings
from ovng.config.nodes import Node, compose, is_json
from ovng.config.values import Endpoint
from ovng.config.yamlfile import parse_yaml
from ovng.errors import ConfigError
from ovng.ids import IPAddress, NodeID, Prefix

_NODE = """\
# ovng profile of node {name} ({id}) in network {network}.
# {secret}. Start it with: ovng up {name}.ovng

ovng: 1
kind: node
name: {name}
network: {network}

# Where the Switch is. Several may be given, best first; [2001:db8::1]:5140 for an IPv6 address.
switch: {switch}

# This node inside the network, what the network spans, and the networks served behind this node.
# They are in the certificate as well: `ovng ca issue` on the CA's machine decides them.
addresses: {addresses}
network_prefixes: {network_prefixes}
routes: {routes}

# Settings that may be changed; what follows each # is the default.
# accept_routes: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]  # whose routes to install
{exit}
# interface: ovng0
# mtu: 1400
# keepalive: null          # seconds between signs of life, 5 to 600; null: 25, more once the NAT is known to bear it
# forward: false           # true: may switch on ip_forward, which `routes` needs
# rekey_seconds: 3600
# port: 0                  # local UDP port; 0: any
{dns}
# uplinks: []              # - {{interface: wwan*, priority: 0 (best) to 255, metered: true, use: true}}
# mode: failover           # redundant: every packet on two uplinks
# redundant_for: {{dscp: [], ports: []}}  # inner packets that go on two uplinks in any mode
# configured_by: ovng      # netifd: OpenWrt gives the interface addresses and routes
# hooks: /etc/ovng/hooks.d  # programs run when paths change; none: not even those
# mark: 0                  # firewall mark of what goes to the Switch; 0: none
# libcrypto: null          # path of another libcrypto
# nice: -15                # how far ahead of other programs it runs, -20 (most) to 19
# log_level: info          # debug, info, warning, error
"""

_KEY_INSIDE = "It holds a private key: keep it to yourself (chmod 600)"
_KEY_APART = "Its private key is in {key_file} beside it, and nowhere else; both belong to you alone (chmod 600)"

_SWITCH = """\
# ovng profile of the Switch {name} ({id}) in network {network}.
# It holds a private key: keep it to yourself (chmod 600). Start it with: ovng switch {name}.ovng

ovng: 1
kind: switch
name: {name}
network: {network}
network_prefixes: {network_prefixes}

# UDP addresses to listen on; "[::]" is IPv4 as well.
listen: {listen}

# Relative paths start at this file. The list of revoked certificates is read at start and on `ovng reload`.
crl_file: {crl_file}
state_dir: {state_dir}

# Settings that may be changed; what follows each # is the default.
# workers: 1               # threads that forward; at most the number of cores
# max_nodes: 1048576
# libcrypto: null          # path of another libcrypto
# nice: -15                # how far ahead of other programs it runs, -20 (most) to 19
# log_level: info          # debug, info, warning, error
"""

_NO_DNS = DnsSettings()

CREDENTIALS = ("ca", "certificate", "key", "crl")
"""Their order in a file."""


def render_node(
    *,
    name: str,
    network: str,
    node_id: NodeID,
    switch: Sequence[Endpoint],
    addresses: Sequence[IPAddress],
    network_prefixes: Sequence[Prefix],
    routes: Sequence[Prefix],
    exits: Mapping[str, NodeID],
    credentials: Mapping[str, bytes],
    key_file: str = "",
    dns: DnsSettings = _NO_DNS,
) -> str:
    """A node's profile. `exits` are the nodes by name that it may take a default route from; credentials are PEM; the
    key may be in a file of its own."""
    if dns.servers:
        dns_line = f"dns: {{servers: {_flow(dns.servers)}, domains: {_flow(dns.domains)}}}"
    else:
        dns_line = "# dns: {servers: [], domains: []}  # whom to ask for names below these domains; no domains: for all"
    if exits:
        exit_lines = f"exit: {_flow(list(exits.values()))}  # default route only from: {', '.join(exits)}"
    else:
        exit_lines = "# exit: []                 # IDs of nodes that may be this node's way to the Internet"
    head = _NODE.format(
        name=name,
        id=node_id,
        network=network,
        switch=_flow(switch),
        addresses=_flow(addresses),
        network_prefixes=_flow(network_prefixes),
        routes=_flow(routes),
        exit=exit_lines,
        dns=dns_line,
        secret=_KEY_APART.format(key_file=key_file) if key_file else _KEY_INSIDE,
    )
    head += f"\nkey_file: {key_file}\n" if key_file else ""
    return head + _blocks(credentials)


def to_json(text: str) -> str:
    """The same profile in JSON, which is read without PyYAML."""
    root = compose(text, "profile")
    assert root is not None
    return json.dumps(_plain(root), indent=1) + "\n"


def _plain(node: Node) -> Any:
    match node.kind:
        case "mapping":
            return {key.value: _plain(value) for key, value in node.value}
        case "sequence":
            return [_plain(entry) for entry in node.value]
        case _:
            return {"null": None, "bool": node.value == "true"}.get(node.type, node.value)


def render_switch(
    *,
    name: str,
    network: str,
    node_id: NodeID,
    network_prefixes: Sequence[Prefix],
    listen: Sequence[Endpoint],
    credentials: Mapping[str, bytes],
) -> str:
    """A Switch's profile. Credentials are PEM."""
    head = _SWITCH.format(
        name=name,
        id=node_id,
        network=network,
        network_prefixes=_flow(network_prefixes),
        listen=_flow(listen),
        crl_file="crl.der",
        state_dir="state",
    )
    return head + _blocks(credentials)


def replace_credentials(text: str, file: str, credentials: Mapping[str, bytes]) -> str:
    """The same text with these PEM blocks in place of what was there, or at the end. Raises ConfigError.

    Every other line, comments included, stays as it is.
    """
    section = parse_yaml(text.encode(), file)
    if is_json(text):
        return json.dumps(json.loads(text) | {key: pem.decode() for key, pem in credentials.items()}, indent=1) + "\n"
    lines = text.splitlines(keepends=True)
    spans = []
    for key, pem in credentials.items():
        span = section.lines_of(key)
        if span is None:
            lines[-1] = lines[-1].rstrip("\n") + "\n"
            span = len(lines), len(lines)
        else:
            span = span[0], _without_gap(lines, *span)
            if not lines[span[0]].startswith(key):
                raise ConfigError("should start a line for it to be replaced", file=file, line=span[0] + 1, key=key)
        spans.append((span, _block(key, pem)))
    for (start, end), block in sorted(spans, reverse=True):
        lines[start:end] = [block]
    return "".join(lines)


def _without_gap(lines: list[str], start: int, end: int) -> int:
    """A block scalar ends, for YAML, after the empty lines that follow; they and comments are the owner's."""
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def _flow(items: Sequence[object]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def _blocks(credentials: Mapping[str, bytes]) -> str:
    return "\n" + "".join(_block(key, credentials[key]) for key in CREDENTIALS if key in credentials)


def _block(key: str, pem: bytes) -> str:
    return f"{key}: |\n" + "".join(f"  {line}\n" for line in pem.decode("ascii").strip().splitlines())
