"""Writes the corpus's seeds: `python -m tests.fuzz.seed`. Valid messages of each kind, edge cases, honest programs.

Files `seed-NAME` come from here; `run-NAME` too, from real handshakes, and differ each time. `found-…` were found by
coverage and `crash-…` broke a law once: both stay as they are. A test runs this script and compares.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from types import ModuleType

from ovng.forwarding.tickets import Ticket
from ovng.ids import UNKNOWN_LOCATOR, Locator
from ovng.limits import HEADER_SIZE
from ovng.wire.control import ControlKind, Stream, parse_control
from ovng.wire.header import Header, PacketType
from ovng.wire.inner import Attach, Cipher, Close, CloseReason, Crl, Grant, Ping, Pong, Purpose, Reach, Ready
from ovng.wire.private import Changed, Resolve, Resolved, ResolveStatus, Route, RouteList, Routes
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
)
from tests.attachment_fixture import HOME, OFFICE, SWITCH, TRUCK
from tests.fuzz.actors import bob, truck
from tests.fuzz.choices import Script
from tests.fuzz.run import CORPUS
from tests.fuzz.targets import (
    bad_peer,
    certificate,
    cookie_ticket,
    node_control,
    node_path,
    node_reports,
    switch_datagram,
    wire_messages,
)
from tests.pki_fixture import WALL
from tests.sim.harness import World, connected

Seeds = dict[str, bytes]
NOTHING_CHANGED = 0
"""For `Choices.changed`."""

_PREFIX = ipaddress.ip_network("10.77.0.2/32")
_COMMON = Common(SWITCH, TRUCK, 1, 77, 5)
_ANSWER = _COMMON.answer(77)


def steps(target: ModuleType, *names: str) -> Iterator[int]:
    """The numbers by which a program calls steps of a target."""
    table = [step.__name__ for step in target.STEPS]
    return map(table.index, names)


def program(target: ModuleType, *calls: tuple[str, bytes]) -> bytes:
    """A program: each step with its arguments."""
    return b"".join(bytes([*steps(target, name)]) + arguments for name, arguments in calls)


# -- Messages


def reports() -> dict[str, Report]:
    """One of each kind."""
    updates = {kind.name: Update(kind, _COMMON, HOME, 25, size=1_444) for kind in ReportKind if kind < ReportKind.ACK}
    return {
        **updates,
        "ticket": Update(ReportKind.MOVE, _COMMON, UNKNOWN_LOCATOR, 600, bytes(range(16)), bytes(512)),
        "ACK": Ack(_ANSWER, HOME, 75, 3, bytes(range(8))),
        "NAK": Nak(_ANSWER, NakReason.SEQUENCE, (1 << 64) - 1),
        "CRL_PIECE": CrlPiece(_ANSWER, 3, 1_030, 1_024, b"piece!"),
        "PROBED": Probed(_ANSWER, 1_444),
        "CHALLENGE": Challenge(_ANSWER, bytes(range(16)), bytes(8)),
        "MISMATCH": Mismatch(TRUCK, SWITCH, 1, HOME, bytes(range(16))),
    }


def privates() -> dict[str, bytes]:
    """One of each kind."""
    address, route = _PREFIX.network_address, Route(ipaddress.ip_network("fd77::/64"), OFFICE)
    return {
        "resolve": Resolve(1, address).pack(),
        "resolved": Resolved(1, ResolveStatus.FOUND, 300, _PREFIX, (TRUCK, OFFICE)).pack(),
        "nobody": Resolved(1, ResolveStatus.NOBODY, 30, _PREFIX).pack(),
        "routes": Routes(2, 0).pack(),
        "route_list": RouteList(2, 7, 3, 1, (Route(_PREFIX, TRUCK), route)).pack(),
        "changed": Changed(3, 8, ipaddress.ip_network("0.0.0.0/0")).pack(),
        "changed_routes": Changed(3, 8).pack(),
    }


def inners() -> dict[str, bytes]:
    """One of each kind that TLS carries."""
    ready = Ready(Purpose.SESSION, TRUCK, OFFICE, 9, 0, 255, 3, bytes(32), 1, Cipher.CHACHA20_POLY1305)
    return {
        "ready": ready.pack(),
        "close": Close(CloseReason.REVOKED, "this certificate is revoked").pack(),
        "crl": Crl(certificate.lists()[0]).pack(),
        "attach": Attach(2, 5, 77, 25).pack(),
        "grant": Grant(0, 5, 86_400, 77, HOME, 1, bytes(100)).pack(),
        "ping": Ping(1).pack(),
        "pong": Pong(1).pack(),
        "reach": Reach(1_444).pack(),
        "unknown": b"\x63\x00\x02hi",
    }


def handshake() -> list[bytes]:
    """Every datagram of a real one."""
    world = World(seed=3)
    one, other = world.add(truck()), world.add(bob())
    one.connect(other)
    assert world.run(10.0, lambda: connected(one, other))
    return world.seen


def _wire_messages() -> Seeds:
    parser = {each.__name__.strip("_"): bytes([number]) for number, each in enumerate(wire_messages.PARSERS)}
    data = Header(PacketType.DATA, 9, 1, OFFICE, TRUCK, 1).pack() + bytes(40)
    ticket = Ticket(TRUCK, 5, int(WALL), int(WALL) + 86_400, 77, 1 << 150, bytes(32), (_PREFIX,), "fleet").pack()
    seeds = {
        "seed-header": parser["header"] + data,
        "seed-sealed": parser["sealed"] + Header(PacketType.PRIVATE, 0, 0, SWITCH, TRUCK, 0).pack() + bytes(60),
        "seed-ticket": parser["ticket"] + ticket,
        "seed-ticket_keys": parser["ticket_keys"] + bytes([1, 1, 0, 0, 0, 1]) + bytes(40),
        "seed-snapshot": parser["snapshot"] + b"ovng nodes 1\n" + TRUCK.packed() + HOME.packed(),
        "seed-locator": parser["locator"] + Locator.of("2001:db8::1", 5140).packed(),
    }
    for name, report in reports().items():
        packed = report.pack() if isinstance(report, Challenge | Mismatch) else report.pack(bytes(32))
        seeds[f"seed-report-{name.lower()}"] = parser["report"] + packed
    for name, message in privates().items():
        seeds[f"seed-private-{name}"] = parser["private"] + message
    for datagram in handshake():
        kind = ControlKind(datagram[HEADER_SIZE]).name.lower()
        seeds.setdefault(f"run-control-{kind}", parser["control"] + datagram[HEADER_SIZE:])
    return seeds


def _tls_inner() -> Seeds:
    uncut, cut = bytes([0, 0]), bytes([3, 1, 2, 30, 0])
    seeds = {f"seed-{name}": uncut + message for name, message in inners().items() if name != "crl"}
    seeds["run-crl"] = cut + inners()["crl"]
    seeds["seed-several"] = cut + inners()["ready"] + inners()["ping"] + inners()["close"]
    seeds["seed-too_long"] = uncut + b"\x03\xff\xff"
    said = [parse_control(datagram[HEADER_SIZE:]) for datagram in handshake()]
    answers = [message.part.piece for message in said if isinstance(message, Stream) and message.cookie is None]
    seeds["run-server_hello"] = bytes([0, 1]) + next(piece for piece in answers if piece)
    return seeds


# -- Programs


def _switch_datagram() -> Seeds:
    def report(node: int, place: int, kind: ReportKind, what: int = 0, *more: int) -> tuple[str, bytes]:
        return "report", bytes([node, place, switch_datagram.KINDS.index(kind), what, *more, NOTHING_CHANGED])

    plain, cookie, ticket, boot = 0, 2, 4, 32
    wait, home, away = ("wait", bytes([3])), 0, 1
    ask = bytes([0, home, 0, 1, 3, NOTHING_CHANGED, NOTHING_CHANGED])
    hello = bytes([0, home, 0, 0, NOTHING_CHANGED, 0]) + Script().chunk(b"\x16\x03\x01").u8(1, 0, 0, 0, 0).bytes()
    refresh, move, confirm = ReportKind.REFRESH, ReportKind.MOVE, ReportKind.CONFIRM
    runs: dict[str, tuple[tuple[str, bytes], ...]] = {
        "refresh": (report(0, home, refresh), wait, report(0, home, refresh)),
        "move": (report(0, 2, move), report(0, 2, confirm, cookie), report(0, 2, refresh)),
        "move_lapses": (report(0, 2, move), ("wait", bytes([4])), report(0, home, refresh)),
        "mismatch": (report(0, 2, refresh), report(0, 2, move, cookie), report(0, home, refresh)),
        "bye": (report(0, home, ReportKind.BYE), report(0, home, refresh)),
        "restart": (
            ("restart", bytes([1])),
            report(0, home, refresh),
            report(0, home, refresh, cookie | ticket | boot),
            report(1, away, refresh),
            report(1, away, refresh, cookie | ticket | boot),
            ("private", ask),
        ),
        "forgotten": (("restart", bytes([0])), report(0, home, refresh), report(0, home, refresh, cookie | ticket)),
        "crl": (("revoke", bytes([0, 3, 6, 0])), ("wait", bytes([1])), report(0, home, ReportKind.GET_CRL, 0, 4, 0)),
        "revoked": (("revoke", bytes([1, 3, 0, 9])), ("wait", bytes([1])), report(0, home, refresh)),
        "private": (("private", ask), ("private", bytes([0, 2]) + ask[2:])),
        "handshake": (("control", hello), ("again", bytes([home, 1, 0, NOTHING_CHANGED]))),
        "replay": (report(0, home, refresh, plain), ("again", bytes([3, 1, 0, NOTHING_CHANGED])), wait),
        "superseded": (("attach_again", bytes([0, 1, 2])), report(0, home, refresh)),
        "unmatched": (("unmatched", bytes([0, 0, 0, 0, NOTHING_CHANGED, 3, 1, 4, 0])),),
    }
    seeds = {f"seed-{name}": program(switch_datagram, *calls) for name, calls in runs.items()}
    seeds["seed-raw"] = program(switch_datagram, ("raw", bytes([0]) + Script().chunk(bytes(28)).bytes()))
    return seeds


def _node_control() -> Seeds:
    pause = ("wait", bytes([4]))
    call = ("connect", bytes([1, 0]))
    forged = bytes([0, 0, 0, 0]) + Script().chunk(b"\x16\x03\x01").u8(1, 3, 1).u16(0).u8(0, NOTHING_CHANGED).bytes()
    repeat = ("changed", bytes([NOTHING_CHANGED, 2, 1]))
    runs: dict[str, tuple[tuple[str, bytes], ...]] = {
        "up": (("up", b""), pause),
        "both": (call, ("connect", bytes([0, 0])), ("wait", bytes([1])), pause),
        "rekey": (("up", b""), ("connect", bytes([1, 2])), pause, repeat, ("connect", bytes([0, 3]))),
        "attach": (("attach", bytes([1, 0])), pause, repeat, pause),
        "hold": (call, ("hold", bytes([2])), ("let_pass", bytes([11])), ("wait", bytes([5]))),
        "replays": (call, *(4 * (("wait", bytes([2])), repeat))),
        "forged": (call, ("wait", bytes([2])), ("forged", forged), pause, ("forged", bytes([1, 1]) + forged[2:])),
        "data": (("up", b""), ("data", bytes([0, 2, 0, 1]) + Script().chunk(bytes(40)).bytes()), pause),
    }
    return {f"seed-{name}": program(node_control, *calls) for name, calls in runs.items()}


def _bad_peer() -> Seeds:
    calls, called, attaches = (("start", bytes([kind, 5])) for kind in (0, 2, 3))

    def say(kind: int, *more: int) -> tuple[str, bytes]:
        return "say", Script().u64(1).u8(kind, *more).u8(NOTHING_CHANGED).bytes()

    pause = ("wait", bytes([4]))
    runs: dict[str, tuple[tuple[str, bytes], ...]] = {
        f"{who}-{kind}": (start, say(kind), pause)
        for who, start in (("calls", calls), ("called", called), ("attaches", attaches))
        for kind in range(7)
    }
    runs["long"] = (calls, ("say_any", Script().chunk(bytes(1_000)).u8(6, 1, 63).bytes()), pause)
    runs["raw"] = (calls, ("say_raw", Script().chunk(b"\x17\x03\x03\x00\x10").bytes()), pause, ("rekey", bytes([1])))
    runs["early"] = (("start", bytes([0, 2])), say(4), ("wait", bytes([2])), say(0), pause)
    return {f"seed-{name}": program(bad_peer, *calls_) for name, calls_ in runs.items()}


def _node_reports() -> Seeds:
    moved, asks, pause = ("own", bytes([0])), ("own", bytes([1, 9])), ("wait", bytes([3]))

    def report(kind: int, *more: int) -> tuple[str, bytes]:
        script = Script().u8(0, 0, 0, 0, 0).u64(2_000).u8(1, 20, 0).u16(75).u64(1)
        return "report", script.bytes() + bytes([*more, kind, NOTHING_CHANGED])

    runs: dict[str, tuple[tuple[str, bytes], ...]] = {
        f"report-{kind}": (moved, report(kind), pause, report(kind)) for kind in range(5)
    }
    for kind in range(4):
        private = bytes([32, 9, 1, 0, 1, 44, 2]) + Script().u16(2, 0).bytes() + bytes([kind, 0, 0, 0, 0, 0])
        runs[f"private-{kind}"] = (asks, ("private", private), pause)
    runs["silence"] = (("own", bytes([2])), ("wait", bytes([5])), ("own", bytes([3])), ("own", bytes([4])))
    return {f"seed-{name}": program(node_reports, *calls) for name, calls in runs.items()}


def _reliable_stream() -> Seeds:
    write = Script().u8(0, 0).chunk(bytes(range(256)) * 6).bytes()
    flush, deliver, reverse = bytes([0, 1, 1]), bytes([0, 2, 0, 1]), bytes([1, 1, 2, 1, 2, 0, 1])
    return {
        "seed-exchange": write + flush + 2 * deliver + reverse,
        "seed-lost": write + flush + bytes([0, 2, 0, 0]) + deliver + bytes([0, 1, 4]) + 2 * deliver + reverse,
        "seed-copies": write + flush + bytes([0, 3, 1, 0, 3, 1]) + 2 * deliver + bytes([0, 5]) + flush,
        "seed-forged": write + flush + Script().u8(1, 4).chunk(b"x").u64(1).u64(2).u64(0).bytes() + deliver,
        "seed-beyond": Script().u8(0, 4).chunk(b"x").u64(13).u64(0).u64(1).bytes(),
    }


def _cookie_ticket() -> Seeds:
    made = ("make_cookie", Script().u8(0).chunk(b"parts").bytes())
    sealed = ("seal", Script().u64(5).u16(7).u64(9).u64(11).u8(2, 1).bytes())
    half = bytes([0, 0, NOTHING_CHANGED, 1, 2]) + Script().u16(8).bytes()
    runs: dict[str, tuple[tuple[str, bytes], ...]] = {
        "cookie": (made, ("show_cookie", bytes([0, 0, NOTHING_CHANGED, NOTHING_CHANGED])), ("show_cookie", half)),
        "old_cookie": (made, ("wait", bytes([4, 0])), ("show_cookie", bytes(4)), ("wait", bytes([5, 0])), made),
        "ticket": (sealed, ("show_ticket", bytes([0, NOTHING_CHANGED])), ("show_ticket", bytes([0, 1, 1, 0, 40, 3]))),
        "old_ticket": (sealed, ("wait", bytes([0, 4])), ("show_ticket", bytes([0, NOTHING_CHANGED]))),
        "restart": (sealed, ("restart", bytes([0, NOTHING_CHANGED])), ("restart", bytes([1, NOTHING_CHANGED]))),
    }
    return {f"seed-{name}": program(cookie_ticket, *calls) for name, calls in runs.items()}


def _profile() -> Seeds:
    whole = bytes([3])
    texts = {
        "empty": b"",
        "list": b"- 1\n- 2\n",
        "twice": b"ovng: 1\novng: 1\n",
        "unknown": b"ovng: 1\nkind: node\nswich: [a:1]\n",
        "anchor": b"ovng: &a [*a, *a]\nkind: *a\n",
        "tag": b"ovng: !!python/object/apply:os.system ['true']\n",
        "deep": b"ovng: " + 300 * b"[" + b"\n",
        "merge": b"<<: {ovng: 1}\nkind: node\n",
        "not_utf8": b"ovng: \xff\xfe\n",
        "escape": b'ovng: "\\U00110000"\n',
        "version": b"ovng: 2\nkind: node\n",
        "documents": b"ovng: 1\n---\novng: 1\n",
        "sexagesimal": b"ovng: 1\nkind: node\nmtu: 10:20\n",
        "separators": "ovng: 1\u2028kind: node\u0085name: x\n".encode(),
    }
    seeds = {f"seed-text-{name}": whole + text for name, text in texts.items()}
    seeds["seed-node"], seeds["seed-switch"] = (
        bytes([0, 0, 0, 0, NOTHING_CHANGED]),
        bytes([1, 0, 0, 0, NOTHING_CHANGED]),
    )
    values = (
        b"[a:1, a:1]",
        b"[::1]:5140",
        b"999999999999999999999",
        b"yes",
        b"null",
        b"1:2:3:4",
        b"fe80::1%eth0",
        b"''",
    )
    for line in range(4, 40, 3):
        value = values[line % len(values)]
        seeds[f"seed-line-{line}"] = bytes([0, 0, line, 1]) + Script().chunk(value).bytes()
    return seeds


def _certificate() -> Seeds:
    unchanged = bytes([NOTHING_CHANGED, NOTHING_CHANGED])
    seeds = {f"seed-certificate-{number}": bytes([0, number]) + unchanged for number in range(4)}
    seeds |= {f"seed-crl-{number}": bytes([1, number]) + unchanged for number in range(2)}
    seeds |= {
        f"run-certificate-{number}": bytes([3]) + der for number, der in enumerate(certificate.certificates()[:3])
    }
    seeds |= {f"run-crl-{number}": bytes([3]) + der for number, der in enumerate(certificate.lists())}
    for number, words in enumerate(
        (b"testnet:prefix:10.0.0.1/8", b"testnet:node:0000-0000-0000-0000", b"other:x:y", b"a")
    ):
        name = Script().u8(2, 0, 2, 0).chunk(words).u8(0).u8(1).u8(0, NOTHING_CHANGED).u8(0, 1).bytes()
        seeds[f"seed-names-{number}"] = name
    return seeds


def _control_socket() -> Seeds:
    lines = {
        "status": b'{"verb":"status"}\n',
        "refuse": b'{"verb":"refuse"}\n',
        "fail": b'{"verb":"fail"}\n',
        "no_verb": b'{"verb":7}\n',
        "list": b"[1]\n",
        "no_end": b'{"verb":"status"}',
        "deep": b"*" + 60 * b"[",
        "long": b"*" + 60 * b"a",
        "number": b'{"verb":"x","n":' + 400 * b"9" + b"}\n",
        "utf16": '{"verb":"status"}\n'.encode("utf-16"),
        "surrogate": b'{"verb":"\\ud800"}\n',
        "infinity": b'{"verb":"x","n":1e999,"m":NaN}\n',
    }
    seeds = {f"seed-{name}": bytes([0]) + line for name, line in lines.items()}
    seeds["seed-cut"] = Script().u8(2).chunk(b'{"verb"').chunk(b':"sta').rest(b'tus"}\n').bytes()
    return seeds


def _netlink() -> Seeds:
    def answer(*bodies: int, end: int = 0) -> bytes:
        parts = b"".join(bytes([body, 0, NOTHING_CHANGED, NOTHING_CHANGED, 0]) for body in bodies)
        return bytes([0, len(bodies)]) + parts + bytes([end])

    hints = (
        bytes([3]) + b"".join(bytes([body, 0, 0, NOTHING_CHANGED, NOTHING_CHANGED]) for body in range(3)) + bytes([3])
    )
    looks = answer(0) + answer(1) + answer(2) + answer(3) + answer(4) + answer(end=2)
    return {"seed-look": bytes([0, 3]) + looks, "seed-hints": hints + looks, "seed-nothing": bytes([0, 0, 1, 0])}


def _frame() -> Seeds:
    good = Header(PacketType.DATA, 9, 3, OFFICE, TRUCK, (1 << 64) - 1).pack()
    return {
        "seed-data": good + bytes(16),
        "seed-short": good[:27],
        "seed-version": b"\x21" + good[1:],
        "seed-type": b"\x15" + good[1:],
        "seed-flags": good[:2] + b"\x80\x00" + good[4:],
        "seed-src_zero": good[:12] + bytes(16),
        "seed-src_is_dst": good[:12] + good[4:12] + bytes(8),
    }


def _replay() -> Seeds:
    leaps = b"".join(bytes([3, edge, 0]) for edge in (1, 5, 6, 7, 8, 9))
    return {
        "seed-rise": bytes([1, 1, 0]) * 60,
        "seed-leaps": leaps + b"".join(bytes([5, edge, 0]) for edge in range(12)),
        "seed-limit": bytes([3, 10, 0, 3, 10, 0, 1, 1, 0, 2, 1, 0]),
    }


def _packets() -> Iterator[tuple[str, bytes]]:
    """For `segment.make_frame`: every version and protocol, whole and as a super-packet."""
    for version in (0, 1):
        for protocol in (0, 1):
            for size in (0, 700):
                head = Script().u16(4_000).u8(version, protocol).u64(1 << 31).u8(0x18, 3).u16(65_534).u8(0)
                head = head.u8(1).u16(size) if size else head.u8(0)
                yield f"{version}-{protocol}-{size}", head.u8(1, NOTHING_CHANGED, NOTHING_CHANGED).bytes()


def _segment() -> Seeds:
    return {f"seed-{name}": bytes([1]) + frame for name, frame in _packets()}


def _coalesce() -> Seeds:
    def run(what: int, count: int, size: int = 99) -> bytes:
        return bytes([0, what]) + Script().u16(size).u8(count - 1).bytes() + count * bytes([0, 0]) + bytes([0])

    both = bytes([1, 1])
    seeds = {f"seed-run-{what}": both + run(what, 6) for what in range(16)}
    seeds["seed-mixed"] = both + b"".join(run(what, 2) for what in (*range(16), 0, 1, 2))
    seeds["seed-off"] = bytes([0, 0]) + run(0, 4)
    seeds["seed-icmp"] = both + run(0, 2)[:-1] + bytes([15]) + run(0, 2)
    bad_header = both + bytes([0, 0]) + Script().u16(99).u8(1).u8(0, 1, 1).u16(11).u8(0).u8(0, 0, 0).bytes()
    seeds["seed-header_sum"] = bad_header
    return seeds


def _kernel() -> Seeds:
    joined = {f"seed-join-{name.removeprefix('seed-')}": bytes([1]) + data[2:] for name, data in _coalesce().items()}
    return joined | {f"seed-cut-{name}": bytes([0]) + frame for name, frame in _packets()}


def _node_path() -> Seeds:
    inner = [
        bytes([0, version]) + Script().u16(600).u8(protocol, 0).u64(7).u8(0, NOTHING_CHANGED).bytes()
        for version in (0, 1)
        for protocol in (0, 1)
    ]
    plain = bytes([0, 0, 0, 0, 0, 0, NOTHING_CHANGED])
    train = Script().u16(1_000).u8(15, 0, 0).bytes() + 17 * bytes([0, NOTHING_CHANGED]) + bytes([0])
    seeds = {f"seed-one-{number}": program(node_path, ("one", packet + plain)) for number, packet in enumerate(inner)}
    again = ("again", bytes([0, NOTHING_CHANGED]))
    seeds["seed-replay"] = program(node_path, ("one", inner[0] + plain), again, again)
    seeds["seed-train"] = program(node_path, ("train", train))
    seeds["seed-echo"] = program(node_path, *(("tun", bytes([1, to, NOTHING_CHANGED])) for to in range(5)))
    for name, frame in _packets():
        seeds[f"seed-tun-{name}"] = program(node_path, ("tun", bytes([0]) + frame))
    return seeds


def _switch_path() -> Seeds:
    attached = 3 * (bytes([0, 0]) + Script().u16(3_000, 3_000).bytes())

    def send(how: int, sender: int, *fields: int) -> bytes:
        src, dst, kind = fields
        head = bytes([src, dst, kind, 0, 9]) + Script().u64(1).bytes()
        return bytes([sender]) + head + Script().u16(500).u8(NOTHING_CHANGED).bytes() + bytes([how])

    train = bytes([20]) + 21 * bytes([1, NOTHING_CHANGED]) + bytes([1, 0])
    seeds = {f"seed-kind-{kind}": attached + send(3, 0, 0, 1, kind) for kind in (0, 3, 4, 5, 6)}
    seeds["seed-endpoint"] = attached + send(3, 0, 0, 4, 4) + send(3, 5, 7, 5, 3)
    seeds["seed-stray"] = attached + send(3, 3, 3, 2, 0) + send(3, 3, 3, 2, 3)
    seeds["seed-train"] = attached + send(2, 0, 0, 1, 0) + train
    for layout in range(1, 5):
        arranged = 3 * (bytes([0, layout]) + Script().u16(600, 600).bytes())
        seeds[f"seed-layout-{layout}"] = arranged + send(2, 0, 0, 1, 0) + train
    seeds["seed-empty"] = attached + bytes([0]) + bytes(20)
    return seeds


MAKERS: dict[str, Callable[[], Seeds]] = {
    "wire_messages": _wire_messages,
    "switch_datagram": _switch_datagram,
    "node_control": _node_control,
    "node_reports": _node_reports,
    "bad_peer": _bad_peer,
    "reliable_stream": _reliable_stream,
    "tls_inner": _tls_inner,
    "cookie_ticket": _cookie_ticket,
    "profile": _profile,
    "certificate": _certificate,
    "control_socket": _control_socket,
    "netlink": _netlink,
    "frame": _frame,
    "replay": _replay,
    "segment": _segment,
    "coalesce": _coalesce,
    "node_path": _node_path,
    "switch_path": _switch_path,
    "kernel": _kernel,
}


def main() -> None:
    """Replace all seeds in the corpus."""
    for target, make in MAKERS.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("seed-*"), *folder.glob("run-*")):
            old.unlink()
        for name, data in make().items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
