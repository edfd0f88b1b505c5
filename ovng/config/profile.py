"""The one file a node or a Switch starts from (`NAME.ovng`, YAML or JSON): what may stand in it, and what it then is.

`parse_profile` is the only way in. Each fault is a ConfigError that names file, line and key; a profile that comes out
is complete and belongs together: key and certificate match, the CA signed them, the addresses are in the certificate.
"""

from __future__ import annotations

import functools
import ipaddress
from pathlib import Path

from ovng import limits
from ovng.config.mobility import (
    MODES,
    RedundantFor,
    UplinkSettings,
    doubling,
    read_hooks,
    read_redundant_for,
    read_uplinks,
)
from ovng.config.names import DnsSettings, read_dns
from ovng.config.reading import boolean, integer, list_of, optional
from ovng.config.values import (
    Endpoint,
    parse_address,
    parse_endpoint,
    parse_interface,
    parse_mark,
    parse_name,
    parse_network,
    parse_node_id,
    parse_pem,
    parse_prefix,
    parse_unicast_prefix,
    pem_to_der,
)
from ovng.config.yamlfile import Section, Value, parse_yaml, read_private_file
from ovng.errors import ConfigError, Malformed
from ovng.fields import Frozen, field_names, hidden
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.pki.der import parse_certificate, parse_crl
from ovng.pki.identity import Identity, Kind
from ovng.pki.trust import Load, Trust, day
from ovng.wire.inner import Doubling

PROFILE_VERSION = 1
MAX_INNER_MTU = limits.MAX_DATAGRAM - limits.HEADER_SIZE - limits.TAG_SIZE
MAX_NODES = 1 << 24
CONFIGURATORS = ("ovng", "netifd")
LOG_LEVELS = ("debug", "info", "warning", "error")
ACCEPT_ROUTES = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
"""RFC 1918 and RFC 4193: what is private."""


class Credentials(Frozen):
    """What a profile carries to prove itself and check others."""

    ca: bytes
    """PEM."""
    certificate: bytes
    """PEM."""
    key: bytes = hidden()
    """PEM, PKCS #8."""
    crl: bytes | None
    """DER; not yet proven."""


class OffloadSettings(Frozen):
    """What may be tried. Off only to find a fault in a driver: what is missing is given up by itself."""

    vnet_hdr: bool = True
    """Packets in and out of the TUN device with the kernel's offload header."""
    tso: bool = True
    """TCP super-packets from and to the TUN device; needs vnet_hdr."""
    uso: bool = True
    """UDP super-packets from and to the TUN device; needs vnet_hdr."""
    gso: bool = True
    """Many datagrams in one send (UDP_SEGMENT)."""
    gro: bool = True
    """Many datagrams in one receive (UDP_GRO)."""


class NodeProfile(Frozen):
    """A node's profile. Seconds and bytes throughout."""

    path: Path
    settings: Path | None
    """Another file, whose keys count before those of the profile."""
    name: str
    network: str
    switch: tuple[Endpoint, ...]
    """Where the Switch may be reached, best first."""
    addresses: tuple[IPAddress, ...]
    network_prefixes: tuple[Prefix, ...]
    routes: tuple[Prefix, ...]
    """Served behind this node; in its certificate."""
    accept_routes: tuple[Prefix, ...]
    exit: tuple[NodeID, ...]
    """Nodes from which a default route is believed."""
    interface: str
    mtu: int
    keepalive: int | None
    """Seconds; None: as long as the NAT is known to bear."""
    forward: bool
    """May set ip_forward."""
    rekey_seconds: int
    port: int
    """Local UDP port; 0 lets the kernel choose."""
    uplinks: tuple[UplinkSettings, ...]
    mark: int
    """Firewall mark (SO_MARK) of what is sent to the Switch; 0: none."""
    mode: str
    """`failover` or `redundant`: every packet on two paths."""
    redundant_for: RedundantFor
    dns: DnsSettings
    configured_by: str
    """Who gives the interface addresses and routes: `ovng` itself, or OpenWrt's `netifd`, which is told them."""
    hooks: Path | None
    """The user's own programs, run when paths change; need not exist. None: there are none."""
    libcrypto: str | None
    nice: int
    """Of all threads, as setpriority(2) has it."""
    offloads: OffloadSettings
    log_level: str
    credentials: Credentials

    @property
    def under_netifd(self) -> bool:
        """Whether netifd configures the interface. Then pyroute2 is needed for nothing, and not loaded."""
        return self.configured_by == "netifd"

    @property
    def doubles(self) -> Doubling:
        """What is sent on two paths, and asked of peers."""
        return doubling(self.mode, self.redundant_for)


