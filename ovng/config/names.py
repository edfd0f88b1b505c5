"""Whom a node asks for names of the network: the key `dns` of its profile."""

from __future__ import annotations

import re

from ovng.config.reading import list_of
from ovng.config.values import parse_address
from ovng.config.yamlfile import Value, shorten
from ovng.fields import Frozen, field_names
from ovng.ids import IPAddress

SERVERS_MAX = 3  # as many as resolv.conf(5) takes
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\Z"
)


class DnsSettings(Frozen):
    """Nothing is changed where there are no servers."""

    servers: tuple[IPAddress, ...] = ()
    """Addresses that are reached through the tunnel, mostly."""
    domains: tuple[str, ...] = ()
    """Names below these are asked of the servers, and of nobody else. Empty: all names are asked of them."""


def read_dns(value: Value) -> DnsSettings:
    """The mapping `dns`. Raises ConfigError."""
    section = value.section()
    section.only(field_names(DnsSettings))
    servers = list_of(section, "servers", parse_address, most=SERVERS_MAX)
    domains = list_of(section, "domains", parse_domain)
    if domains and not servers:
        value.fail("has domains, but no servers to ask")
    return DnsSettings(servers, domains)


def parse_domain(text: str) -> str:
    """A domain name (RFC 1035), in small letters and without its last dot; one with other letters as `xn--…`."""
    name = text.lower().removesuffix(".")
    if not _DOMAIN.match(name):
        raise ValueError(f"{shorten(text)} is no domain name such as home.example")
    return name
