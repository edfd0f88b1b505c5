"""What comes out of TLS, cut into messages and read; and the ServerHello that has passed by.

However the stream is cut on its way, the same messages come out; or the same fault, which ends the attempt, with what
came before it in the same piece.
"""

from __future__ import annotations

import itertools

from ovng.errors import Malformed
from ovng.limits import INNER_MESSAGE_MAX
from ovng.session.tlsgroup import GROUP_NAMES, UNKNOWN_GROUP, group_name
from ovng.wire.inner import Close, InnerStream, Ready, parse_inner
from tests.fuzz.choices import Choices


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices = Choices(data)
    cuts = [choices.below(64) for _ in range(choices.below(8))]
    watch = choices.flag()
    stream = choices.rest()
    _name(stream, cuts) if watch else _read(stream, cuts)


def _pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    pieces = []
    for cut in cuts:
        pieces.append(stream[:cut])
        stream = stream[cut:]
    return [*pieces, stream]


def _read(stream: bytes, cuts: list[int]) -> None:
    messages, fault = _messages([stream])
    others, other = _messages(_pieces(stream, cuts))
    assert other == fault and (fault or others == messages)
    for kind, body in messages:
        assert len(body) <= INNER_MESSAGE_MAX
        try:
            message = parse_inner(kind, body)
        except Malformed:
            continue
        if message is None:
            assert not 1 <= kind <= 7
            continue
        packed = message.pack()
        assert parse_inner(packed[0], packed[3:]) == message
        if isinstance(message, Close):
            assert message.text.isprintable() and len(message.text) <= 200
        if not isinstance(message, Ready):  # which may hold capabilities that we do not know
            assert packed[3:] == body


def _messages(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], str | None]:
    """All messages before a fault, and the fault."""
    inner, found = InnerStream(), []
    for piece in pieces:
        try:
            found += inner.feed(piece)
        except Malformed as error:
            return found, error.reason
        assert len(inner._data) < INNER_MESSAGE_MAX + 3
    return found, None


def _name(stream: bytes, cuts: list[int]) -> None:
    """What follows changes no name that is known."""
    name = group_name(stream)
    assert name in (UNKNOWN_GROUP, *GROUP_NAMES.values()) or name.startswith("0x")
    for piece in itertools.accumulate(_pieces(stream, cuts)):
        assert group_name(piece) in (UNKNOWN_GROUP, name)
