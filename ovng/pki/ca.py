"""What a CA does: begin a network, issue, renew, revoke. Needs `cryptography`; runs on the CA's machine only.

The order of writes is such that a crash leaves nothing worse than a line in the index: a certificate is in the index
before it is in a profile, so that it can be revoked; a revocation is in the index before it is in the list, and the
next list carries it under a higher number.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from ovng.config.names import DnsSettings
from ovng.config.render import render_node, render_switch, replace_credentials, to_json
from ovng.config.values import Endpoint, der_to_pem, parse_name, parse_pem, pem_to_der
from ovng.config.yamlfile import Value, parse_yaml, read_private_file
from ovng.errors import ConfigError, Malformed
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.limits import CERTIFICATE_DAYS
from ovng.pki import allocation
from ovng.pki.der import parse_certificate
from ovng.pki.folder import CA_CERTIFICATE, CA_KEY, CRL, Folder, Index, Issued, Member, pending_file
from ovng.pki.identity import PREFIXES_MAX, identity_uris
from ovng.pki.signing import (
    Authority,
    KeyType,
    PublicKey,
    certificate_pem,
    dates_of,
    key_pem,
    new_key,
    node_id,
    read_request,
    spki,
)
from ovng.pki.trust import day

_EMBEDDED_CRL_MAX = 65_536  # a longer list comes from the Switch, not in every profile


@dataclass(frozen=True)
class Order:
    """What `issue` is asked for."""

    name: str
    addresses: tuple[IPAddress, ...] = ()
    """Empty: the next free one of every prefix."""
    routes: tuple[Prefix, ...] = ()
    cluster: str | None = None
    managed: bool = False
    exit: bool = False
    use_exits: tuple[str, ...] = ()
    """Names of members from which this node takes a default route."""
    dns: DnsSettings = field(default_factory=DnsSettings)
    key_type: KeyType = "p256"
    days: int = CERTIFICATE_DAYS


def init_network(
    folder: Path,
    network: str,
    prefixes: tuple[Prefix, ...],
    switch: tuple[Endpoint, ...],
    wall: float,
    *,
    listen: tuple[Endpoint, ...] = (),
    key_type: KeyType = "p256",
    days: int = CERTIFICATE_DAYS,
) -> Member:
    """Make a network's folder with a CA and `switch.ovng`, whole or not at all. Raises ConfigError."""
    allocation.check_network_prefixes(prefixes)
    if os.path.lexists(folder):
        raise ConfigError("is already there: choose another name, or move it away", file=str(folder))
    authority = Authority.create(network, wall, key_type)
    certificate, key = authority.pem()
    index = Index(network, prefixes, switch)
    growing = folder.with_name(f".{folder.name}.new")
    try:
        growing.mkdir(mode=0o700)
    except FileExistsError:
        raise ConfigError("is left from an attempt that was cut short: remove it", file=str(growing)) from None
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", file=str(folder)) from None
    try:
        work = Folder(growing)
        work.write(CA_KEY, key, 0o600)
        work.write(CA_CERTIFICATE, certificate, 0o644)
        ca = CertificateAuthority(work, authority)
        member = ca.add_switch(index, listen or (Endpoint("::", switch[0].port),), wall, key_type, days)
        growing.rename(folder)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    return member


def requested(path: Path) -> tuple[str, PublicKey]:
    """Name and key of the request in a file (`ovng request`). Raises ConfigError."""
    try:
        name, public = read_request(path.read_bytes())
        return parse_name(name), public
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except ValueError as error:
        raise ConfigError(str(error), file=str(path)) from None


