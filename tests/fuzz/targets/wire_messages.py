"""The parsers of `ovng.wire`, and of what the Switch keeps in files: the first byte says which.

Besides raising nothing but Malformed, a parser reads what was written and nothing else: packed again, a message is the
same bytes. So no two spellings mean the same, and no byte of a datagram means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ovng.errors import Malformed
from ovng.forwarding.snapshot import StartHints, parse_entries
from ovng.forwarding.tickets import TicketKeys, parse_ticket
from ovng.ids import Locator, NodeID
from ovng.limits import TAG_SIZE
from ovng.wire.control import parse_control
from ovng.wire.header import parse_header
from ovng.wire.private import NONCE_SIZE, parse_private, parse_sealed
from ovng.wire.report import Challenge, Mismatch, parse_report
from tests.fuzz.actors import make_aead

_REASON = re.compile(r"[a-z][a-z0-9_]*\Z")
_SWITCH = NodeID(5)


def _header(data: bytes) -> None:
    assert parse_header(data).pack() == data[:28]


def _control(data: bytes) -> None:
    assert parse_control(data).pack() == data


def _report(data: bytes) -> None:
    report = parse_report(data)
    if isinstance(report, Challenge | Mismatch):
        assert report.pack() == data
    else:
        assert report.pack(bytes(32))[:-TAG_SIZE] == data[:-TAG_SIZE]


def _sealed(data: bytes) -> None:
    parts = parse_sealed(data)
    assert b"".join(parts) == data and len(parts.nonce) == NONCE_SIZE and len(parts.sealed) > TAG_SIZE


def _private(data: bytes) -> None:
    assert parse_private(data).pack() == data


def _ticket(data: bytes) -> None:
    ticket = parse_ticket(data)
    assert len(ticket.pack()) <= len(data) and parse_ticket(ticket.pack()) == ticket


def _ticket_keys(data: bytes) -> None:
    keys = TicketKeys(_SWITCH, make_aead, bytes)
    keys.load(data)
    assert keys.dump() == data
    keys.rotate(1_780_000_000.0)


def _snapshot(data: bytes) -> None:
    hints = StartHints()
    count = hints.load(data, 0.0)
    told = [told for time in (0.0, 0.5, 1.0) for told in parse_entries(hints.due(time, 0))]
    assert len(told) <= count and not hints.active


def _locator(data: bytes) -> None:
    locator = Locator.unpack(data)
    assert locator.packed() == data and str(locator).isascii()


PARSERS: tuple[Callable[[bytes], None], ...] = (
    _header,
    _control,
    _report,
    _sealed,
    _private,
    _ticket,
    _ticket_keys,
    _snapshot,
    _locator,
)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    if not data:
        return
    try:
        PARSERS[data[0] % len(PARSERS)](data[1:])
    except Malformed as error:
        assert _REASON.match(error.reason), f"not a counter's name: {error.reason!r}"