class SwitchProfile(Frozen):
    """A Switch's profile."""

    path: Path
    name: str
    network: str
    network_prefixes: tuple[Prefix, ...]
    listen: tuple[Endpoint, ...]
    workers: int
    max_nodes: int
    state_dir: Path
    crl_file: Path
    """DER; may be missing."""
    libcrypto: str | None
    nice: int
    """Of all threads, as setpriority(2) has it."""
    offloads: OffloadSettings
    log_level: str
    credentials: Credentials


Profile = NodeProfile | SwitchProfile


def parse_profile(
    data: bytes,
    path: Path,
    *,
    load: Load,
    wall: float,
    settings: Path | None = None,
    state_base: Path | None = None,
) -> Profile:
    """Check and prove a profile that was at `path`. `load` as in `Trust`; `wall` is the clock. Raises ConfigError.

    The keys of the file `settings` count before those of the profile. A relative `state_dir` is below `state_base`
    (None: beside the profile)."""
    section = parse_yaml(data, str(path))
    if settings is not None:
        section = parse_yaml(read_private_file(settings), str(settings)).over(section)
    version = section.need("ovng")
    if version.integer(0, 1 << 32) != PROFILE_VERSION:
        version.fail(f"this profile is of version {version.text()}, this ovng reads version {PROFILE_VERSION}")
    kind = section.need("kind").choice(("node", "switch"))
    profile = _node(section, path, settings) if kind == "node" else _switch(section, path, state_base or path.parent)
    identity = _prove(section, profile, load, wall)
    if isinstance(profile, NodeProfile):
        _check_claims(section, "addresses", list(map(ipaddress.ip_network, profile.addresses)), identity)
        _check_claims(section, "routes", list(profile.routes), identity)
    return profile


def make_trust(profile: Profile, load: Load, crl: bytes | None = None) -> Trust:
    """The Trust of a loaded profile, with its own or the given CRL (DER). Raises ConfigError."""
    held = profile.credentials
    return Trust(profile.network, held.ca, held.certificate, held.key, load, crl if crl is not None else held.crl)


# -- The two kinds


def _node(section: Section, path: Path, settings: Path | None) -> NodeProfile:
    section.only(_keys(NodeProfile))
    return NodeProfile(
        path=path,
        settings=settings,
        name=section.need("name").map(parse_name),
        network=section.need("network").map(parse_network),
        switch=list_of(section, "switch", parse_endpoint, least=1, most=16),
        addresses=list_of(section, "addresses", parse_address, least=1, most=16),
        network_prefixes=list_of(section, "network_prefixes", parse_unicast_prefix, least=1),
        routes=list_of(section, "routes", parse_prefix),
        accept_routes=list_of(section, "accept_routes", parse_unicast_prefix, default=ACCEPT_ROUTES),
        exit=list_of(section, "exit", parse_node_id, most=16),
        interface=optional(section, "interface", lambda value: value.map(parse_interface), "ovng0"),
        mtu=integer(section, "mtu", limits.MIN_TUN_MTU, MAX_INNER_MTU, limits.DEFAULT_TUN_MTU),
        keepalive=optional(
            section, "keepalive", lambda value: value.integer(limits.KEEPALIVE_MIN, limits.KEEPALIVE_MAX), None
        ),
        forward=boolean(section, "forward", False),
        rekey_seconds=integer(section, "rekey_seconds", 1, 86_400, int(limits.REKEY_SECONDS)),
        port=integer(section, "port", 0, 65_535, 0),
        uplinks=read_uplinks(section),
        mark=optional(section, "mark", lambda value: value.map(parse_mark), 0),
        mode=optional(section, "mode", lambda value: value.choice(MODES), MODES[0]),
        redundant_for=optional(section, "redundant_for", read_redundant_for, RedundantFor()),
        dns=optional(section, "dns", read_dns, DnsSettings()),
        configured_by=optional(section, "configured_by", lambda value: value.choice(CONFIGURATORS), CONFIGURATORS[0]),
        hooks=read_hooks(section),
        libcrypto=optional(section, "libcrypto", _absolute, None),
        nice=integer(section, "nice", -20, 19, limits.NICE),
        offloads=optional(section, "offloads", _offloads, OffloadSettings()),
        log_level=optional(section, "log_level", lambda value: value.choice(LOG_LEVELS), "info"),
        credentials=_credentials(section, path),
    )