class CertificateAuthority:
    """A network's folder and the key to act in it. Every method raises ConfigError."""

    def __init__(self, folder: Folder, authority: Authority) -> None:
        self.folder, self._authority = folder, authority

    @classmethod
    def open(cls, path: Path) -> CertificateAuthority:
        """The network in a folder. Refuses a key that others may read."""
        folder = Folder.open(path)
        key = read_private_file(path / CA_KEY)
        try:
            certificate = (path / CA_CERTIFICATE).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path / CA_CERTIFICATE)) from None
        try:
            return cls(folder, Authority.from_pem(certificate, key))
        except (ValueError, TypeError) as error:
            problem = str(error).splitlines()[0][:100]
            raise ConfigError(f"does not work with {CA_CERTIFICATE}: {problem}", file=str(path / CA_KEY)) from None

    def add_switch(self, index: Index, listen: Sequence[Endpoint], wall: float, key_type: KeyType, days: int) -> Member:
        """The network's Switch: a key of its own, and `switch.ovng`."""
        private = new_key(key_type)
        public = private.public_key()
        path = self.folder.path / "switch.ovng"
        member = Member("switch", "switch", node_id(public), spki(public), profile=path.name)
        certificate = self._sign(index, member, public, wall, days)
        text = render_switch(
            name=member.name,
            network=index.network,
            node_id=member.id,
            network_prefixes=index.prefixes,
            listen=listen,
            credentials=self._credentials(certificate) | {"key": key_pem(private)},
        )
        index.members.append(member)
        with pending_file(path, text.encode(), 0o600):
            self.folder.write_index(index)
        return member

    def issue(self, order: Order, output: Path, wall: float) -> Member:
        """A new node and its profile at `output`, which must not be there yet."""
        private = new_key(order.key_type)
        return self._admit(order, private.public_key(), {"key": key_pem(private)}, "", output, wall)

    def sign(self, order: Order, public: PublicKey, output: Path, wall: float, *, json: bool = False) -> Member:
        """As `issue`, for a node that keeps its key: the profile, or its JSON form, names the file NAME.key instead."""
        return self._admit(order, public, {}, f"{order.name}.key", output, wall, json)

    def _admit(
        self,
        order: Order,
        public: PublicKey,
        key: Mapping[str, bytes],
        key_file: str,
        output: Path,
        wall: float,
        json: bool = False,
    ) -> Member:
        with self.folder.lock():
            index = self.folder.read_index()
            live = index.live
            if any(member.name == order.name for member in live):
                raise ConfigError(f"{order.name} is already a member: `ovng ca renew {order.name}`, or another name")
            if any(member.id == node_id(public) for member in index.members):
                raise ConfigError(f"a member has this key already, or had it: {order.name} needs one of its own")
            if os.path.lexists(output):
                raise ConfigError("is already there: move it away, or give another file with -o", file=str(output))
            allocation.check_addresses(order.addresses, index.prefixes, live)
            allocation.check_routes(order.routes, order.cluster, index.prefixes, live)
            addresses = order.addresses or allocation.next_addresses(index.prefixes, live)
            routes = order.routes + (allocation.exit_routes(index.prefixes) if order.exit else ())
            if len(addresses) + len(routes) > PREFIXES_MAX:
                raise ConfigError(f"more than {PREFIXES_MAX} addresses and routes: join routes into larger prefixes")
            exits = self._exits(index, order.use_exits)
            member = Member(
                order.name,
                "node",
                node_id(public),
                spki(public),
                addresses,
                routes,
                order.cluster,
                order.managed,
                self._recorded(output),
            )
            certificate = self._sign(index, member, public, wall, order.days)
            text = render_node(
                name=member.name,
                network=index.network,
                node_id=member.id,
                switch=index.switch,
                addresses=addresses,
                network_prefixes=index.prefixes,
                routes=routes,
                exits=exits,
                credentials={**self._credentials(certificate), **key},
                key_file=key_file,
                dns=order.dns,
            )
            index.members.append(member)
            with pending_file(output, (to_json(text) if json else text).encode(), 0o600):
                self.folder.write_index(index)
            return member

    def renew(
        self, name: str, output: Path | None, certificate_only: Path | None, wall: float, days: int
    ) -> tuple[Member, Path]:
        """A new certificate for the same key. Into the member's profile, or alone into a file of its own.

        The rest of the profile stays as its owner wrote it. Returns where it was written.
        """
        with self.folder.lock():
            index = self.folder.read_index()
            member = index.find(name)
            if member.revoked:
                raise ConfigError(f"{member.name} ({member.id}) is revoked: issue it anew, with a new key")
            public = serialization.load_der_public_key(member.public_key)
            if not isinstance(public, PublicKey):
                raise ConfigError(f"the index has no usable key of {member.name}")
            if certificate_only is not None:
                signed = self._sign(index, member, public, wall, days)
                with pending_file(certificate_only, signed, 0o644):
                    self.folder.write_index(index)
                return member, certificate_only
            recorded = self.folder.path / member.profile
            target = output or recorded
            source = target if os.path.lexists(target) else recorded
            if not os.path.lexists(source):
                raise ConfigError(
                    f"is not here, and it holds {member.name}'s key: name it with -o, or write the certificate alone"
                    " with --certificate FILE and put it into the profile there",
                    file=str(source),
                )
            text = self._profile_of(member, source)
            signed = self._sign(index, member, public, wall, days)
            renewed = replace_credentials(text, str(source), self._credentials(signed))
            member.profile = self._recorded(target)
            with pending_file(target, renewed.encode(), 0o600):
                self.folder.write_index(index)
            return member, target

    def revoke(self, name: str, wall: float) -> tuple[Member, int]:
        """Revoke every unexpired certificate of a member and sign a new list. Returns its number."""
        with self.folder.lock():
            index = self.folder.read_index()
            member = index.find(name)
            for issued in member.certificates:
                # The newest even if it has ended: so the member counts as revoked, and is not renewed by mistake.
                if issued.revoked is None and (issued.not_after > wall or issued is member.certificates[-1]):
                    issued.revoked = wall
            return member, self._sign_crl(index, wall)

    def refresh_crl(self, wall: float) -> int:
        """Sign the list anew, with new dates. Returns its number."""
        with self.folder.lock():
            return self._sign_crl(self.folder.read_index(), wall)

    # -- Inside

    def _sign(self, index: Index, member: Member, public: PublicKey, wall: float, days: int) -> bytes:
        """A certificate of what the member has, noted in it. PEM."""
        self._check_clock(wall)
        uris = identity_uris(index.network, member.kind, member.id, member.prefixes, member.cluster, member.managed)
        certificate = self._authority.issue(public, uris, wall, days)
        member.certificates.append(Issued(certificate.serial_number, dates_of(certificate)[1]))
        return certificate_pem(certificate)

    def _sign_crl(self, index: Index, wall: float) -> int:
        self._check_clock(wall)
        # Ended certificates leave the list: their date refuses them.
        revoked = {
            issued.serial: issued.revoked
            for member in index.members
            for issued in member.certificates
            if issued.revoked is not None and issued.not_after > wall
        }
        index.crl_number += 1
        der = self._authority.crl(index.crl_number, revoked, wall)
        with pending_file(self.folder.path / CRL, der, 0o644):
            self.folder.write_index(index)
        return index.crl_number

    def _check_clock(self, wall: float) -> None:
        """What is signed by a wrong clock is wrong for its whole life."""
        made, ends = self._authority.dates
        if wall < made:
            raise ConfigError(f"this machine's clock says {day(wall)}, before the CA was made ({day(made)}): set it")
        if wall >= ends:
            raise ConfigError(
                f"the CA's own certificate ended on {day(ends)} (the clock says {day(wall)}): make a new network"
            )

    def _credentials(self, certificate: bytes) -> dict[str, bytes]:
        """All but the key, PEM."""
        credentials = {"ca": certificate_pem(self._authority.certificate), "certificate": certificate}
        crl = self.folder.path / CRL
        if crl.exists() and crl.stat().st_size <= _EMBEDDED_CRL_MAX:
            credentials["crl"] = der_to_pem(crl.read_bytes(), "X509 CRL")
        return credentials

    def _profile_of(self, member: Member, path: Path) -> str:
        """The text of a profile, after a look that it is this member's."""
        data = read_private_file(path)
        section = parse_yaml(data, str(path))
        if section.get("key_file"):
            self._check_certificate(member, section.need("certificate"))
            return data.decode()
        value = section.need("key")
        pem = value.map(lambda text: parse_pem(text, "PRIVATE KEY"))
        try:
            public = serialization.load_pem_private_key(pem, None).public_key()
        except (ValueError, TypeError):
            value.fail("is not a private key that can be read")
        if not isinstance(public, PublicKey) or spki(public) != member.public_key:
            value.fail(f"is not {member.name}'s key ({member.id}): this is another node's profile")
        return data.decode()

    @staticmethod
    def _check_certificate(member: Member, value: Value) -> None:
        """The key is on the device; the certificate tells whose profile this is."""
        pem = value.map(lambda text: parse_pem(text, "CERTIFICATE"))
        try:
            same = parse_certificate(pem_to_der(pem)).spki == member.public_key
        except Malformed:
            same = False
        if not same:
            value.fail(f"is not {member.name}'s ({member.id}): this is another node's profile")

    def _exits(self, index: Index, names: Sequence[str]) -> dict[str, NodeID]:
        exits = {}
        for name in names:
            member = index.find(name)
            if member.revoked or not any(route.prefixlen == 0 for route in member.routes):
                raise ConfigError(f"{name} is no exit: issue it with --exit", key="--use-exit")
            exits[name] = member.id
        return exits

    def _recorded(self, path: Path) -> str:
        """How the index remembers a path."""
        absolute, home = path.resolve(), self.folder.path.resolve()
        return str(absolute.relative_to(home)) if absolute.is_relative_to(home) else str(absolute)
