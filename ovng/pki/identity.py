"""Who a certificate says its holder is (PROTOCOL section 5).

Everything is in URIs of subjectAltName, since those are what `ssl.SSLObject.getpeercert()` shows:

    ovng:NET:node:ID      or ovng:NET:switch:ID, exactly one of either kind
    ovng:NET:prefix:P     inner addresses the holder may use as source, and routes behind it
    ovng:NET:cluster:NAME
    ovng:NET:trust:managed

The ID is hashed again from the certificate's key, so a CA that signs a foreign ID signs nothing. Names mean nothing.
Words of `ovng:NET:` that this version does not know are skipped: they can only add to a certificate's meaning.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Literal

from ovng.errors import IdentityError, Malformed
from ovng.fields import Frozen
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.pki.der import parse_certificate

Kind = Literal["node", "switch"]

NETWORK_NAME = re.compile(r"[a-z0-9-]{1,63}\Z")
CLUSTER_NAME = NETWORK_NAME
PREFIXES_MAX = 256  # of one certificate; a Switch holds them for every node


class Identity(Frozen):
    """What a certificate proves, once its chain is verified. Dates in seconds since 1970."""

    network: str
    kind: Kind
    id: NodeID
    prefixes: tuple[Prefix, ...]
    cluster: str | None
    managed: bool
    serial: int
    not_before: float
    not_after: float

    def holds(self, address: IPAddress) -> bool:
        """True if the certificate lets its holder speak as this inner address."""
        return any(address in prefix for prefix in self.prefixes if prefix.version == address.version)


def identity_uris(
    network: str,
    kind: Kind,
    node_id: NodeID,
    prefixes: tuple[Prefix, ...] = (),
    cluster: str | None = None,
    managed: bool = False,
) -> list[str]:
    """The URIs that say this; what `identity_from_peer` reads."""
    uris = [f"ovng:{network}:{kind}:{node_id}", *(f"ovng:{network}:prefix:{prefix}" for prefix in prefixes)]
    if cluster is not None:
        uris.append(f"ovng:{network}:cluster:{cluster}")
    if managed:
        uris.append(f"ovng:{network}:trust:managed")
    return uris


def identity_from_peer(peercert: Mapping[str, Any], der: bytes, network: str) -> Identity:
    """Read an identity from `getpeercert()` and `getpeercert(True)` of one chain-verified certificate.

    Raises IdentityError: the certificate is of another network, says nothing, says two things, or its ID is not that
    of its key.
    """
    try:
        facts = parse_certificate(der)
        hashed = NodeID.from_public_key(facts.spki)
    except Malformed as error:
        raise IdentityError("certificate_malformed", error.reason) from None

    scope = f"ovng:{network}:"
    claims: list[tuple[Kind, str]] = []
    prefixes: list[Prefix] = []
    clusters: list[str] = []
    managed = False
    for name, value in peercert.get("subjectAltName", ()):
        if name != "URI" or not value.startswith("ovng:"):
            continue
        if value.count(":") < 3:  # an IPv6 prefix has more of them
            raise IdentityError("bad_uri", repr(value[:100]))
        if not value.startswith(scope):
            raise IdentityError("other_network", repr(value[:100]))
        word, _, text = value[len(scope) :].partition(":")
        if word == "node":
            claims.append(("node", text))
        elif word == "switch":
            claims.append(("switch", text))
        elif word == "prefix":
            prefixes.append(_prefix(text))
        elif word == "cluster":
            clusters.append(text)
        elif word == "trust":
            managed = managed or text == "managed"

    if len(claims) != 1:
        raise IdentityError("no_identity" if not claims else "several_identities")
    if len(prefixes) > PREFIXES_MAX:
        raise IdentityError("too_many_prefixes")
    if len(clusters) > 1 or not all(CLUSTER_NAME.match(cluster) for cluster in clusters):
        raise IdentityError("bad_cluster")
    kind, text = claims[0]
    if text != str(hashed):
        raise IdentityError("id_not_of_key", f"says {text[:40]!r}, its key is {hashed}")
    return Identity(
        network=network,
        kind=kind,
        id=hashed,
        prefixes=tuple(dict.fromkeys(prefixes)),
        cluster=clusters[0] if clusters else None,
        managed=managed,
        serial=facts.serial,
        not_before=facts.not_before,
        not_after=facts.not_after,
    )


def _prefix(text: str) -> Prefix:
    family = ipaddress.IPv6Network if ":" in text else ipaddress.IPv4Network
    try:
        prefix = family(text)
    except ValueError:
        raise IdentityError("bad_prefix", repr(text[:50])) from None
    if str(prefix) != text:  # one spelling only, so that two readers cannot differ
        raise IdentityError("bad_prefix", repr(text[:50]))
    return prefix
