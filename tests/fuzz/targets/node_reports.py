"""REPORT and PRIVATE at a node: hints and answers that anybody may have sent, and a Switch that says anything.

What is not under the Switch's keys changes nothing that the node holds, and costs it one report per second at most. A
Switch that has the keys may mislead, but not break it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from ovng.errors import Malformed
from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.clientconfig import ClientConfig
from ovng.forwarding.clientevents import CrlArrived
from ovng.forwarding.resolver import ASKING_MAX, HELD_MAX
from ovng.ids import UNKNOWN_LOCATOR
from ovng.limits import CRL_MAX, MAX_CONTROL_DATAGRAM
from ovng.session.keys import master_keys
from ovng.wire.header import parse_header
from ovng.wire.inner import Grant, GrantStatus
from ovng.wire.private import (
    Changed,
    Private,
    Resolved,
    ResolveStatus,
    Route,
    RouteList,
    parse_private,
    parse_sealed,
    private_header,
)
from ovng.wire.report import (
    Ack,
    Challenge,
    Common,
    CrlPiece,
    Mismatch,
    Nak,
    NakReason,
    Probed,
    Report,
    ReportKind,
    Update,
    parse_report,
    verify,
)
from tests.attachment_fixture import AWAY, HOME, OFFICE, START, SWITCH, TRUCK, after, seeded
from tests.fuzz.actors import make_aead
from tests.fuzz.choices import Choices

STEPS_MAX = 40
SECONDS = (0.0, 0.1, 0.3, 1.01, 5.0, 30.0, 400.0)
REPORT_MASTER, PRIVATE_MASTER = bytes(range(32)), bytes(range(32, 64))
REPORT_DOWN = master_keys(REPORT_MASTER)[1]
REPORT_UP = master_keys(REPORT_MASTER)[0]
SEAL = make_aead(1, master_keys(PRIVATE_MASTER)[1])
OPEN = make_aead(1, master_keys(PRIVATE_MASTER)[0])
BOOT, GRANT = 77, 5
DATAGRAM_MAX = 1_444
HINTS_PER_STEP = 2  # one of each kind


class Stage:
    """One attached node."""

    def __init__(self) -> None:
        self.now, self.random = START, seeded(3)
        self.client = AttachmentClient(TRUCK, self.random, make_aead, ClientConfig(datagram_max=DATAGRAM_MAX))
        self.client.start(self.now)
        self.grant()
        self.said: list[bytes] = []
        """What the node sent."""
        self.drain()

    def grant(self) -> None:
        """TLS has brought an attachment."""
        granted = Grant(GrantStatus.GRANTED, GRANT, 86_400, BOOT, HOME, 0, b"ticket")
        self.client.granted(SWITCH, granted, REPORT_MASTER, PRIVATE_MASTER, self.now)

    def deliver(self, datagram: bytes) -> None:
        """From the Switch's locator, which anybody can write on an envelope."""
        private = datagram[:1] == b"\x14"
        proved, before = _is_proved(datagram), self.held()
        (self.client.receive_private if private else self.client.receive_report)(datagram, self.now)
        if not proved:
            assert self.held() == before, "what proves nothing has changed something"
            assert self.drain() <= HINTS_PER_STEP, "a stranger makes a node talk"

    def held(self) -> object:
        """What the node goes by."""
        held, client = self.client.grant, self.client
        assert held is not None
        kept = (held.grant, held.boot_id, held.private_keys, held.lifetime, client.attached, client.observed)
        return kept, client.routes.routes, client.routes.version, client._private.resolver._answers, client._crl._number

    def drain(self) -> int:
        """Look at what the node says; the number of datagrams."""
        datagrams = self.client.datagrams()
        for datagram in datagrams:
            assert len(datagram) <= (DATAGRAM_MAX if datagram[1] == ReportKind.PROBE else MAX_CONTROL_DATAGRAM)
            if datagram[0] == 0x14:
                parts = parse_sealed(datagram)
                plain = OPEN.open(parts.nonce, parts.header, parts.sealed)
                assert plain is not None
                parse_private(plain)
            else:
                assert isinstance(parse_report(datagram), Update) and verify(datagram, REPORT_UP)
        for event in self.client.events():
            assert not isinstance(event, CrlArrived) or len(event.der) <= CRL_MAX
        self.said += datagrams
        return len(datagrams)

    def wait(self, seconds: float) -> None:
        """From deadline to deadline, each of which must be met."""
        end = after(self.now, seconds)
        for _ in range(5_000):
            due = self.client.deadline(self.now)
            if due is None or due > end.mono:
                break
            self.now = after(self.now, max(0.0, due - self.now.mono))
            self.client.handle_timer(self.now)
            self.drain()
        else:
            raise AssertionError("a deadline that is always due")
        self.now = end
        assert len(self.client._private.resolver._questions) <= ASKING_MAX
        assert len(self.client._private.resolver._answers) <= HELD_MAX