def _switch(section: Section, path: Path, state_base: Path) -> SwitchProfile:
    section.only(_keys(SwitchProfile))
    return SwitchProfile(
        path=path,
        name=section.need("name").map(parse_name),
        network=section.need("network").map(parse_network),
        network_prefixes=list_of(section, "network_prefixes", parse_unicast_prefix),
        listen=list_of(section, "listen", parse_endpoint, most=16, default=(Endpoint("::", 5140),)),
        workers=integer(section, "workers", 1, 256, 1),
        max_nodes=integer(section, "max_nodes", 1, MAX_NODES, 1 << 20),
        state_dir=state_base / optional(section, "state_dir", Value.text, "state"),
        crl_file=path.parent / optional(section, "crl_file", Value.text, "crl.der"),
        libcrypto=optional(section, "libcrypto", _absolute, None),
        nice=integer(section, "nice", -20, 19, limits.NICE),
        offloads=optional(section, "offloads", _offloads, OffloadSettings()),
        log_level=optional(section, "log_level", lambda value: value.choice(LOG_LEVELS), "info"),
        credentials=_credentials(section, path),
    )


@functools.cache
def _keys(kind: type[NodeProfile] | type[SwitchProfile]) -> frozenset[str]:
    own = set(field_names(kind)) - {"path", "settings", "credentials"}
    return frozenset(own | set(field_names(Credentials)) | {"key_file", "ovng", "kind"})


def _absolute(value: Value) -> str:
    text = value.text()
    if not text.startswith("/") or "\0" in text:
        value.fail("should be an absolute path")
    return text


def _offloads(value: Value) -> OffloadSettings:
    section = value.section()
    names = field_names(OffloadSettings)
    section.only(names)
    return OffloadSettings(**{name: boolean(section, name, True) for name in names})


# -- Credentials


def _credentials(section: Section, path: Path) -> Credentials:
    crl = optional(section, "crl", lambda value: value.map(lambda text: parse_pem(text, "X509 CRL")), None)
    return Credentials(
        ca=section.need("ca").map(lambda text: parse_pem(text, "CERTIFICATE")),
        certificate=section.need("certificate").map(lambda text: parse_pem(text, "CERTIFICATE")),
        key=_key(section, path),
        crl=pem_to_der(crl) if crl else None,
    )


def _key(section: Section, path: Path) -> bytes:
    """The private key: in the profile, or in the file that `key_file` names, from which it never has to go."""
    named = section.get("key_file")
    if named is None or named.absent:
        return section.need("key").map(lambda text: parse_pem(text, "PRIVATE KEY"))
    if section.get("key") is not None:
        named.fail("there is a key as well: take one of them out")
    file = path.parent / named.text()
    try:
        return parse_pem(read_private_file(file).decode("ascii", "replace"), "PRIVATE KEY")
    except ValueError as error:
        raise ConfigError(str(error), file=str(file)) from None


def _prove(section: Section, profile: Profile, load: Load, wall: float) -> Identity:
    """Let TLS itself find whether key, certificate, CA and CRL belong together."""
    certificate, held = section.need("certificate"), profile.credentials
    for key, pem in (("ca", held.ca), ("certificate", held.certificate)):
        try:
            facts = parse_certificate(pem_to_der(pem))
        except Malformed as error:
            section.need(key).fail(f"is not a certificate that can be read ({error.reason})")
        if facts.not_after < wall:
            ended = f"expired on {day(facts.not_after)} (this machine's clock says {day(wall)})"
            section.need(key).fail(
                f"{ended}: run `ovng ca renew {profile.name}` on the CA's machine and bring the new profile"
                if key == "certificate"
                else f"the network's CA {ended}: make a new network with `ovng ca init`"
            )
    try:
        trust = make_trust(profile, load)
    except ConfigError as error:
        certificate.fail(error.message)
    if trust.refused:
        section.need("crl").fail(f"is not a revocation list of this CA ({next(iter(trust.refused))})")
    kind: Kind = "node" if isinstance(profile, NodeProfile) else "switch"
    if trust.identity.kind != kind:
        certificate.fail(f"is that of a {trust.identity.kind}, the profile is that of a {kind}")
    return trust.identity


def _check_claims(section: Section, key: str, claimed: list[Prefix], identity: Identity) -> None:
    """What a node says it has must be in its certificate, or nobody would send to it."""
    value = section.get(key)
    for prefix in claimed:
        if value is not None and prefix not in identity.prefixes:
            shown = str(prefix.network_address) if prefix.num_addresses == 1 else str(prefix)
            value.fail(f"{shown} is not in the certificate, which has {', '.join(map(str, identity.prefixes)) or '-'}")


def crl_from_file(path: Path) -> bytes | None:
    """A Switch's CRL file, DER; None where there is none. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(limits.CRL_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
    try:
        parse_crl(data)
    except Malformed as error:
        raise ConfigError(f"is not a revocation list ({error.reason})", file=str(path)) from None
    return data
