"""A Switch's registrar and nodes' clients, without TLS and without a network: what the tests of both ends share."""

from __future__ import annotations

import ipaddress
import random as random_module
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ovng.clock import Now
from ovng.forwarding.registrar import Registrar
from ovng.forwarding.slowtable import SlowTable
from ovng.forwarding.store import NodeTable, Out
from ovng.ids import UNKNOWN_LOCATOR, Locator, NodeID, Prefix
from ovng.pki.identity import Identity
from ovng.session.keys import master_keys
from ovng.wire.inner import Attach, AttachMode, Grant
from ovng.wire.report import (
    NO_COOKIE,
    Common,
    Report,
    ReportKind,
    Update,
    parse_report,
)

SWITCH = NodeID(0x5555_0000_0000_0001)
TRUCK = NodeID(0x1111_0000_0000_0001)
OFFICE = NodeID(0x2222_0000_0000_0002)
WALL = 1_780_000_000.0
START = Now(1_000.0, 5_000.0, WALL)

HOME = Locator.of("192.0.2.10", 40_000)
AWAY = Locator.of("198.51.100.7", 41_000)
THIRD = Locator.of("203.0.113.9", 42_000)
EVIL = Locator.of("2001:db8::66", 6_666)


class TestAead:
    """AES-256-GCM of `cryptography`, with the face of `_fast.aead.Aead`."""

    __test__ = False

    def __init__(self, cipher: int, key: bytes) -> None:
        assert cipher == 1
        self._aead = AESGCM(key)

    def seal(self, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        return self._aead.encrypt(nonce, plaintext, aad)

    def open(self, nonce: bytes, aad: bytes, data: bytes) -> bytes | None:
        try:
            return self._aead.decrypt(nonce, data, aad)
        except InvalidTag:
            return None


def seeded(seed: int) -> Callable[[int], bytes]:
    """A random source that gives the same bytes every time."""
    return random_module.Random(seed).randbytes


def prefix(text: str) -> Prefix:
    return ipaddress.ip_network(text)


def after(now: Now, seconds: float) -> Now:
    """The same clocks, later."""
    return Now(now.mono + seconds, now.boot + seconds, now.wall + seconds)


def identity(node: NodeID, *prefixes: str, serial: int = 7, days: float = 365, cluster: str | None = None) -> Identity:
    """What TLS would have proved."""
    return Identity(
        "testnet",
        "node",
        node,
        tuple(map(prefix, prefixes)),
        cluster,
        False,
        serial,
        WALL - 86_400,
        WALL + days * 86_400,
    )


def registrar(
    now: Now = START, seed: int = 1, table: NodeTable | None = None, network: tuple[Prefix, ...] = ()
) -> Registrar:
    """A Switch that has just started."""
    table = SlowTable(1_000, bytes(16)) if table is None else table
    return Registrar(SWITCH, table, seeded(seed), TestAead, now, network)


class FakeNode:
    """The node's end of the wire, by hand: says exactly what a test wants it to say, under the right keys."""

    def __init__(self, node: NodeID, *prefixes: str, serial: int = 7, instance: int = 77, seed: int = 5) -> None:
        self.id, self.instance = node, instance
        self.identity = identity(node, *prefixes, serial=serial)
        self.random = seeded(seed)
        self.report_master, self.private_master = self.random(32), self.random(32)
        self.grant: Grant | None = None
        self.number = 0

    def attach(
        self, switch: Registrar, source: Locator, now: Now, mode: AttachMode = AttachMode.START, keepalive: int = 25
    ) -> list[Out]:
        """What TLS and the session layer would do."""
        self.report_master, self.private_master = self.random(32), self.random(32)
        held = 0 if self.grant is None else self.grant.grant
        request = Attach(mode, held if mode == AttachMode.CONTINUE else 0, self.instance, keepalive)
        grant = switch.attach(self.identity, request, source.packed(), self.report_master, self.private_master, now)
        if grant.status:
            self.refused = grant.status
            return []
        self.grant, self.number = grant, 0
        return switch.settle(self.id, self.report_master, now)

    @property
    def up(self) -> bytes:
        return master_keys(self.report_master)[0]

    @property
    def down(self) -> bytes:
        return master_keys(self.report_master)[1]

    def report(
        self,
        kind: ReportKind,
        *,
        observed: Locator = UNKNOWN_LOCATOR,
        cookie: bytes = NO_COOKIE,
        ticket: bytes = b"",
        number: int | None = None,
        path: int = 0,
        priority: int = 0,
        boot_id: int | None = None,
        grant: int | None = None,
        offset: int = 0,
        size: int = 0,
        keepalive: int = 25,
        key: bytes | None = None,
    ) -> bytes:
        """One report, the next number unless told."""
        assert self.grant is not None
        if number is None:
            self.number += 1
            number = self.number
        common = Common(
            SWITCH,
            self.id,
            number,
            self.grant.boot_id if boot_id is None else boot_id,
            self.grant.grant if grant is None else grant,
            path,
            priority,
        )
        return Update(kind, common, observed, keepalive, cookie, ticket, offset, size).pack(key or self.up)


def only(out: list[Out], to: Locator) -> Report:
    """The one datagram in `out`, read, which goes to `to`."""
    assert len(out) == 1, out
    assert out[0].to == to
    return parse_report(out[0].datagram)