def _is_proved(datagram: bytes) -> bool:
    try:
        if datagram[:1] != b"\x14":
            report = parse_report(datagram)
            return not isinstance(report, Challenge | Mismatch | Update) and verify(datagram, REPORT_DOWN)
        parse_header(datagram)
        parts = parse_sealed(datagram)
    except Malformed:
        return False
    return SEAL.open(parts.nonce, parts.header, parts.sealed) is not None


def raw(stage: Stage, choices: Choices) -> None:
    """Any bytes."""
    stage.deliver(choices.chunk())


def report(stage: Stage, choices: Choices) -> None:
    """A hint or an answer; under the keys, or changed afterwards."""
    told = _report(stage, choices)
    datagram = told.pack() if isinstance(told, Challenge | Mismatch) else told.pack(REPORT_DOWN)
    stage.deliver(choices.changed(datagram))


def _report(stage: Stage, choices: Choices) -> Report:
    asked = _asked(stage, choices)
    number = 0 if asked is None or choices.flag() else asked.common.number
    boot = choices.pick((BOOT, BOOT, BOOT, 78))
    common = Common(TRUCK, SWITCH, number, boot, GRANT, choices.below(4), 0)
    observed = choices.pick((HOME, AWAY, UNKNOWN_LOCATOR))
    total, offset = choices.integer() % (CRL_MAX + 1), 1_024 * choices.below(4)
    piece = bytes(1 + choices.u8())
    echo = choices.pick((bytes(8), b"" if asked is None else stage.said[-1][-16:-8])).ljust(8, b"\0")
    possible: tuple[Report, ...] = (
        Challenge(common, bytes(range(16)), echo),
        Mismatch(TRUCK, SWITCH, number, observed, bytes(range(16))),
        Ack(common, observed, choices.u16(), choices.integer(), choices.pick((bytes(8), bytes(range(8))))),
        Nak(common, choices.pick(tuple(NakReason)), choices.integer()),
        CrlPiece(common, choices.integer(), max(total, offset + len(piece)), offset, piece),
        Probed(common, 1_233 + choices.u8()),
    )
    return choices.pick(possible)


def _asked(stage: Stage, choices: Choices) -> Update | None:
    """One of the node's own latest reports."""
    reports = [datagram for datagram in stage.said[-8:] if datagram[0] == 0x13]
    found = parse_report(choices.pick(reports)) if reports else None
    assert found is None or isinstance(found, Update)
    return found


def private(stage: Stage, choices: Choices) -> None:
    """An answer or a push, sealed as it should be, or something else under the seal."""
    header, nonce = private_header(TRUCK, SWITCH), stage.random(12)
    plain = choices.changed(_private(stage, choices).pack())
    stage.deliver(choices.changed(header + nonce + SEAL.seal(nonce, header, plain)))


def _private(stage: Stage, choices: Choices) -> Private:
    request, bits = _request(stage), choices.below(33)
    address = ipaddress.IPv4Address(0x0A4D0000 | choices.u8())
    prefix = ipaddress.ip_network((address, bits), strict=False)
    nodes = (OFFICE,) * choices.below(9)
    status = ResolveStatus.FOUND if nodes else choices.pick((ResolveStatus.NOBODY, ResolveStatus.NOT_YET))
    routes = tuple(Route(ipaddress.ip_network((address, 32)), OFFICE) for _ in range(choices.below(40)))
    total, start = choices.u16(), choices.u16()
    possible: tuple[Private, ...] = (
        Resolved(request, status, choices.u16(), prefix, nodes),
        RouteList(request, choices.u8(), max(total, start + len(routes)) & 0xFFFF, start, routes),
        RouteList(request, 1, len(routes), 0, routes),
        Changed(choices.integer(), choices.u8(), choices.pick((None, prefix))),
    )
    return choices.pick(possible)


def _request(stage: Stage) -> int:
    """The number of what the node asked last."""
    asked = next((datagram for datagram in reversed(stage.said) if datagram[0] == 0x14), None)
    if asked is None:
        return 0
    parts = parse_sealed(asked)
    plain = OPEN.open(parts.nonce, parts.header, parts.sealed)
    assert plain is not None
    return int.from_bytes(plain[1:9], "big")


def wait(stage: Stage, choices: Choices) -> None:
    """Time passes."""
    stage.wait(choices.pick(SECONDS))


def own(stage: Stage, choices: Choices) -> None:
    """What the node does by itself."""
    match choices.below(6):
        case 0:
            stage.client.network_changed(stage.now)
        case 1:
            stage.client.resolve(ipaddress.IPv4Address(0x0A4D0000 | choices.u8()), stage.now)
        case 2:
            stage.client.sent_traffic(stage.now.mono)
        case 3:
            stage.client.heard_from_switch(stage.now.mono)
        case 4:
            stage.grant()
        case 5:
            stage.client.tls_failed("timeout", choices.below(16) == 1, stage.now)
    stage.drain()


STEPS: tuple[Callable[[Stage, Choices], None], ...] = (raw, report, report, private, wait, own)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    stage, choices = Stage(), Choices(data)
    for step in choices.steps(STEPS, STEPS_MAX):
        step(stage, choices)
    stage.wait(60.0)
