"""A CA's folder and the index in it: what was issued to whom. Standard library only.

    NETWORK/ca.key       0600, the one secret of the network
    NETWORK/ca.crt       its certificate
    NETWORK/index.json   members, their public keys, addresses and certificates
    NETWORK/crl.der      the newest revocation list, once something was revoked
    NETWORK/*.ovng       profiles, 0600

Every file is replaced in one step and synced, so a crash leaves the old or the new one. Whoever changes the index
holds the folder's lock.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ovng.config.values import Endpoint, parse_endpoint
from ovng.errors import ConfigError
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.pki.identity import Kind

CA_KEY, CA_CERTIFICATE, INDEX, CRL = "ca.key", "ca.crt", "index.json", "crl.der"
_VERSION = 1


@dataclass
class Issued:
    """One certificate. Dates in seconds since 1970."""

    serial: int
    not_after: float
    revoked: float | None = None


@dataclass
class Member:
    """A node or Switch and everything ever signed for its key, oldest first; at least one certificate once stored."""

    name: str
    kind: Kind
    id: NodeID
    public_key: bytes
    """DER SubjectPublicKeyInfo."""
    addresses: tuple[IPAddress, ...] = ()
    routes: tuple[Prefix, ...] = ()
    cluster: str | None = None
    managed: bool = False
    profile: str = ""
    """Where it was written last; relative to the folder if inside."""
    certificates: list[Issued] = field(default_factory=list)

    @property
    def revoked(self) -> bool:
        """True once revoked: its addresses, routes and name are free again."""
        return any(issued.revoked is not None for issued in self.certificates)

    @property
    def not_after(self) -> float:
        """The end of the newest certificate."""
        return self.certificates[-1].not_after

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """What its certificate names."""
        return (*map(ipaddress.ip_network, self.addresses), *self.routes)


@dataclass
class Index:
    """What the CA remembers."""

    network: str
    prefixes: tuple[Prefix, ...]
    switch: tuple[Endpoint, ...]
    crl_number: int = 0
    members: list[Member] = field(default_factory=list)

    @property
    def live(self) -> list[Member]:
        """All that are not revoked."""
        return [member for member in self.members if not member.revoked]

    def find(self, name_or_id: str) -> Member:
        """The member of a name (the live one, else the latest) or printed ID. Raises ConfigError."""
        found = [member for member in self.members if name_or_id in (member.name, str(member.id))]
        if not found:
            raise ConfigError(f"no member is called {name_or_id}: `ovng ca list` shows all")
        return next((member for member in found if not member.revoked), found[-1])

    def dump(self) -> bytes:
        """As JSON."""
        members = [
            asdict(member)
            | {
                "id": str(member.id),
                "public_key": member.public_key.hex(),
                "addresses": list(map(str, member.addresses)),
                "routes": list(map(str, member.routes)),
                "certificates": [asdict(issued) | {"serial": f"{issued.serial:x}"} for issued in member.certificates],
            }
            for member in self.members
        ]
        value = {
            "version": _VERSION,
            "network": self.network,
            "prefixes": list(map(str, self.prefixes)),
            "switch": list(map(str, self.switch)),
            "crl_number": self.crl_number,
            "members": members,
        }
        return json.dumps(value, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Index:
        """From JSON. Raises ValueError, KeyError or TypeError on what `dump` did not write."""
        value = json.loads(data)
        if value["version"] != _VERSION:
            raise ValueError(f"it is of version {value['version']}, this ovng reads version {_VERSION}")
        return cls(
            network=str(value["network"]),
            prefixes=tuple(map(ipaddress.ip_network, value["prefixes"])),
            switch=tuple(map(parse_endpoint, value["switch"])),
            crl_number=int(value["crl_number"]),
            members=list(map(_member, value["members"])),
        )


def _member(value: dict[str, Any]) -> Member:
    issued = [Issued(int(one["serial"], 16), one["not_after"], one["revoked"]) for one in value["certificates"]]
    parsed = {
        "id": NodeID.parse(value["id"]),
        "public_key": bytes.fromhex(value["public_key"]),
        "addresses": tuple(map(ipaddress.ip_address, value["addresses"])),
        "routes": tuple(map(ipaddress.ip_network, value["routes"])),
        "certificates": issued,
    }
    return Member(**(value | parsed))


class Folder:
    """A network's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Folder:
        """An existing one. Raises ConfigError that helps when this is the wrong directory."""
        if (path / INDEX).is_file():
            return cls(path)
        place = "here" if path == Path() else f"in {path}"
        inside = [child.parent.name for child in sorted(path.glob(f"*/{INDEX}"))]
        if inside:
            raise ConfigError(f"no network {place}: run `cd {inside[0]}` first, or give `-C {path / inside[0]}`")
        raise ConfigError(
            f"no network {place} ({INDEX} is missing): cd into the folder that `ovng ca init NETWORK` made, or give it"
            " with `-C FOLDER`"
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else changes the folder meanwhile."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def read_index(self) -> Index:
        """Raises ConfigError when it is damaged."""
        path = self.path / INDEX
        try:
            return Index.parse(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = " ".join(str(error).split())[:100]
            raise ConfigError(f"is damaged ({problem}): restore it from a backup", file=str(path)) from None

    def write_index(self, index: Index) -> None:
        """Replace the index."""
        write_file(self.path / INDEX, index.dump(), 0o600)

    def write(self, name: str, data: bytes, mode: int) -> None:
        """Replace one file."""
        write_file(self.path / name, data, mode)


@contextmanager
def pending_file(path: Path, data: bytes, mode: int) -> Iterator[None]:
    """Write beside `path`, and move into place when the block ends well. Raises ConfigError when it cannot be written.

    So what can fail has failed before the block, which may then do what must not be undone.
    """
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 from its birth
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from None
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchmod(fd, mode)
            file.flush()
            os.fsync(fd)
        yield
        os.replace(temporary, path)  # noqa: PTH105
        _sync_directory(path.parent)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from None
        raise


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Replace a file in one step, synced. Raises ConfigError."""
    with pending_file(path, data, mode):
        pass


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
