"""A CA with nodes and Switches, in memory, for every test that needs identities. About 5 ms each.

network = Network()                       # or Network(key_type="ed25519")
truck = network.node("10.77.0.2/32")      # .trust, .identity, .id, and the PEM they came from
switch = network.switch()
crl = network.revoke(truck)               # DER, with a rising number
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ovng.ids import NodeID, Prefix
from ovng.io.credentials import memfd_path
from ovng.pki.identity import Identity, Kind, identity_uris
from ovng.pki.signing import Authority, KeyType, PrivateKey, certificate_pem, key_pem, new_key, node_id
from ovng.pki.trust import Trust

WALL = 1_780_000_000.0  # 2026-05-28: when everything is issued unless told; OpenSSL checks no dates


@dataclass(frozen=True)
class Member:
    """One node or Switch: its Trust, and what a profile would hold."""

    trust: Trust
    ca: bytes
    certificate: bytes
    key: bytes

    @property
    def identity(self) -> Identity:
        return self.trust.identity

    @property
    def id(self) -> NodeID:
        return self.trust.identity.id


class Network:
    """A CA. Node certificates last `days` from `wall`."""

    def __init__(self, name: str = "testnet", key_type: KeyType = "p256", wall: float = WALL) -> None:
        self.name, self.key_type, self.wall = name, key_type, wall
        self.authority = Authority.create(name, wall, key_type)
        self.ca = certificate_pem(self.authority.certificate)
        self._revoked: dict[int, float] = {}
        self._crl_number = 0

    def node(
        self,
        *prefixes: str,
        cluster: str | None = None,
        managed: bool = False,
        key_type: KeyType | PrivateKey | None = None,
        wall: float | None = None,
        days: float = 365,
        crl: bytes | None = None,
    ) -> Member:
        """A node whose certificate holds `prefixes`. `key_type`: what key to make, or the key."""
        parsed = tuple(ipaddress.ip_network(prefix) for prefix in prefixes)
        return self._member("node", parsed, cluster, managed, key_type, wall, days, crl)

    def switch(self, key_type: KeyType | PrivateKey | None = None, crl: bytes | None = None) -> Member:
        """A Switch."""
        return self._member("switch", (), None, False, key_type, None, 365, crl)

    def pair(self) -> tuple[Member, Member]:
        """Two nodes, the one with the lower ID first."""
        one, other = self.node("10.77.0.2/32", "fd77::2/128"), self.node("10.77.0.3/32", "fd77::3/128")
        return (one, other) if one.id < other.id else (other, one)

    def renew(self, member: Member) -> Member:
        """A new certificate of the same key, as `ovng ca renew` makes it."""
        key = load_pem_private_key(member.key, None)
        assert isinstance(key, PrivateKey)
        old = member.identity
        return self._certify(key, old.kind, old.prefixes, old.cluster, old.managed, None, 365, member.trust.crl_der)

    def revoke(self, *members: Member) -> bytes:
        """A new CRL that names these and all revoked before. DER."""
        self._crl_number += 1
        self._revoked |= {member.identity.serial: self.wall for member in members}
        return self.authority.crl(self._crl_number, self._revoked, self.wall)

    def new_key(self, key_type: KeyType | None = None) -> PrivateKey:
        """A member's key."""
        return new_key(key_type or self.key_type)

    def _member(
        self,
        kind: Kind,
        prefixes: tuple[Prefix, ...],
        cluster: str | None,
        managed: bool,
        key_type: KeyType | PrivateKey | None,
        wall: float | None,
        days: float,
        crl: bytes | None,
    ) -> Member:
        key = key_type if isinstance(key_type, PrivateKey) else self.new_key(key_type)
        return self._certify(key, kind, prefixes, cluster, managed, wall, days, crl)

    def _certify(
        self,
        key: PrivateKey,
        kind: Kind,
        prefixes: tuple[Prefix, ...],
        cluster: str | None,
        managed: bool,
        wall: float | None,
        days: float,
        crl: bytes | None,
    ) -> Member:
        uris = identity_uris(self.name, kind, node_id(key.public_key()), prefixes, cluster, managed)
        signed = self.authority.issue(key.public_key(), uris, self.wall if wall is None else wall, days)
        certificate, private = certificate_pem(signed), key_pem(key)
        trust = Trust(self.name, self.ca, certificate, private, memfd_path, crl)
        return Member(trust, self.ca, certificate, private)
