"""Cookies and tickets: what the Switch seals for itself and gets back from strangers.

A cookie is good for what it was made for, for 60 to 120 seconds; half of it is too, less is not. A ticket opens only as
it was sealed, under a key that is still held.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from ovng.errors import Malformed
from ovng.forwarding.tickets import Ticket, TicketKeys
from ovng.ids import NodeID, Prefix
from ovng.limits import COOKIE_ROTATION, COOKIE_SIZE, TICKET_MAX
from ovng.session.cookie import CookieJar
from tests.attachment_fixture import SWITCH, WALL, seeded
from tests.fuzz.actors import make_aead
from tests.fuzz.choices import Choices

STEPS_MAX = 60
LABELS = (b"ovng cookie", b"ovng locator")
PREFIXES: tuple[Prefix, ...] = tuple(map(ipaddress.ip_network, ("10.77.0.2/32", "192.168.0.0/16", "fd77::/64")))
SECONDS = (0.0, 1.0, 59.9, 60.0, 119.0, 121.0)
DAYS = (0.0, 0.5, 1.0, 2.0, 9.0)


class Stage:
    """One jar, one set of ticket keys, and all they ever made."""

    def __init__(self) -> None:
        self.random = seeded(5)
        self.boot, self.wall = 5_000.0, WALL
        self.jar = CookieJar(self.random)
        self.cookies: list[tuple[bytes, bytes, bytes, float]] = []
        self.keys = TicketKeys(SWITCH, make_aead, self.random)
        self.keys.rotate(self.wall)
        self.tickets: dict[bytes, Ticket] = {}


def make_cookie(stage: Stage, choices: Choices) -> None:
    label, parts = choices.pick(LABELS), choices.chunk(40)
    cookie = stage.jar.make(label, parts, stage.boot)
    assert len(cookie) == COOKIE_SIZE and stage.jar.check(cookie, label, parts, stage.boot)
    stage.cookies.append((label, parts, cookie, stage.boot))


def show_cookie(stage: Stage, choices: Choices) -> None:
    if not stage.cookies:
        return
    label, parts, cookie, _ = stage.cookies[choices.u8() % len(stage.cookies)]
    if choices.flag():
        label = choices.pick(LABELS)
    parts, cookie = choices.changed(parts), choices.changed(cookie)
    made = [when for *what, when in stage.cookies if what[:2] == [label, parts] and _alike(what[2], cookie)]
    good = stage.jar.check(cookie, label, parts, stage.boot)
    if good:
        assert made, "a cookie that nobody made for this"
        assert stage.boot - max(made) < 2 * COOKIE_ROTATION, "an old cookie"
    else:
        assert not made or stage.boot - max(made) > COOKIE_ROTATION - 0.2, "a fresh cookie was refused"


def _alike(made: bytes, shown: bytes) -> bool:
    return len(shown) in (COOKIE_SIZE // 2, COOKIE_SIZE) and made.startswith(shown)


def seal(stage: Stage, choices: Choices) -> None:
    issued = int(stage.wall)
    ticket = Ticket(
        NodeID(1 + choices.integer() % 1_000),
        choices.u16(),
        issued,
        issued + 86_400,
        choices.integer(),
        1 + choices.integer(),
        stage.random(32),
        PREFIXES * choices.below(7),
        choices.pick((None, "fleet", "x" * 63)),
    )
    sealed = stage.keys.seal(ticket, stage.wall)
    assert len(sealed) <= TICKET_MAX
    if sealed:
        assert stage.keys.open_untrusted(sealed) == ticket
        stage.tickets[sealed] = ticket


def show_ticket(stage: Stage, choices: Choices) -> None:
    sealed = list(stage.tickets)[choices.u8() % len(stage.tickets)] if stage.tickets else choices.chunk()
    sealed = choices.changed(sealed)
    try:
        opened = stage.keys.open_untrusted(sealed)
    except Malformed as error:
        assert sealed not in stage.tickets or error.reason == "ticket_key"
    else:
        assert stage.tickets[sealed] == opened


def wait(stage: Stage, choices: Choices) -> None:
    stage.boot += choices.pick(SECONDS)
    stage.wall += choices.pick(DAYS) * 86_400
    stage.keys.rotate(stage.wall)


def restart(stage: Stage, choices: Choices) -> None:
    """Ticket keys come back from a file, which somebody may have changed; another Switch opens none of them."""
    switch, kept = choices.pick((SWITCH, NodeID(99))), stage.keys.dump()
    other, data = TicketKeys(switch, make_aead, stage.random), choices.changed(kept)
    try:
        other.load(data)
    except Malformed:
        assert data != kept
        return
    assert other.dump() == data
    for sealed, ticket in stage.tickets.items():
        try:
            assert other.open_untrusted(sealed) == ticket and switch == SWITCH
        except Malformed:
            continue


STEPS: tuple[Callable[[Stage, Choices], None], ...] = (make_cookie, show_cookie, seal, show_ticket, wait, restart)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    stage, choices = Stage(), Choices(data)
    for step in choices.steps(STEPS, STEPS_MAX):
        step(stage, choices)
