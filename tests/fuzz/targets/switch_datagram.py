"""Everything a Switch's endpoint gets: reports right and wrong, requests, handshakes, replays, restarts in between."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from ovng.ids import UNKNOWN_LOCATOR, NodeID
from ovng.limits import HEADER_SIZE
from ovng.session.keys import master_keys
from ovng.wire.control import Hello, Stream, StreamPart
from ovng.wire.header import Header, PacketType
from ovng.wire.private import Changed, Private, Resolve, Routes, private_header
from ovng.wire.report import NO_COOKIE, Challenge, Mismatch, ReportKind, parse_report
from tests.attachment_fixture import SWITCH, FakeNode, seeded
from tests.fuzz.actors import make_aead
from tests.fuzz.choices import Choices
from tests.fuzz.endpoint import PLACES, Theatre

STEPS_MAX = 40
KINDS = (ReportKind.REFRESH, ReportKind.MOVE, ReportKind.CONFIRM, ReportKind.BYE, ReportKind.GET_CRL, ReportKind.PROBE)
SECONDS = (0.0, 0.05, 0.25, 1.0, 3.0, 11.0, 61.0, 125.0, 700.0, 83_000.0)


def raw(theatre: Theatre, choices: Choices) -> None:
    """Any bytes."""
    place = choices.pick(PLACES)
    theatre.say(choices.chunk(), place)


def report(theatre: Theatre, choices: Choices) -> None:
    """One that a node could have made, with what it learnt from the Switch, and perhaps changed on the way."""
    node, place, kind = choices.pick(theatre.nodes), choices.pick(PLACES), choices.pick(KINDS)
    what = choices.u8()
    if node.grant is None:
        return
    datagram = node.report(
        kind,
        observed=choices.pick(PLACES) if what & 1 else UNKNOWN_LOCATOR,
        cookie=_cookie(theatre, node) if what & 2 else NO_COOKIE,
        ticket=node.grant.ticket if what & 4 and kind in (ReportKind.REFRESH, ReportKind.MOVE) else b"",
        number=choices.integer() & 0xFFFFFFFF if what & 8 else None,
        path=choices.below(4) if what & 16 else 0,
        priority=choices.u8() if what & 16 else 0,
        boot_id=theatre.endpoint.registrar.boot_id if what & 32 else None,
        grant=choices.u16() if what & 64 else None,
        offset=choices.u16() if kind == ReportKind.GET_CRL else 0,
        size=1_233 + choices.u8() if kind == ReportKind.PROBE else 0,
        keepalive=5 + choices.u8() if what & 128 else 25,
    )
    theatre.say(choices.changed(datagram), place)


def _cookie(theatre: Theatre, node: FakeNode) -> bytes:
    """The newest that the Switch gave to this node, as a cookie or as an ACK's proof."""
    for out in reversed(theatre.answers):
        if out.datagram[0] & 15 != PacketType.REPORT:
            continue
        told = parse_report(out.datagram)
        if isinstance(told, Challenge) and told.common.dst == node.id:
            return told.cookie
        if isinstance(told, Mismatch) and told.dst == node.id:
            return told.cookie
        proof = getattr(told, "proof", b"")
        if any(proof) and int.from_bytes(out.datagram[4:12], "big") == node.id:
            return bytes(proof) + bytes(8)
    return NO_COOKIE


def private(theatre: Theatre, choices: Choices) -> None:
    """A request, sealed as it should be; or something else under the seal."""
    node, place = choices.pick(theatre.nodes), choices.pick(PLACES)
    header, nonce = private_header(SWITCH, node.id), theatre.random(12)
    plain = choices.changed(_request(choices).pack())
    sealed = make_aead(1, master_keys(node.private_master)[0]).seal(nonce, header, plain)
    theatre.say(choices.changed(header + nonce + sealed), place)


def _request(choices: Choices) -> Private:
    request, address = choices.integer(), ipaddress.IPv4Address(0x0A4D0000 | choices.u8())
    asked: tuple[Private, ...] = (
        Resolve(request, address),
        Resolve(request, ipaddress.IPv6Address(choices.integer())),
        Routes(request, choices.u16()),
        Changed(request, 1, ipaddress.ip_network(address)),
    )
    return choices.pick(asked)


def control(theatre: Theatre, choices: Choices) -> None:
    """A stranger's or a node's handshake: a cookie is asked for, and shown with the beginning of a stream."""
    src, place = choices.pick((NodeID(0x5151), *(node.id for node in theatre.nodes))), choices.pick(PLACES)
    attempt, dst = 1 + choices.below(3), SWITCH if choices.flag() else NodeID(0)
    head = Header(PacketType.CONTROL, 0, 0, dst, src, 0).pack()
    answers = theatre.say(choices.changed(head + Hello(attempt).pack()), place)
    if not answers:
        return
    cookie = answers[0].datagram[HEADER_SIZE + 9 :][:16]
    for _ in range(1 + choices.below(3)):
        piece = choices.chunk(1_100)
        part = StreamPart(choices.below(15) if piece else 0, choices.below(3), choices.below(3), piece)
        theatre.say(choices.changed(head + Stream(attempt, part, cookie).pack()), choices.pick((place, *PLACES)))


def again(theatre: Theatre, choices: Choices) -> None:
    """What was said before, from anywhere; or what the Switch said, back to it."""
    place = choices.pick(PLACES)
    if theatre.said and choices.flag():
        theatre.say(choices.changed(theatre.said[choices.u8() % len(theatre.said)][0]), place)
    elif theatre.answers:
        theatre.say(choices.changed(theatre.answers[choices.u8() % len(theatre.answers)].datagram), place)


def unmatched(theatre: Theatre, choices: Choices) -> None:
    """DATA or CONTROL between nodes, from elsewhere."""
    src, dst = choices.pick((*(node.id for node in theatre.nodes), NodeID(77))), choices.pick((SWITCH, NodeID(78)))
    header = Header(choices.pick((PacketType.DATA, PacketType.CONTROL)), 0, 0, dst, src, choices.integer()).pack()
    theatre.say_unmatched(choices.changed(header), choices.pick(PLACES), choices.flag(), choices.u16())


def wait(theatre: Theatre, choices: Choices) -> None:
    """Time passes."""
    theatre.advance(choices.pick(SECONDS))


def attach_again(theatre: Theatre, choices: Choices) -> None:
    """A node comes by TLS, perhaps as another process."""
    node = choices.pick(theatre.nodes)
    node.instance += choices.flag()
    theatre.attach(node, choices.pick(PLACES))


def restart(theatre: Theatre, choices: Choices) -> None:
    """The Switch is killed and started again, with or without its ticket keys."""
    theatre.restart(remembers=choices.flag())


def revoke(theatre: Theatre, choices: Choices) -> None:
    """A list of some length comes into force; it may name a node."""
    serials = [7] if choices.flag() else []
    theatre.endpoint.registrar.set_crl(1 + choices.u8(), bytes(choices.u16()), serials)


STEPS: tuple[Callable[[Theatre, Choices], None], ...] = (
    raw,
    report,
    private,
    control,
    again,
    unmatched,
    wait,
    attach_again,
    restart,
    revoke,
)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    theatre, choices = Theatre(seeded(1)), Choices(data)
    for step in choices.steps(STEPS, STEPS_MAX):
        step(theatre, choices)
    theatre.advance(1.0)
    theatre.advance(90_000.0)
    theatre.advance(1.0)
    assert len(theatre.table) == 0, "an attachment outlived its grant"
